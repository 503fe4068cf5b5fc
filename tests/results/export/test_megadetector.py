import json

import numpy as np

from tests.results.export.outputs import labels_by_name, make_output, run_export


def test_boxes_are_fractions_from_the_upper_left_corner(tmp_path):
    output = make_output(tmp_path)
    assert run_export(output, "megadetector", tmp_path / "detections.json") == 0
    written = json.loads((tmp_path / "detections.json").read_text())
    assert written["detection_categories"] == {"1": "ball", "2": "box", "7": "class_7"}
    assert written["info"]["detector"] == "demo" and written["info"]["format_version"] >= "1.2"
    wanted = labels_by_name(output)
    assert {image["file"] for image in written["images"]} == set(wanted)
    for image in written["images"]:
        labels = wanted[image["file"]]
        height, width = labels.size_hw
        boxes = np.array([row["bbox"] for row in image["detections"]]).reshape(-1, 4) * [width, height, width, height]
        np.testing.assert_allclose(boxes, labels.boxes_xywh, atol=1e-4)
        assert [int(row["category"]) for row in image["detections"]] == labels.class_ids.tolist()
        assert [np.float32(row["conf"]) for row in image["detections"]] == labels.scores.tolist()
