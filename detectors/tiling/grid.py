"""Where the tiles of an image lie."""

import math
from typing import NamedTuple

import numpy as np

from .options import TileOptions


class Window(NamedTuple):
    """A part of an image: rows `ymin` to `ymax` and columns `xmin` to `xmax`, in pixels, the ends left out."""

    ymin: int
    xmin: int
    ymax: int
    xmax: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The window's pixels; a view of the image's."""
        return image[self.ymin : self.ymax, self.xmin : self.xmax]


def tile_windows(size_hw: tuple[int, int], options: TileOptions) -> list[Window]:
    """The windows of an image's tiles, row by row.

    All have the tile's size, or the image's where that is smaller, and are spread evenly: neighbours overlap by the
    share asked for or a little more. An image no larger than a tile has one.

    Args:
      size_hw: (height, width) of the image in pixels.
      options: size and overlap of the tiles.
    """
    rows, columns = (_starts(side, tile, options.overlap) for side, tile in zip(size_hw, options.size_hw, strict=True))
    height, width = (min(side, tile) for side, tile in zip(size_hw, options.size_hw, strict=True))
    return [Window(y, x, y + height, x + width) for y in rows for x in columns]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    if side <= tile:
        return [0]
    step = max(1, math.floor(tile * (1 - overlap)))
    count = math.ceil((side - tile) / step) + 1
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]
