"""How images are read and decoded: the settings of `read_bytes` and `decode`.

Plain frozen dataclasses without imports, so that they can be made and checked before anything heavy is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from ...storage.read_options import ReadOptions
from ...storage.retry import check_positive

__all__ = ["DecodeOptions", "ModelInput", "ReadOptions"]


@dataclass(frozen=True)
class ModelInput:
    """The size to which a detector itself resizes every image.

    Attributes:
      size_hw: (height, width) in pixels.
      resize: `stretch` (to both sides) or `letterbox` (into them, the aspect ratio kept).
    """

    size_hw: tuple[int, int]
    resize: Literal["stretch", "letterbox"]

    def share_needed(self, size_hw: tuple[int, int]) -> float:
        """What the detector makes of the sides of an image of this size, as a share of them: more is lost on it."""
        shares = [wanted / side for wanted, side in zip(self.size_hw, size_hw)]
        return max(shares) if self.resize == "stretch" else min(shares)


@dataclass(frozen=True)
class DecodeOptions:
    """How `decode` makes an RGB array of a file.

    Attributes:
      max_pixels: an image with more is `too_large`, decided from its header. The default holds the largest images
        that phones make (200 megapixels: 600 MB as an array, and 800 MB more inside Pillow while it is decoded).
      exif_orientation: `apply` turns the image the way a viewer shows it; `ignore` leaves the rows as they are stored
        (for labels that are to be matched with boxes drawn on unturned images).
      background_rgb: what transparent images are laid on.
      reduce_for: decode JPEGs at a half, a quarter or an eighth of their sides, never below what this detector needs.
        None:
        all in full. Limits are those of the full images either way.
      read_exif: whether to read when, with what and where an image was taken.
    """

    max_pixels: int = 200_000_000
    exif_orientation: Literal["apply", "ignore"] = "apply"
    background_rgb: tuple[int, int, int] = (255, 255, 255)
    reduce_for: ModelInput | None = None
    read_exif: bool = False

    def __post_init__(self):
        check_positive(self, "max_pixels")
        if self.exif_orientation not in ("apply", "ignore"):
            raise ValueError(f"exif_orientation: expected 'apply' or 'ignore', got {self.exif_orientation!r}")
        colour = self.background_rgb
        if len(colour) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in colour):
            raise ValueError(f"background_rgb: expected three whole numbers from 0 to 255, got {colour!r}")
