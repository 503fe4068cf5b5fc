"""Masks of YOLO's segmentation models: prototypes of the whole input, mixed for each detection, cut out by its box."""

import numpy as np

MASK_SIDE = 64  # of the grid that each mask becomes, relative to its box
_AT_ONCE = 128  # detections whose mixtures are in memory at the same time


def box_masks(
    prototypes: np.ndarray, coefficients: np.ndarray, boxes_xyxy: np.ndarray, input_hw: tuple[int, int]
) -> np.ndarray:
    """Masks relative to boxes: the mixture's logits at the points of a grid over the box, bilinearly, as probabilities.

    The grid's outer points lie on the box's edges. A prototype's cells have their values at their centres; beyond the
    outer centres, these hold.

    Args:
      prototypes: float `[M, h, w]`, over the whole input.
      coefficients: float `[N, M]`, of the detections.
      boxes_xyxy: float `[N, 4]` in pixels of the input.
      input_hw: (height, width) of the input in pixels.

    Returns:
      float32 `[N, MASK_SIDE, MASK_SIDE]` in [0, 1].
    """
    masks = np.zeros((len(coefficients), MASK_SIDE, MASK_SIDE), np.float32)
    cells_hw = prototypes.shape[1:]
    flat = prototypes.reshape(len(prototypes), -1).astype(np.float32, copy=False)
    for start in range(0, len(masks), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        boxes = boxes_xyxy[some]
        y, y_next, down = _between(boxes[:, 1], boxes[:, 3], cells_hw[0], input_hw[0])
        x, x_next, right = _between(boxes[:, 0], boxes[:, 2], cells_hw[1], input_hw[1])
        logits = (coefficients[some].astype(np.float32) @ flat).reshape(-1, *cells_hw)
        each = np.arange(len(logits))[:, np.newaxis]
        rows = logits[each, y] * (1 - down)[..., np.newaxis] + logits[each, y_next] * down[..., np.newaxis]
        left, beside = (np.take_along_axis(rows, columns[:, np.newaxis], axis=2) for columns in (x, x_next))
        at_points = left * (1 - right)[:, np.newaxis] + beside * right[:, np.newaxis]
        masks[some] = 0.5 + 0.5 * np.tanh(at_points / 2)  # the logistic function, without overflow
    return masks


def _between(low: np.ndarray, high: np.ndarray, num_cells: int, num_pixels: int) -> tuple[np.ndarray, ...]:
    """Along one axis: the cells before and after each point of the boxes' grids, and its share of the second one."""
    pixels = low[:, np.newaxis] + (high - low)[:, np.newaxis] * np.linspace(0, 1, MASK_SIDE, dtype=np.float32)
    places = np.clip(pixels * (num_cells / num_pixels) - 0.5, 0, num_cells - 1)
    cells = places.astype(np.intp)
    return cells, np.minimum(cells + 1, num_cells - 1), (places - cells).astype(np.float32)
