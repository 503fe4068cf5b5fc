from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import binary_dilation
from skimage.draw import polygon2mask

from tests.results.export.outputs import labels_by_name, make_output, ring_and_pieces, run_export


def read_export(output, folder):
    """(labels, lines as lists of numbers) of each image, by the image's bytes, as a loader pairs them."""
    by_bytes = {Path(labels.uri).read_bytes(): labels for labels in labels_by_name(output).values()}
    for image in sorted((folder / "images").iterdir()):
        lines = (folder / "labels" / f"{image.stem}.txt").read_text().splitlines()
        yield by_bytes[image.read_bytes()], [[float(number) for number in line.split()] for line in lines]


def test_supervision_reads_boxes(tmp_path):
    supervision = pytest.importorskip("supervision")
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "yolo", to, "--link-images") == 0
    dataset = supervision.DetectionDataset.from_yolo(str(to / "images"), str(to / "labels"), str(to / "data.yaml"))
    assert dataset.classes == ["ball", "box", "class_7"] and len(dataset) == 4
    wanted = {labels.size_hw: labels for labels in labels_by_name(output).values()}
    for _, pixels, found in dataset:
        labels = wanted[pixels.shape[:2]]
        xywh = np.concatenate([found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2]], axis=1)
        np.testing.assert_allclose(xywh, labels.boxes_xywh, atol=0.01)
        assert [dataset.classes[index] for index in found.class_id] == labels.class_names


def test_each_image_has_its_own_labels_in_ultralytics_places(tmp_path):
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "yolo", to, "--copy-images") == 0
    assert yaml.safe_load((to / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "names": {0: "ball", 1: "box", 2: "class_7"},
    }
    pairs = list(read_export(output, to))
    assert len(pairs) == len(list((to / "labels").iterdir())) == 4  # two of them are called 1, two lie in a/
    for labels, lines in pairs:
        assert [int(line[0]) for line in lines] == [{1: 0, 2: 1, 7: 2}[id] for id in labels.class_ids.tolist()]
        height, width = labels.size_hw
        for (_, cx, cy, w, h), box in zip(lines, labels.boxes_xywh, strict=True):
            np.testing.assert_allclose(
                [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height], box, atol=0.01
            )


def test_classes_that_are_left_out_leave_no_gap(tmp_path):
    assert run_export(make_output(tmp_path), "yolo", tmp_path / "to", "--classes", "class_7", "box") == 0
    assert yaml.safe_load((tmp_path / "to" / "data.yaml").read_text())["names"] == {0: "box", 1: "class_7"}
    indices = [
        line.split()[0] for file in (tmp_path / "to" / "labels").iterdir() for line in file.read_text().splitlines()
    ]
    assert sorted(indices) == ["0", "0", "1"]


def test_polygons_are_the_masks(tmp_path):
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "yolo-seg", to, "--copy-images") == 0
    seen_odd_one = False
    for labels, lines in read_export(output, to):
        height, width = labels.size_hw
        for rank, (_, *points) in enumerate(lines):
            ring = np.reshape(points, (-1, 2)) * [width, height]
            mask = polygon2mask((height, width), ring[:, ::-1] - 0.5)
            np.testing.assert_array_equal(mask, labels.mask(rank))
            seen_odd_one |= np.array_equal(mask, ring_and_pieces(30, 40))
    assert seen_odd_one


def test_supervision_reads_polygons(tmp_path):
    supervision = pytest.importorskip("supervision")
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "yolo-seg", to, "--copy-images") == 0
    dataset = supervision.DetectionDataset.from_yolo(str(to / "images"), str(to / "labels"), str(to / "data.yaml"))
    wanted = {labels.size_hw: labels for labels in labels_by_name(output).values()}
    for _, pixels, found in dataset:
        labels = wanted[pixels.shape[:2]]
        assert len(found) == len(labels.scores)
        for rank, mask in enumerate(map(labels.mask, range(len(found)))):
            if not np.array_equal(mask, ring_and_pieces(30, 40)):  # pieces are joined by lines, which its filler draws
                around = binary_dilation(mask, np.ones((3, 3)))  # as it draws outlines, in whole pixels
                assert (found.mask[rank] <= around).all() and (found.mask[rank] & mask).sum() > 0.9 * mask.sum()


def test_polygons_need_masks(tmp_path, capsys):
    assert run_export(make_output(tmp_path, "none"), "yolo-seg", tmp_path / "to") == 2
    said = capsys.readouterr().err
    assert "has no masks" in said and "coco, coco-results, yolo, voc" in said and not (tmp_path / "to").exists()
