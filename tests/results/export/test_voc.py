from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.results.export.outputs import labels_by_name, make_output, run_export


def test_supervision_reads_boxes(tmp_path):
    supervision = pytest.importorskip("supervision")
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "voc", to, "--copy-images") == 0
    dataset = supervision.DetectionDataset.from_pascal_voc(str(to / "JPEGImages"), str(to / "Annotations"))
    wanted = {labels.size_hw: labels for labels in labels_by_name(output).values()}
    assert len(dataset) == 4
    for _, pixels, found in dataset:
        labels = wanted[pixels.shape[:2]]
        xywh = np.concatenate([found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2]], axis=1)
        np.testing.assert_allclose(xywh.reshape(-1, 4), labels.boxes_xywh, atol=0.01)
        assert [dataset.classes[index] for index in found.class_id] == labels.class_names


def test_every_image_is_listed_once_and_named_by_its_annotation(tmp_path):
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "voc", to, "--copy-images") == 0
    stems = (to / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    assert len(set(stems)) == 4
    for stem in stems:
        root = ElementTree.parse(to / "Annotations" / f"{stem}.xml").getroot()
        copy = to / "JPEGImages" / root.findtext("filename")
        assert copy.stem == stem and copy.read_bytes() == Path(root.findtext("source/annotation")).read_bytes()
    assert (to / "labelmap.txt").read_text().splitlines()[1:] == ["ball:::", "box:::", "class_7:::"]
