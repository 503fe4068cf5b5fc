"""The bilinear resize of TF 1.x, on the host, one image at a time: what both published detectors were trained with.

Cell i of the output samples position `i * (n_in / n_out)`: no half-pixel centres, no aligned corners, no antialiasing,
when shrinking either. Bit-equal to `tf.compat.v1.image.resize_bilinear`.
"""

import numpy as np

_ROWS_AT_ONCE = 16  # of the result: 8 to 32 are as fast


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


def legacy_bilinear_resize(image: np.ndarray, size_hw: tuple[int, int], out: np.ndarray | None = None) -> np.ndarray:
    """Resizes one image.

    A few rows at a time, so that whatever is between the image and the result stays in the processor's cache; of each
    row, only what is sampled is ever converted (`benchmarks/detectors/resizing.py`).

    Args:
      image: uint8 or float32 `[H, W, C]`, C order.
      size_hw: (height, width) of the result in pixels.
      out: where the result goes, float32 `[height, width, C]`; None for an array of its own.

    Returns:
      The result, in the image's own unit.
    """
    (height, width), channels = size_hw, image.shape[2]
    low_y, high_y, t_y = sample_positions(image.shape[0], height)
    low_x, high_x, t_x = sample_positions(image.shape[1], width)
    left, right = ((channels * x[:, np.newaxis] + np.arange(channels)).ravel() for x in (low_x, high_x))
    columns, t_x, t_y = np.concatenate([left, right]), np.repeat(t_x, channels), t_y[:, np.newaxis]
    # Along x first, each row once that is needed at all: enlarging needs a row several times, shrinking not every row.
    needed, place = np.unique(np.concatenate([low_y, high_y]), return_inverse=True)
    low, high = place[:height], place[height:]
    rows = image.reshape(len(image), -1)
    resized = np.empty((height, width, channels), np.float32) if out is None else out
    for start in range(0, height, _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        first, last = low[start], high[block][-1]
        sampled = np.take(rows[needed[first : last + 1]], columns, axis=1, mode="clip")  # "raise" would copy once more
        sampled = sampled.astype(np.float32, copy=False)
        across = _lerp(sampled[:, : len(t_x)], sampled[:, len(t_x) :], t_x)
        rows_out = _lerp(across[low[block] - first], across[high[block] - first], t_y[block])
        resized[block] = rows_out.reshape(-1, width, channels)
    return resized


def _lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`a + (b - a) * t`, written over `b` and with these roundings: other forms of it differ in the last bit."""
    b -= a
    b *= t
    b += a
    return b
