"""The ways in which models write bounding boxes, and the one of the tables."""

from typing import Literal

import numpy as np

# Order of the corners' coordinates; in pixels, or from 0 to 1.
BoxFormat = Literal["xyxy", "yxyx", "xyxy_normalised", "yxyx_normalised"]


def normalised_yxyx(boxes: np.ndarray, box_format: BoxFormat, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes `[N, 4]` of a format as (ymin, xmin, ymax, xmax), 0 to 1.

    Args:
      boxes: float32 `[N, 4]`.
      size_hw: of what they lie in, in pixels.
    """
    yxyx = boxes[:, [1, 0, 3, 2]] if box_format.startswith("xyxy") else boxes
    return yxyx if box_format.endswith("_normalised") else yxyx / np.array([*size_hw, *size_hw], np.float32)
