"""Anchors of the region proposal network (Faster R-CNN, arXiv:1506.01497), as the TF Object Detection API lays them."""

import numpy as np


def grid_anchors(
    grid_hw: tuple[int, int],
    stride: int,
    base_size: int = 256,
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0),
) -> np.ndarray:
    """Anchors of every cell of a feature map, clipped to the image.

    Cell (i, j) has its centre at pixel (i * stride, j * stride), the first at 0. A ratio is width / height, and scales
    run fastest. Anchors are clipped *before* boxes are decoded against them, so those at the border aren't symmetric
    about their cell.

    Args:
      grid_hw: rows and columns of the feature map.
      stride: pixels of the image a cell.
      base_size: side of the anchor of scale 1, in pixels.

    Returns:
      float32 `[rows * columns * ratios * scales, 4]`, (ymin, xmin, ymax, xmax) in pixels, within
      `[0, rows * stride] x [0, columns * stride]`.
    """
    scale, ratio = (
        a.ravel() for a in np.meshgrid(np.array(scales, np.float32), np.sqrt(np.array(aspect_ratios, np.float32)))
    )
    size_hw = np.stack([scale / ratio * base_size, scale * ratio * base_size], axis=-1)
    y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) * stride for n in grid_hw), indexing="ij")
    centres = np.stack([y, x], axis=-1)[:, :, np.newaxis]
    boxes = np.concatenate([centres - 0.5 * size_hw, centres + 0.5 * size_hw], axis=-1).reshape(-1, 4)
    limits = np.array([*grid_hw, *grid_hw], np.float32) * stride
    return np.clip(boxes, 0, limits).astype(np.float32)
