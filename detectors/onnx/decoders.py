"""What the outputs of an ONNX model mean: pure functions from one image's outputs to boxes in pixels of the input.

Each takes the outputs by name, without the batch axis, and gives `Decoded`: all rows, whatever their score.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..protocol import InvalidDetections
from .options import OnnxOptions

OF_OBJECT_DETECTION_API = ("detection_boxes", "detection_scores", "detection_classes")


class Decoded(NamedTuple):
    """Boxes float `[N, 4]`, (xmin, ymin, xmax, ymax) in pixels of the input; scores `[N]`; classes `[N]`, from 0; of
    models with prototypes of masks, their coefficients `[N, M]`."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    coefficients: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Decoded":
        """These rows alone."""
        coefficients = None if self.coefficients is None else self.coefficients[rows]
        return Decoded(self.boxes_xyxy[rows], self.scores[rows], self.classes[rows], coefficients)


def boxes_scores_labels(outputs: Mapping[str, np.ndarray], input_hw: tuple[int, int], options: OnnxOptions) -> Decoded:
    """Outputs of models that end with their own postprocessing (torchvision, RT-DETR and D-FINE exports; what tf2onnx
    makes of the TF Object Detection API's models, whose further outputs are left aside).

    The output whose last axis is 4 holds the boxes; of the two others, the one called like `label` or `class`, or of
    whole numbers, the classes.
    """
    if set(OF_OBJECT_DETECTION_API) <= set(outputs):
        outputs = {name: outputs[name] for name in OF_OBJECT_DETECTION_API}
    boxes = [a for a in outputs.values() if a.ndim == 2 and a.shape[-1] == 4]
    rows = {name: a for name, a in outputs.items() if a.ndim == 1}
    classes = [n for n, a in rows.items() if any(word in n.lower() for word in ("label", "class"))]
    classes = classes or [n for n, a in rows.items() if a.dtype.kind in "iu"]
    scores = [n for n in rows if n not in classes]
    if len(boxes) != 1 or len(classes) != 1 or len(scores) != 1:
        raise InvalidDetections(
            "expected outputs of boxes [N, 4], scores [N] and labels [N], got "
            + ", ".join(f"{name} {list(a.shape)}" for name, a in outputs.items())
        )
    xyxy = boxes[0][:, [1, 0, 3, 2]] if options.box_format.startswith("yxyx") else boxes[0]
    if options.box_format.endswith("_normalised"):
        xyxy = xyxy * np.array([*input_hw[::-1], *input_hw[::-1]], np.float32)
    return Decoded(xyxy, rows[scores[0]], np.rint(rows[classes[0]]))


def detr(outputs: Mapping[str, np.ndarray], input_hw: tuple[int, int], options: OnnxOptions) -> Decoded:
    """Logits `[Q, C]` and boxes `[Q, 4]` (centre x and y, width, height, from 0 to 1), a row for each query."""
    boxes = next((a for n, a in outputs.items() if a.ndim == 2 and a.shape[-1] == 4 and "logit" not in n), None)
    logits = next((a for a in outputs.values() if a.ndim == 2 and a is not boxes), None)
    if boxes is None or logits is None or len(boxes) != len(logits):
        raise InvalidDetections(
            "expected outputs of logits [Q, C] and boxes [Q, 4], got "
            + ", ".join(f"{name} {list(a.shape)}" for name, a in outputs.items())
        )
    if options.activation == "softmax":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]  # the last class is "nothing"
        classes = shares.argmax(axis=1)
        return Decoded(_corners(boxes, input_hw), shares.max(axis=1), classes)
    shares = 1 / (1 + np.exp(-logits))
    # As these models are evaluated: the best pairs of query and class, so that a query may be of two classes.
    query, classes = np.divmod(np.argsort(-shares, axis=None, kind="stable")[: len(shares)], shares.shape[1])
    return Decoded(_corners(boxes, input_hw)[query], shares[query, classes], classes)


def yolo(outputs: Mapping[str, np.ndarray], input_hw: tuple[int, int], options: OnnxOptions) -> Decoded:
    """Predictions `[N, 4 + C]`, or `[4 + C, N]` as Ultralytics exports them: centre x and y, width, height in pixels,
    then a score a class; with `objectness`, one more column before the classes, by which they are multiplied.
    Segmentation models have `prototypes`, `[M, h, w]`, and the last M columns are coefficients (`masks.box_masks`).

    Boxes of a class that overlap are suppressed here, since these models leave that to others.
    """
    tables = [a for a in outputs.values() if a.ndim == 2]
    maps = prototypes(outputs)
    if len(tables) != 1:
        raise InvalidDetections(
            "expected one output of predictions [N, 4 + classes], got "
            + ", ".join(f"{name} {list(a.shape)}" for name, a in outputs.items())
        )
    rows = tables[0] if tables[0].shape[0] > tables[0].shape[1] else tables[0].T
    first = 5 if options.objectness else 4
    end = rows.shape[1] - (0 if maps is None else len(maps))
    if end <= first:
        more = "" if maps is None else f" and {len(maps)} coefficients of prototypes"
        raise InvalidDetections(
            f"expected predictions of {first} columns and one a class{more}, got {list(tables[0].shape)}"
        )
    shares = rows[:, first:end] * rows[:, 4:5] if options.objectness else rows[:, first:end]
    classes = shares.argmax(axis=1)
    coefficients = None if maps is None else rows[:, end:]
    return Decoded(_corners(rows[:, :4], (1, 1)), shares.max(axis=1), classes, coefficients)


def prototypes(outputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The output `[M, h, w]` of a segmentation model; None if there's none."""
    return next((array for array in outputs.values() if array.ndim == 3), None)


def suppressed(found: Decoded, iou: float) -> np.ndarray:
    """Rows that stay, best first, of boxes that are in order of their scores: greedy suppression within each class."""
    kept: list[int] = []
    areas = np.prod(np.maximum(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], 0), axis=1)
    for i, box in enumerate(found.boxes_xyxy):
        rivals = np.array([k for k in kept if found.classes[k] == found.classes[i]], np.intp)
        others = found.boxes_xyxy[rivals]
        sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        if not (shared > iou * np.maximum(areas[rivals] + areas[i] - shared, 1e-9)).any():
            kept.append(i)
    return np.array(kept, np.intp)


def _corners(boxes_cxcywh: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    unit = np.array([*size_hw[::-1], *size_hw[::-1]], np.float32)
    return np.concatenate([centre - half, centre + half], axis=1) * unit


DECODERS = {"boxes_scores_labels": boxes_scores_labels, "detr": detr, "yolo": yolo}
