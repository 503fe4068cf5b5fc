"""Which detection of one list is which of another: intersection over union of boxes and masks, and greedy matching.

Everything works on pairs, given as two arrays of indices, so that the images of a whole label set are matched in a few
NumPy calls.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..labelset.masks import encode_rle
from ..storage.errors import UsageError
from ..storage.installation import install_hint
from .reader import read_mask_file

_PAIRS_AT_ONCE = 10_000  # of masks that are Python's strings together
MIN_SIDE = 1e-3  # pixels that a box's side counts at least: boxes without area overlap as lines and points do


def box_iou(boxes_xywh: np.ndarray, others_xywh: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 `[P]`, of P pairs of boxes `[P, 4]` in pixels: left, top, width, height."""
    sides, other_sides = (np.maximum(boxes[:, 2:].astype(np.float64), MIN_SIDE) for boxes in (boxes_xywh, others_xywh))
    # From the sides and the distance, not from the edges: so a box covers itself wholly, and either order gives one
    # result.
    distance = others_xywh[:, :2].astype(np.float64) - boxes_xywh[:, :2]
    left, right = np.where(distance >= 0, (sides, other_sides), (other_sides, sides))
    overlap = np.clip(np.minimum(left - np.abs(distance), right), 0, None).prod(axis=1)
    return overlap / (sides.prod(axis=1) + other_sides.prod(axis=1) - overlap)


@dataclass(frozen=True)
class MaskColumns:
    """Masks of detections, as the table `masks` has them.

    Attributes:
      output: the output folder.
      refs, counts: Arrow strings `[N]`: the mask's name, and its run-length encoding, null if it's a PNG file.
      areas: int64 `[N]`, pixels.
      boxes_xywh: int64 `[N, 4]`, around the mask's pixels.
      sizes_hw: int64 `[N, 2]`, of the image.
    """

    output: str
    refs: pa.Array
    counts: pa.Array
    areas: np.ndarray
    boxes_xywh: np.ndarray
    sizes_hw: np.ndarray

    def rles(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Some masks, by their rows, as COCO's tools take them."""
        taken = pa.array(rows, pa.int64())
        refs, counts = map(str, self.refs.take(taken).to_pylist()), self.counts.take(taken).to_pylist()
        return [
            {"size": size, "counts": encode_rle(read_mask_file(self.output, ref)) if runs is None else runs}
            for size, ref, runs in zip(self.sizes_hw[rows].tolist(), refs, counts, strict=True)
        ]


def mask_iou(
    masks: MaskColumns, others: MaskColumns, first: np.ndarray, second: np.ndarray, min_iou: float
) -> np.ndarray:
    """Intersection over union, float64 `[P]`, of P pairs of masks; 1 for two empty ones; 0 for what lies below
    `min_iou`.

    hotcoco measures run lengths, without making masks. Only pairs are measured that may reach `min_iou` by their masks'
    areas and by the boxes around their pixels.

    Args:
      first, second: integers `[P]`: the masks of each pair.

    Raises:
      UsageError: if hotcoco isn't installed.
    """
    try:
        from hotcoco.mask import iou
    except ImportError as error:
        raise UsageError(f"--iou segm needs hotcoco: {install_hint('evaluate')}") from error
    areas, other_areas = masks.areas[first], others.areas[second]
    boxes, other_boxes = masks.boxes_xywh[first], others.boxes_xywh[second]
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], other_boxes[:, :2] + other_boxes[:, 2:])
    shared = np.clip(ends - np.maximum(boxes[:, :2], other_boxes[:, :2]), 0, None).prod(axis=1)
    overlap, union = np.minimum(shared, np.minimum(areas, other_areas)), np.maximum(areas, other_areas)
    most = np.where(union > 0, overlap / np.maximum(union, 1), 1.0)
    found = np.where(union > 0, 0.0, 1.0)
    candidates = np.flatnonzero((most >= min_iou) & (union > 0))
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        pairs = candidates[start : start + _PAIRS_AT_ONCE]
        found[pairs] = [
            1.0 if one == other else iou([one], [other], [0])[0, 0]
            for one, other in zip(masks.rles(first[pairs]), others.rles(second[pairs]), strict=True)
        ]
    return found


def pairs_of_equal_keys(keys: np.ndarray, other_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (index, other index) with one key.

    Args:
      keys: integers `[N]` in any order.
      other_keys: integers `[M]`, ascending.
    """
    starts = np.searchsorted(other_keys, keys, "left")
    counts = np.searchsorted(other_keys, keys, "right") - starts
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(keys)), counts), place + np.repeat(starts, counts)


def match_greedily(first: np.ndarray, second: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Chooses among candidate pairs: those with the greatest overlap first, each detection once.

    Where overlaps are equal, the lower indices win; exchanging the two sides changes nothing.

    Args:
      first, second: integers `[P]`, the two detections of each candidate pair.
      iou: `[P]`.

    Returns:
      Indices of the chosen pairs, ascending.
    """
    order = np.lexsort((first + second, -iou))
    taken, other_taken = (np.zeros(side.max(initial=-1) + 1, bool) for side in (first, second))
    chosen = []
    while len(order):
        # A pair that comes first for both its detections is one that going through all pairs in order would choose.
        _, best_of_first = np.unique(first[order], return_index=True)
        _, best_of_second = np.unique(second[order], return_index=True)
        mutual = order[np.intersect1d(best_of_first, best_of_second, assume_unique=True)]
        chosen.append(mutual)
        taken[first[mutual]] = other_taken[second[mutual]] = True
        order = order[~taken[first[order]] & ~other_taken[second[order]]]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
