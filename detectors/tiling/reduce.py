"""Larger tiles made smaller before a detector sees them: it would do so itself, of a copy in float32."""

import numpy as np
from PIL import Image

BAND_PIXELS = 4 << 20


def factor_for(size_hw: tuple[int, int], tile_hw: tuple[int, int]) -> int:
    """The whole number by which a window's sides can be divided without becoming smaller than a tile's."""
    return max(1, min(side // tile for side, tile in zip(size_hw, tile_hw, strict=True)))


def reduced(pixels: np.ndarray, factor: int, band_pixels: int = BAND_PIXELS) -> np.ndarray:
    """Means of `factor` x `factor` pixels.

    Args:
      pixels: uint8 `[H, W, 3]`.
      factor: 1 gives the pixels themselves.
      band_pixels: so many at a time go through Pillow, which takes 4 bytes for each.

    Returns:
      uint8 `[ceil(H / factor), ceil(W / factor), 3]`; in the last row and column means of those pixels that there are.
    """
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    result = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, band_pixels // (width * factor))  # of the result
    for start in range(0, len(result), rows):
        band = np.ascontiguousarray(pixels[start * factor : (start + rows) * factor])
        result[start : start + rows] = np.asarray(Image.fromarray(band).reduce(factor))
    return result
