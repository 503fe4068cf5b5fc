"""Greedy non-maximum suppression as a loop of fixed length, for many independent sets of boxes at once.

The same result as TF's `NonMaxSuppressionV5` without soft suppression, ties included, but of fixed shapes. Classes are
kept apart by giving one set a class.
"""

from ..ops import ops
from .boxes import iou_of_corners, ordered_corners

DEAD = -1.0  # below every score that can be selected


def greedy_nms(boxes, scores, max_selected: int, iou_threshold: float):
    """Selects boxes by descending score, each unless it overlaps one selected before.

    Boxes with a score of 0 or less are never selected; ties go to the lower index; a box is suppressed by an overlap
    that is strictly greater than the threshold.

    Args:
      boxes: float32 `[..., N, 4]`.
      scores: float32 `[..., N]`.
      max_selected: K, at most so many are selected in each set.
      iou_threshold: greatest overlap that two selected boxes may have.

    Returns:
      `indices` int32 `[..., K]` in order of selection, and `selected` bool `[..., K]`, False behind the last one.
    """
    count = ops.shape(scores)[-1]
    corners = ordered_corners(boxes)
    places = ops.arange(count, dtype="int32")
    live = ops.where(scores > 0.0, scores, DEAD)
    slots = ops.arange(max_selected, dtype="int32")
    indices = ops.zeros_like(live[..., :1], dtype="int32") + ops.zeros_like(slots)

    def step(k, state):
        live, indices, counts = state
        best = ops.cast(ops.argmax(live, axis=-1), "int32")[..., None]
        found = ops.take_along_axis(live, best, axis=-1) > 0.0
        box = [ops.take_along_axis(values, best, axis=-1) for values in corners]
        gone = (iou_of_corners(box, corners) > iou_threshold) | (places == best)
        indices = ops.where((slots == k) & found, best, indices)
        return ops.where(gone, DEAD, live), indices, counts + ops.cast(found, "int32")

    counts = ops.zeros_like(live[..., :1], dtype="int32")
    _, indices, counts = ops.fori_loop(0, max_selected, step, (live, indices, counts))
    return indices, slots < counts
