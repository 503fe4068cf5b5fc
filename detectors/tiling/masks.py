"""Masks of a whole tile, made relative to their boxes: those of tiles of different sizes then have one shape."""

import numpy as np

SIDE = 64  # of a grid; published masks have 33


def relative_to_boxes(masks: np.ndarray, mask_boxes_yxyx: np.ndarray, boxes_yxyx: np.ndarray) -> np.ndarray:
    """Masks as they are seen in their detections' boxes, by bilinear sampling. As everywhere, the outer cells' centres
    of a mask lie on its box's edges (`labelset/masks.py`).

    Args:
      masks: float32 `[N, h, w]`.
      mask_boxes_yxyx: float32 `[N, 4]`: the boxes that the masks cover.
      boxes_yxyx: float32 `[N, 4]`: the detections' boxes, normalised as `mask_boxes_yxyx`.

    Returns:
      float32 `[N, SIDE, SIDE]`.
    """
    grids = np.empty((len(masks), SIDE, SIDE), np.float32)
    for grid, mask, covered, box in zip(grids, masks, mask_boxes_yxyx, boxes_yxyx, strict=True):
        (top, bottom, down), (left, right, across) = (
            _neighbours(box[axis::2], covered[axis::2], mask.shape[axis]) for axis in (0, 1)
        )
        upper, lower = mask[top], mask[bottom]
        columns = upper + (lower - upper) * down[:, np.newaxis]
        grid[:] = columns[:, left] + (columns[:, right] - columns[:, left]) * across
    return grids


def _neighbours(box: np.ndarray, covered: np.ndarray, num_cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each point of a grid along one side: the mask's cells before and behind it, and the weight of the latter."""
    length = max(covered[1] - covered[0], np.finfo(np.float32).tiny)
    points = (np.linspace(box[0], box[1], SIDE) - covered[0]) / length
    places = np.clip(points * (num_cells - 1), 0, num_cells - 1)
    before = places.astype(int)
    return before, np.minimum(before + 1, num_cells - 1), (places - before).astype(np.float32)
