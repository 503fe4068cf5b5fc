"""Where a picture lies in the pixels that a detector is given, and how boxes get from the one to the other.

A JPEG that is decoded at an eighth of its size comes in whole pixels: 4,001 columns become 501, whose last one is mostly
padding. So what is 1 to the detector lies a little beyond the picture's edge (on the left, if the picture is mirrored).
For pictures decoded in full both are the same.
"""
from typing import NamedTuple

import numpy as np

from .orientation import Turn


class PictureArea(NamedTuple):
    """The picture's edges in the decoded pixels, normalised to these."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float

    def turned(self, turn: Turn) -> "PictureArea":
        """The area in the pixels that `Turn.pixels` makes."""
        (top, bottom), (left, right) = (self[0::2], self[1::2]) if not turn.transposed else (self[1::2], self[0::2])
        if turn.mirrored_y:
            top, bottom = 1 - bottom, 1 - top
        if turn.mirrored_x:
            left, right = 1 - right, 1 - left
        return PictureArea(top, left, bottom, right)

    def from_picture(self, boxes_yxyx: np.ndarray) -> np.ndarray:
        """Boxes, float32 `[N, 4]` normalised to the picture, normalised to the pixels."""
        if self == WHOLE:
            return boxes_yxyx
        return (boxes_yxyx * self._extents + self._starts).astype(np.float32)

    def to_picture(self, boxes_yxyx: np.ndarray) -> np.ndarray:
        """Boxes, float32 `[N, 4]` normalised to the pixels, normalised to the picture and clipped to it."""
        if self == WHOLE:
            return boxes_yxyx
        return np.clip((boxes_yxyx - self._starts) / self._extents, 0, 1).astype(np.float32)

    @property
    def _starts(self) -> np.ndarray:
        return np.float64(self[:2] * 2)

    @property
    def _extents(self) -> np.ndarray:
        return np.float64([self.ymax - self.ymin, self.xmax - self.xmin] * 2)


WHOLE = PictureArea(0.0, 0.0, 1.0, 1.0)
