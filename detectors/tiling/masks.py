"""Masks of a whole tile, made relative to their boxes: those of tiles of different sizes then have one shape."""

import numpy as np

SIDE = 64  # of a grid; published masks have 33


def relative_to_boxes(masks: np.ndarray, mask_boxes_yxyx: np.ndarray, boxes_yxyx: np.ndarray) -> np.ndarray:
    """Masks as they are seen in their detections' boxes, by bilinear sampling at the centres of the grid's cells.

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


def _neighbours(box: np.ndarray, covered: np.ndarray, num_pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell along one side: the mask's pixels before and behind its centre, and the weight of the latter."""
    centres = box[0] + (box[1] - box[0]) * (np.arange(SIDE) + 0.5) / SIDE
    length = max(covered[1] - covered[0], np.finfo(np.float32).tiny)
    pixels = np.clip((centres - covered[0]) / length * num_pixels - 0.5, 0, num_pixels - 1)
    before = pixels.astype(int)
    return before, np.minimum(before + 1, num_pixels - 1), (pixels - before).astype(np.float32)
