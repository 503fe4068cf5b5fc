"""From a frame of a video or an animation to an image: RGB, turned as the file says that it is to be shown."""

from typing import Any

import numpy as np
from PIL import Image

from ..elements import ImageError, ImageReference
from ..fetch.options import DecodeOptions
from .decoding import DecodedImage, decoded_page


def check_frame_size(reference: ImageReference, options: DecodeOptions) -> int:
    """Bytes that a frame's pixels will take, as the file's header says.

    Raises:
      ImageError: `too_large`.
    """
    assert reference.location is not None  # of a frame
    _check_pixels(reference.location.length // 3, options)
    return reference.location.length


def decoded_frame(frame: Any, options: DecodeOptions) -> DecodedImage:
    """A frame's pixels. What the video says of rotation is its orientation, applied or ignored as that of EXIF data.

    Args:
      frame: an `av.VideoFrame` or, of an animation, a `PIL.Image.Image`.
      options: limits, and what to do about orientation.

    Raises:
      ImageError: `too_large`, `unsupported` for pixels that can't be made RGB.
    """
    _check_pixels(frame.width * frame.height, options)  # a file may change its size
    if isinstance(frame, Image.Image):
        return decoded_page(frame, options)
    try:
        pixels = frame.to_ndarray(format="rgb24")
    except ValueError as error:
        raise ImageError("unsupported", f"a frame of {frame.format.name} can't be made RGB ({error})") from error
    if options.exif_orientation == "apply":
        pixels = np.rot90(pixels, round(frame.rotation / 90))
    pixels = np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    return DecodedImage(pixels, (height, width))


def _check_pixels(pixels: int, options: DecodeOptions) -> None:
    if pixels > options.max_pixels:
        raise ImageError("too_large", f"frames of {pixels:,} pixels: the limit is {options.max_pixels:,} (max_pixels)")
