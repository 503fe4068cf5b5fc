from xml.etree import ElementTree

import numpy as np
import pytest

from tests.results.export.outputs import labels_by_name, make_output, run_export


def decode_mask(element, height, width):
    """By CVAT's description: lengths of runs in the box, row after row, background first."""
    runs = [int(run) for run in element.get("rle").split(",")]
    left, top, w, h = (int(element.get(name)) for name in ("left", "top", "width", "height"))
    mask = np.zeros((height, width), bool)
    mask[top : top + h, left : left + w] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(h, w)
    return mask


@pytest.mark.parametrize("mask_format", ["rle", "png", "none"])
def test_shapes_are_what_was_labelled(tmp_path, mask_format):
    output = make_output(tmp_path, mask_format)
    assert run_export(output, "cvat", tmp_path / "annotations.xml") == 0
    root, wanted = ElementTree.parse(tmp_path / "annotations.xml").getroot(), labels_by_name(output)
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == ["ball", "box", "class_7"]
    images = root.findall("image")
    assert [int(image.get("id")) for image in images] == list(range(4)) and {
        image.get("name") for image in images
    } == set(wanted)
    for image in images:
        labels = wanted[image.get("name")]
        assert (int(image.get("height")), int(image.get("width"))) == labels.size_hw
        boxes, masks = image.findall("box"), image.findall("mask")
        xyxy = np.array([[float(box.get(edge)) for edge in ("xtl", "ytl", "xbr", "ybr")] for box in boxes]).reshape(
            -1, 4
        )
        np.testing.assert_allclose(xyxy[:, :2], labels.boxes_xywh[:, :2], atol=0.01)
        np.testing.assert_allclose(xyxy[:, 2:] - xyxy[:, :2], labels.boxes_xywh[:, 2:], atol=0.01)
        assert [box.get("label") for box in boxes] == labels.class_names
        assert len(masks) == (0 if mask_format == "none" else len(boxes))
        for rank, mask in enumerate(masks):
            np.testing.assert_array_equal(decode_mask(mask, *labels.size_hw), labels.mask(rank))
            assert mask.get("group_id") == boxes[rank].get("group_id")
