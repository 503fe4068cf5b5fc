"""Each decoder against a plain loop, on random arrays."""

import numpy as np
import pytest
from labelbeam.detectors.onnx.decoders import Decoded, boxes_scores_labels, detr, suppressed, yolo
from labelbeam.detectors.onnx.options import OnnxOptions
from labelbeam.detectors.protocol import InvalidDetections
from labelbeam.storage.errors import ConfigError

INPUT_HW = (480, 640)
RNG = np.random.default_rng(5)


def corners(cx, cy, w, h):
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xyxy_normalised", "yxyx_normalised"])
def test_boxes_scores_labels(box_format):
    boxes, scores, labels = RNG.random((7, 4), np.float32), RNG.random(7, np.float32), RNG.integers(0, 80, 7)
    found = boxes_scores_labels(
        {"labels": labels, "boxes": boxes, "scores": scores},
        INPUT_HW,
        OnnxOptions("boxes_scores_labels", box_format=box_format),
    )
    for row in range(7):
        box = boxes[row].tolist()
        if box_format.startswith("yxyx"):
            box = [box[1], box[0], box[3], box[2]]
        if box_format.endswith("normalised"):
            box = [box[0] * 640, box[1] * 480, box[2] * 640, box[3] * 480]
        np.testing.assert_allclose(found.boxes_xyxy[row], box, rtol=1e-5)
    assert found.scores.tolist() == scores.tolist() and found.classes.tolist() == labels.tolist()


def test_labels_are_told_by_name_or_by_kind():
    boxes, scores = np.zeros((2, 4), np.float32), np.float32([0.9, 0.1])
    for outputs in (
        {"a": boxes, "b": np.array([3, 5]), "c": scores},
        {"dets": boxes, "conf": scores, "class_ids": np.float32([3, 5])},
    ):
        found = boxes_scores_labels(outputs, INPUT_HW, OnnxOptions("boxes_scores_labels"))
        assert found.classes.tolist() == [3, 5] and found.scores.tolist() == scores.tolist()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_detr(activation):
    logits, boxes = RNG.normal(0, 3, (6, 5)).astype(np.float32), RNG.random((6, 4), np.float32)
    found = detr({"pred_boxes": boxes, "logits": logits}, INPUT_HW, OnnxOptions("detr", activation=activation))
    expected = []
    for query in range(6):
        if activation == "softmax":
            shares = np.exp(logits[query].astype(float)) / np.exp(logits[query].astype(float)).sum()
            expected.append((max(shares[:-1]), int(np.argmax(shares[:-1])), query))
        else:
            expected += [(1 / (1 + np.exp(-float(x))), c, query) for c, x in enumerate(logits[query])]
    if activation == "sigmoid":
        expected = sorted(expected, reverse=True)[:6]
    assert len(found.scores) == len(expected)
    for row, (score, class_id, query) in enumerate(expected):
        cx, cy, w, h = boxes[query].tolist()
        assert found.scores[row] == pytest.approx(score, rel=1e-5) and found.classes[row] == class_id
        np.testing.assert_allclose(found.boxes_xyxy[row], corners(cx * 640, cy * 480, w * 640, h * 480), atol=1e-3)


@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_yolo(objectness, transposed):
    rows = RNG.random((40, 8 + objectness), np.float32)
    found = yolo({"output0": rows.T if transposed else rows}, INPUT_HW, OnnxOptions("yolo", objectness=objectness))
    for i, row in enumerate(rows.tolist()):
        shares = [share * row[4] for share in row[5:]] if objectness else row[4:]
        assert found.scores[i] == pytest.approx(max(shares), rel=1e-5) and found.classes[i] == shares.index(max(shares))
        np.testing.assert_allclose(found.boxes_xyxy[i], corners(*row[:4]), atol=1e-5)


def test_suppression_within_a_class():
    boxes = np.float32([[0, 0, 10, 10], [1, 1, 11, 11], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = Decoded(boxes, np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([0, 0, 1, 0, 0, 0]))
    assert suppressed(found, 0.5).tolist() == [0, 2, 3, 4, 5]
    assert suppressed(found, 0.9).tolist() == [0, 1, 2, 3, 4, 5]
    assert suppressed(Decoded(boxes[:0], found.scores[:0], found.classes[:0]), 0.5).tolist() == []


@pytest.mark.parametrize(
    "decoder, outputs, named",
    [
        (boxes_scores_labels, {"boxes": (3, 4), "scores": (3,)}, r"got boxes \[3, 4\], scores \[3\]"),
        (detr, {"logits": (3, 5)}, r"got logits \[3, 5\]"),
        (detr, {"logits": (3, 5), "boxes": (2, 4)}, r"boxes \[2, 4\]"),
        (yolo, {"a": (3, 9), "b": (3, 9)}, r"expected one output of predictions"),
        (yolo, {"a": (99, 8), "b": (4, 9, 9)}, "4 columns and one a class and 4 coefficients of prototypes, got"),
        (yolo, {"a": (9, 4)}, "expected predictions of 4 columns and one a class"),
    ],
)
def test_outputs_that_mean_something_else(decoder, outputs, named):
    with pytest.raises(InvalidDetections, match=named):
        decoder({n: np.zeros(shape, np.float32) for n, shape in outputs.items()}, INPUT_HW, OnnxOptions("yolo"))


def test_options_out_of_range():
    for values, named in (
        ({"std": (1.0, 0.0, 1.0)}, "std"),
        ({"nms_iou": 0.0}, "nms_iou"),
        ({"padding": 300}, "padding"),
    ):
        with pytest.raises(ConfigError, match=named):
            OnnxOptions("yolo", **values)
