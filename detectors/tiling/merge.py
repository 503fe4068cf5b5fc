"""Which of the tiles' detections become the image's: one an object, the one that saw most of it."""

import numpy as np

SAME_IOU = 0.5  # two detections of a class that overlap so much are one object
PART_SHARE = 0.5  # a cut one that lies so far inside another is part of that one's object


def rows_kept(boxes_yxyx: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Rows of the detections that stay, best first.

    Within a class, greedily by score: whole ones first, which suppress by IoU; then those that an inner edge of a tile
    cuts, which give way to whatever covers half of them. So a neighbour that sees an object whole wins, and an object
    that none sees whole keeps its best part.

    Args:
      boxes_yxyx: float32 `[N, 4]` in pixels of the image.
      class_ids: int32 `[N]`.
      scores: float32 `[N]`.
      cut: bool `[N]`, whether an inner edge of a tile cuts the box.
    """
    kept = [
        rows[_suppress(boxes_yxyx[rows], cut[rows])]
        for class_id in np.unique(class_ids)
        for rows in [_ranked(np.flatnonzero(class_ids == class_id), scores, cut)]
    ]
    rows = np.concatenate([np.zeros(0, np.intp), *kept])
    return rows[np.argsort(-scores[rows], kind="stable")]


def _ranked(rows: np.ndarray, scores: np.ndarray, cut: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((-scores[rows], cut[rows]))]


def _suppress(boxes: np.ndarray, cut: np.ndarray) -> list[int]:
    """Indices of ranked boxes of one class that no better one suppresses."""
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    alive = np.ones(len(boxes), bool)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        common = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:]) - np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        shared = np.prod(np.maximum(common, 0), axis=1)
        later = areas[i + 1 :]
        union = np.maximum(areas[i] + later - shared, 1e-9)
        same = shared / union > SAME_IOU
        part = cut[i + 1 :] & (shared / np.maximum(later, 1e-9) > PART_SHARE)
        alive[i + 1 :] &= ~(same | part)
    return kept
