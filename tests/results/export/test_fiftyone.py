import json
from pathlib import Path

import numpy as np
import pytest
from labelbeam.results.reader import open_label_set
from labelbeam.results.stored_labels import iter_labels

from tests.fakes.output_folders import detections, labelled, write_part
from tests.results.export.outputs import make_output, run_export, save_label_set


@pytest.mark.parametrize("way", [(), ("--copy-images",), ("--link-images",)])
def test_labels_are_found_by_their_images(tmp_path, way):
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "fiftyone", to, *way) == 0
    written = json.loads((to / "labels.json").read_text())
    assert written["classes"] == ["ball", "box", "class_7"] and len(written["labels"]) == 4
    if way:  # keys are the images' paths in data/ without extension
        images = {image.stem: image.read_bytes() for image in (to / "data").iterdir()}
        by_bytes = {data: written["labels"][stem] for stem, data in images.items()}
    for labels in iter_labels(open_label_set(str(output))):
        if labels.failure is None:
            found = by_bytes[Path(labels.uri).read_bytes()] if way else written["labels"][labels.uri]
            boxes = np.reshape([box["bounding_box"] for box in found], (-1, 4)) * (labels.size_hw[::-1] * 2)
            np.testing.assert_allclose(boxes, labels.boxes_xywh, atol=0.01)
            assert [written["classes"][box["label"]] for box in found] == labels.class_names
            assert [box["confidence"] for box in found] == labels.scores.tolist()


def test_images_elsewhere_must_be_copied(tmp_path, capsys):
    write_part(tmp_path, [labelled("https://example.org/a.jpg", (30, 40), detections([0.5]))])
    save_label_set(tmp_path)
    assert run_export(tmp_path, "fiftyone", tmp_path / "to") == 2
    assert "https://example.org/a.jpg isn't a file on this machine" in capsys.readouterr().err
