"""The bilinear resize of TF 1.x, on the host, one image at a time: what both published detectors were trained with.

Cell i of the output samples position `i * (n_in / n_out)`: no half-pixel centres, no aligned corners, no antialiasing,
when shrinking either. Bit-equal to `tf.compat.v1.image.resize_bilinear`.
"""

import numpy as np


def sample_positions(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where `n_out` cells sample an axis of `n_in` cells.

    Returns:
      `low` and `high` int64 `[n_out]`, the two neighbours, and `t` float32 `[n_out]`, the weight of `high`.
    """
    scale = np.float32(n_in) / np.float32(n_out)
    position = np.arange(n_out, dtype=np.float32) * scale
    low = np.floor(position)
    t = position - low
    low = low.astype(np.int64)
    return low, np.minimum(low + 1, n_in - 1), t


def legacy_bilinear_resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resizes one image.

    Args:
      image: uint8 or float32 `[H, W, C]`.
      size_hw: (height, width) of the result in pixels.

    Returns:
      float32 `[height, width, C]`, in the image's own unit.
    """
    low_y, high_y, t_y = sample_positions(image.shape[0], size_hw[0])
    low_x, high_x, t_x = sample_positions(image.shape[1], size_hw[1])
    # Along x first, each row once that is needed at all: enlarging needs a row several times, shrinking not every row.
    rows, place = np.unique(np.concatenate([low_y, high_y]), return_inverse=True)
    needed = image[rows].astype(np.float32)
    across = _lerp(needed[:, low_x], needed[:, high_x], t_x[:, np.newaxis])
    return _lerp(across[place[: size_hw[0]]], across[place[size_hw[0] :]], t_y[:, np.newaxis, np.newaxis])


def _lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`a + (b - a) * t`, written over `b` and with these roundings: other forms of it differ in the last bit."""
    b -= a
    b *= t
    b += a
    return b
