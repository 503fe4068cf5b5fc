"""Which detection of one list is which of another: intersection over union of boxes and masks, and greedy matching.

Everything works on pairs, given as two arrays of indices, so that the images of a whole label set are matched in a few
NumPy calls. Not for average precision: see `evaluate.py`, where pycocotools matches as COCO's rules want it.
"""

import numpy as np

from ..labelset.masks import decode_counts

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


class RunLengthMask:
    """A binary mask as its run lengths, which is all that an intersection needs.

    Args:
      runs: integers `[n]`, lengths in column-major order, background and object in turn, background first.
    """

    def __init__(self, runs: np.ndarray):
        of_object = np.arange(len(runs)) % 2 == 1
        self._bounds = np.concatenate([[0], np.cumsum(runs)])
        self._covered = np.concatenate(
            [[0], np.cumsum(np.where(of_object, runs, 0))]
        )  # pixels of the object up to a bound

    @classmethod
    def from_counts(cls, counts: str) -> "RunLengthMask":
        """From COCO's compressed string. Raises ValueError if it isn't one."""
        return cls(decode_counts(counts))

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> "RunLengthMask":
        """From bool `[height, width]`."""
        pixels = mask.ravel(order="F")
        changes = np.flatnonzero(np.diff(pixels, prepend=False))
        return cls(np.diff(changes, prepend=0, append=pixels.size))

    @property
    def area(self) -> int:
        return int(self._covered[-1])

    def iou(self, other: "RunLengthMask") -> float:
        """Intersection over union of two masks of one image; 1 if both are empty.

        Raises:
          ValueError: if they are masks of images with different numbers of pixels.
        """
        if self._bounds[-1] != other._bounds[-1]:
            raise ValueError(
                f"masks of images of one size expected, got {self._bounds[-1]} and {other._bounds[-1]} pixels"
            )
        # How much of the other object lies before a bound goes on linearly within a run, so interpolating is exact.
        before = np.interp(self._bounds, other._bounds, other._covered)
        overlap = (before[2::2] - before[1:-1:2]).sum()
        union = self.area + other.area - overlap
        return float(overlap / union) if union else 1.0


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
    chosen = []
    while len(order):
        # A pair that comes first for both its detections is one that going through all pairs in order would choose.
        _, best_of_first = np.unique(first[order], return_index=True)
        _, best_of_second = np.unique(second[order], return_index=True)
        mutual = order[np.intersect1d(best_of_first, best_of_second)]
        chosen.append(mutual)
        order = order[~np.isin(first[order], first[mutual]) & ~np.isin(second[order], second[mutual])]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
