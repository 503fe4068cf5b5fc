import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from labelbeam.labelset.masks import encode_rle
from labelbeam.results.export.formats.label_studio import encode_brush

from tests.results.export.outputs import labels_by_name, make_output, run_export


def decode_brush(data):
    """Values of a thi.ng/rle-pack stream, by its own description."""
    bits, at = "".join(f"{byte:08b}" for byte in data), 0

    def read(n):
        nonlocal at
        at += n
        return int(bits[at - n : at], 2)

    num_values, word_bits = read(32), read(5) + 1
    run_bits = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < num_values:
        repeated, length = read(1), read(run_bits[read(2)]) + 1
        values += [read(word_bits)] * length if repeated else [read(word_bits) for _ in range(length)]
    assert len(values) == num_values and len(bits) - at < 8
    return np.array(values)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 5), (40, 30), (300, 500)])
@pytest.mark.parametrize("density", [0, 0.001, 0.5, 1])
def test_brush_strokes_are_the_mask_bit_for_bit(size_hw, density):
    mask = np.random.default_rng(0).random(size_hw) < density
    rgba = decode_brush(encode_brush(encode_rle(mask), *size_hw)).reshape(*size_hw, 4)
    np.testing.assert_array_equal(rgba, np.where(mask, 255, 0)[..., np.newaxis].repeat(4, axis=-1))


@pytest.mark.parametrize("way", [(), ("--copy-images",)])
def test_tasks_hold_what_was_labelled(tmp_path, way):
    output, to = make_output(tmp_path), tmp_path / "to"
    assert run_export(output, "label-studio", to, *way) == 0
    by_id = {labels.image_id: labels for labels in labels_by_name(output).values()}
    tasks = json.loads((to / "tasks.json").read_text())
    assert {task["data"]["image_id"] for task in tasks} == set(by_id)
    for task in tasks:
        labels, (prediction,) = by_id[task["data"]["image_id"]], task["predictions"]
        height, width = labels.size_hw
        served = "/" + parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]
        assert Path(served).read_bytes() == Path(labels.uri).read_bytes() and (served == labels.uri) == (not way)
        boxes = [region for region in prediction["result"] if region["type"] == "rectanglelabels"]
        masks = [region for region in prediction["result"] if region["type"] == "brushlabels"]
        assert len(boxes) == len(masks) == len(labels.scores)
        for rank, (box, mask) in enumerate(zip(boxes, masks)):
            value = box["value"]
            xywh = np.array([value[name] for name in ("x", "y", "width", "height")]) * ([width, height] * 2) / 100
            np.testing.assert_allclose(xywh, labels.boxes_xywh[rank], atol=0.01)
            assert value["rectanglelabels"] == mask["value"]["brushlabels"] == [labels.class_names[rank]]
            assert box["score"] == labels.scores[rank] and mask["parentID"] == box["id"]
            alpha = decode_brush(mask["value"]["rle"]).reshape(height, width, 4)[..., 3]
            np.testing.assert_array_equal(alpha > 0, labels.mask(rank))


@pytest.mark.parametrize("mask_format, controls", [("rle", ["box", "mask"]), ("none", ["box"])])
def test_the_projects_configuration_has_the_controls_that_regions_name(tmp_path, mask_format, controls):
    assert run_export(make_output(tmp_path, mask_format), "label-studio", tmp_path / "to") == 0
    view = ElementTree.parse(tmp_path / "to" / "label_config.xml").getroot()
    assert [child.get("name") for child in view] == ["image", *controls]
    assert all([label.get("value") for label in child] == ["ball", "box", "class_7"] for child in list(view)[1:])
