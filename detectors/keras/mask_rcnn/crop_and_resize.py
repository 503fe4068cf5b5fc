"""Crops of a feature map at fixed size, as TF's `crop_and_resize` takes them (bilinear, zeros outside).

It is neither RoIAlign nor RoIPool: one sample a cell, on a grid whose outer samples lie on the box's edges, where 0
and 1 are the *centres* of the feature map's outer cells.
"""

from ..compiled import crop_and_resize_kernel
from ..ops import ops


def sample_positions(start, end, n_in: int, n_out: int):
    """Where a crop samples one axis.

    The order of operations decides which samples fall outside: for some boxes that end at 1 the last sample lies one
    unit in the last place beyond the last cell, and the reference then gives a row of zeros. Written as `n * x - x`,
    `(n - 1) * x` leaves a compiler nothing to contract where n is a power of two.

    Args:
      start, end: float32 `[N]`, the box's sides, normalised.
      n_in: cells of the axis.
      n_out: samples, at least 2.

    Returns:
      `low`, `high` int32, `t` float32 (weight of `high`) and `inside` bool, each `[N, n_out]`.
    """
    start, extent = ops.cast(start, "float32"), ops.cast(end - start, "float32")
    if n_in & (n_in - 1):
        first, span = start * (n_in - 1), extent * (n_in - 1)
    else:
        first, span = start * n_in - start, extent * n_in - extent
    step = span / (n_out - 1)
    position = first[:, None] + step[:, None] * ops.arange(n_out, dtype="float32")
    inside = (position >= 0.0) & (position <= n_in - 1)
    position = ops.where(inside, position, 0.0)
    low, high = ops.floor(position), ops.ceil(position)
    return ops.cast(low, "int32"), ops.cast(high, "int32"), position - low, inside


def crop_and_resize(features, boxes, image_indices, size_hw: tuple[int, int]):
    """Crops boxes out of feature maps: by the backend's own kernel if it has one, since the crops are a twentieth of
    Mask R-CNN's time otherwise; else by `crop_by_gathering`, which gives the same values bit for bit.

    Args and returns: see `crop_by_gathering`.
    """
    crops = crop_and_resize_kernel(ops.cast(features, "float32"), boxes, image_indices, size_hw)
    return (
        crop_by_gathering(features, boxes, image_indices, size_hw) if crops is None else ops.cast(crops, features.dtype)
    )


def crop_by_gathering(features, boxes, image_indices, size_hw: tuple[int, int]):
    """Crops boxes out of feature maps, on any backend.

    Args:
      features: `[B, H, W, C]`, float32 or bfloat16.
      boxes: float32 `[N, 4]`, (ymin, xmin, ymax, xmax), normalised.
      image_indices: int32 `[N]`, which map each box is cut from.
      size_hw: rows and columns of a crop, each at least 2.

    Returns:
      `[N, *size_hw, C]` of the features' dtype; 0 where a sample lies outside the map.
    """
    _, height, width, channels = features.shape
    low_y, high_y, t_y, inside_y = sample_positions(boxes[:, 0], boxes[:, 2], height, size_hw[0])
    low_x, high_x, t_x, inside_x = sample_positions(boxes[:, 1], boxes[:, 3], width, size_hw[1])
    cells = ops.reshape(features, (-1, channels))
    first = ops.cast(image_indices, "int32")[:, None] * (height * width)

    def corner(y, x):
        return ops.take(cells, (first + y * width)[:, :, None] + x[:, None, :], axis=0)

    t_x, t_y = (ops.cast(t, features.dtype) for t in (t_x[:, None, :, None], t_y[:, :, None, None]))
    left = corner(low_y, low_x)
    top = left + (corner(low_y, high_x) - left) * t_x
    left = corner(high_y, low_x)
    bottom = left + (corner(high_y, high_x) - left) * t_x
    crops = top + (bottom - top) * t_y
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
    return ops.where(inside, crops, ops.zeros_like(crops))
