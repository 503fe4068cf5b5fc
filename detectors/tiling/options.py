"""How large images are cut into tiles."""

from dataclasses import dataclass
from typing import Literal

from ...storage.errors import UsageError

MIN_TILE = 64  # pixels: below, edges are most of a tile
MAX_OVERLAP = 0.8


@dataclass(frozen=True)
class TileOptions:
    """How large images are cut into tiles.

    Attributes:
      size_hw: (height, width) of a tile in pixels.
      overlap: share of a tile's side that it has in common with the next, at least.
      larger_tiles: whether the image is also looked at in tiles of 2, 4, … times the side, up to the whole image, so
        that what is larger than a tile is found.

    Raises:
      UsageError: if a tile is smaller than 64 pixels, or the overlap isn't from 0 to 0.8.
    """

    size_hw: tuple[int, int]
    overlap: float = 0.2
    larger_tiles: bool = True

    def __post_init__(self):
        if min(self.size_hw) < MIN_TILE:
            raise UsageError(f"--tiles {min(self.size_hw)}: expected {MIN_TILE} pixels or more, or auto")
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise UsageError(
                f"--tile-overlap {self.overlap}: expected a share of the tile's side from 0 to {MAX_OVERLAP}"
            )


def tile_options(
    size: int | Literal["auto"], overlap: float, tiles_only: bool, input_size_hw: tuple[int, int] | None
) -> TileOptions:
    """The tiles that a user asks for.

    Args:
      size: side of a tile in pixels; `auto` for the size to which the detector itself resizes images.
      overlap, tiles_only: see `TileOptions`.
      input_size_hw: the detector's own input size; None if that isn't known.

    Raises:
      UsageError: as `TileOptions`; or if `auto` can't be told.
    """
    if size != "auto":
        return TileOptions((size, size), overlap, not tiles_only)
    if input_size_hw is None:
        raise UsageError(
            "--tiles auto: the detector's configuration doesn't say to which size it resizes images; add "
            "input_size_hw and resize to its YAML file, or give the side of a tile in pixels"
        )
    return TileOptions(input_size_hw, overlap, not tiles_only)
