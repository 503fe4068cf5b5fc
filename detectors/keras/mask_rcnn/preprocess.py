"""Mask R-CNN's input: the image stretched to 1024x1024, whatever its aspect ratio. On the host."""

import numpy as np

from ..resize import legacy_bilinear_resize

INPUT_SIZE_HW = (1024, 1024)
PIXEL_SCALE = np.float32(2 / 255)


def preprocess(image: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Makes the network's input from an image.

    Args:
      image: RGB, uint8 `[H, W, 3]`.
      out: where the pixels go, such as a batch's part; None for an array of their own.

    Returns:
      `pixels` float32 `[1024, 1024, 3]` in [-1, 1], and `true_size_hw` int32 `[2]`, which is always the whole of it.
    """
    pixels = legacy_bilinear_resize(image, INPUT_SIZE_HW, out)
    pixels *= PIXEL_SCALE
    pixels -= 1
    return pixels, np.array(INPUT_SIZE_HW, np.int32)
