"""From an image to the array that an ONNX model takes, and from the model's pixels back to the image."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from .options import OnnxOptions


class Placement(NamedTuple):
    """Where an image lies in the model's input: it begins at (top, left), scaled by (scale_y, scale_x)."""

    scale_y: float
    scale_x: float
    top: int
    left: int

    def to_image(self, boxes_xyxy: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Boxes in pixels of the input, `[N, 4]`, as (ymin, xmin, ymax, xmax) normalised to the image, float32."""
        height, width = size_hw
        x = (boxes_xyxy[:, 0::2] - self.left) / (self.scale_x * width)
        y = (boxes_xyxy[:, 1::2] - self.top) / (self.scale_y * height)
        return np.clip(np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1), 0, 1).astype(np.float32)

    def to_input(self, boxes_yxyx: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """The inverse of `to_image`, but for what it has clipped."""
        height, width = size_hw
        y = boxes_yxyx[:, 0::2] * (self.scale_y * height) + self.top
        x = boxes_yxyx[:, 1::2] * (self.scale_x * width) + self.left
        return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def place(size_hw: tuple[int, int], input_hw: tuple[int, int], resize: Literal["stretch", "letterbox"]) -> Placement:
    """How an image is put into the input: filling it, or centred with its aspect ratio kept."""
    (height, width), (rows, columns) = size_hw, input_hw
    if resize == "stretch":
        return Placement(rows / height, columns / width, 0, 0)
    scale = min(rows / height, columns / width)
    inner_h, inner_w = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement(inner_h / height, inner_w / width, (rows - inner_h) // 2, (columns - inner_w) // 2)


def prepared(
    image: np.ndarray,
    input_hw: tuple[int, int],
    resize: Literal["stretch", "letterbox"],
    options: OnnxOptions,
    *,
    as_bytes: bool = False,
) -> tuple[np.ndarray, Placement]:
    """The model's input of one image.

    Args:
      image: RGB, uint8 `[H, W, 3]`.
      input_hw: (height, width) of the input in pixels.
      resize: how the image is made to fit, bilinearly.
      options: what the model expects.
      as_bytes: pixels stay uint8 from 0 to 255.

    Returns:
      float32 or uint8 `[3, rows, columns]` or `[rows, columns, 3]`, and where the image lies in it.
    """
    placement = place(image.shape[:2], input_hw, resize)
    inner = round(placement.scale_x * image.shape[1]), round(placement.scale_y * image.shape[0])
    small = image if inner == image.shape[1::-1] else np.asarray(Image.fromarray(image).resize(inner, _BILINEAR))
    if inner != input_hw[::-1]:
        canvas = np.full((*input_hw, 3), options.padding, np.uint8)
        canvas[placement.top : placement.top + inner[1], placement.left : placement.left + inner[0]] = small
        small = canvas
    if options.channel_order == "bgr":
        small = small[..., ::-1]
    pixels = small
    if not as_bytes:
        std = np.array(options.std, np.float32)
        pixels = small.astype(np.float32)
        pixels *= np.float32(options.scale) / std
        pixels -= np.array(options.mean, np.float32) / std
    return (np.ascontiguousarray(pixels.transpose(2, 0, 1)) if options.layout == "nchw" else pixels), placement


_BILINEAR = Image.Resampling.BILINEAR
