"""Where the tiles of an image lie."""

import math
from typing import NamedTuple

import numpy as np

from .options import TileOptions

NEARLY_WHOLE = 1.5  # an image less than so many tiles long is seen whole instead


class Window(NamedTuple):
    """A part of an image: rows `ymin` to `ymax` and columns `xmin` to `xmax`, in pixels, the ends left out."""

    ymin: int
    xmin: int
    ymax: int
    xmax: int

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.ymax - self.ymin, self.xmax - self.xmin

    def of(self, image: np.ndarray) -> np.ndarray:
        """The window's pixels; a view of the image's."""
        return image[self.ymin : self.ymax, self.xmin : self.xmax]


def windows(size_hw: tuple[int, int], options: TileOptions) -> list[Window]:
    """All that is looked at of an image: its tiles row by row, then larger ones, and the whole image last.

    Larger tiles have 2, 4, … times the side, until one (nearly) holds the image: what all tiles of one size cut lies
    whole in one of the next. An image no larger than a tile has one window.

    Args:
      size_hw: (height, width) of the image in pixels.
      options: size and overlap of the tiles.
    """
    found, tile_hw = _tiles(size_hw, options.size_hw, options.overlap), options.size_hw
    while options.larger_tiles and (tile_hw[0] < size_hw[0] or tile_hw[1] < size_hw[1]):
        tile_hw = (2 * tile_hw[0], 2 * tile_hw[1])
        if max(side / tile for side, tile in zip(size_hw, tile_hw, strict=True)) < NEARLY_WHOLE:
            tile_hw = size_hw
        found += _tiles(size_hw, tile_hw, options.overlap)
    return found


def _tiles(size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float) -> list[Window]:
    """Windows of the tile's size, or the image's where that is smaller, spread evenly over the image."""
    rows, columns = (_starts(side, tile, overlap) for side, tile in zip(size_hw, tile_hw, strict=True))
    height, width = (min(side, tile) for side, tile in zip(size_hw, tile_hw, strict=True))
    return [Window(y, x, y + height, x + width) for y in rows for x in columns]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    if side <= tile:
        return [0]
    step = max(1, math.floor(tile * (1 - overlap)))
    count = math.ceil((side - tile) / step) + 1
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]
