"""CenterNet's input: the image, its longer side scaled to 512, padded at the bottom and the right. On the host."""

import numpy as np

from ...protocol import InvalidDetections
from ..resize import legacy_bilinear_resize

INPUT_SIZE_HW = (512, 512)
PIXEL_SCALE = np.float32(1 / 127.5)  # the published graph multiplies; dividing differs in the last bit


def scaled_size_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Size to which an image of this size is scaled: aspect ratio kept, longer side 512, small images enlarged.

    In float32 with rounding half to even, as the published graph does it.

    Raises:
      InvalidDetections: if the image is so narrow that its short side would become 0.
    """
    scale = min(np.float32(limit) / np.float32(side) for limit, side in zip(INPUT_SIZE_HW, size_hw, strict=True))
    height, width = (int(np.rint(scale * np.float32(side))) for side in size_hw)
    if not height or not width:
        raise InvalidDetections(
            f"an image of {size_hw[0]}x{size_hw[1]} (height x width) is too narrow for CenterNet: "
            f"its short side would be scaled to 0"
        )
    return height, width


def preprocess(image: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Makes the network's input from an image.

    Args:
      image: RGB, uint8 `[H, W, 3]`.
      out: where the pixels go, such as a batch's part; None for an array of their own.

    Returns:
      `pixels` float32 `[512, 512, 3]` in [-1, 1], -1 in the padding, and `true_size_hw` int32 `[2]`, the size of the
      image's part of it.

    Raises:
      InvalidDetections: see `scaled_size_hw`.
    """
    size_hw = scaled_size_hw(image.shape[:2])
    pixels = np.empty((*INPUT_SIZE_HW, 3), np.float32) if out is None else out
    height, width = size_hw
    legacy_bilinear_resize(image, size_hw, pixels[:height, :width])
    pixels[height:], pixels[:height, width:] = 0, 0
    pixels *= PIXEL_SCALE
    pixels -= 1
    return pixels, np.array(size_hw, np.int32)
