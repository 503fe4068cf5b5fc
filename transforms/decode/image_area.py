"""Where an image lies in the pixels that a detector is given, and how boxes get from the one to the other.

A JPEG that is decoded at an eighth of its size comes in whole pixels: 4,001 columns become 501, whose last one is
mostly padding. So what is 1 to the detector lies a little beyond the image's edge (on the left, if it is mirrored).
For images decoded in full both are the same.
"""

from typing import NamedTuple

import numpy as np

from .orientation import Turn


class ImageArea(NamedTuple):
    """The image's edges in the decoded pixels, normalised to these."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float

    def turned(self, turn: Turn) -> "ImageArea":
        """The area in the pixels that `Turn.pixels` makes."""
        (top, bottom), (left, right) = (self[0::2], self[1::2]) if not turn.transposed else (self[1::2], self[0::2])
        if turn.mirrored_y:
            top, bottom = 1 - bottom, 1 - top
        if turn.mirrored_x:
            left, right = 1 - right, 1 - left
        return ImageArea(top, left, bottom, right)

    def from_image(self, boxes_yxyx: np.ndarray) -> np.ndarray:
        """Boxes, float32 `[N, 4]` normalised to the image, normalised to the pixels."""
        if self == WHOLE:
            return boxes_yxyx
        return (boxes_yxyx * self._extents + self._starts).astype(np.float32)

    def to_image(self, boxes_yxyx: np.ndarray) -> np.ndarray:
        """Boxes, float32 `[N, 4]` normalised to the pixels, normalised to the image and clipped to it."""
        if self == WHOLE:
            return boxes_yxyx
        return np.clip((boxes_yxyx - self._starts) / self._extents, 0, 1).astype(np.float32)

    @property
    def _starts(self) -> np.ndarray:
        return np.array([self.ymin, self.xmin] * 2)

    @property
    def _extents(self) -> np.ndarray:
        return np.array([self.ymax - self.ymin, self.xmax - self.xmin] * 2)


WHOLE = ImageArea(0.0, 0.0, 1.0, 1.0)
