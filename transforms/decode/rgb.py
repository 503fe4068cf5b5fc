"""From what Pillow has loaded to uint8 RGB, whatever its mode: transparency laid on a colour, wide samples scaled."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..elements import ImageError

_BLOCK_PIXELS = 1 << 20  # converted at once: what a conversion needs on top stays small beside the image itself


def to_rgb(image: Image.Image, background_rgb: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a loaded image: uint8 RGB `[height, width, 3]`.

    Args:
      image: of any mode, loaded.
      background_rgb: what transparent images are laid on, 0 to 255 each.

    Raises:
      ImageError: `unsupported` for samples without a defined brightness, or a mode that Pillow can't convert.
    """
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    write_rgb(image, background_rgb, rgb)
    return rgb


def write_rgb(image: Image.Image, background_rgb: tuple[int, int, int], rgb: np.ndarray) -> None:
    """As `to_rgb`, into an array that is there: `rgb`, uint8 `[height, width, 3]`."""
    width, height = image.size
    wide = image.mode in ("I", "F") or image.mode.startswith("I;16")
    # In blocks, since Pillow hands out pixels by way of two more copies of what is asked for.
    for top, bottom in _steps(height, max(1, _BLOCK_PIXELS // width)):
        for left, right in _steps(width, _BLOCK_PIXELS):
            block, target = image.crop((left, top, right, bottom)), rgb[top:bottom, left:right]
            if wide:
                target[:] = _grey_levels(block, image)[..., np.newaxis]
            elif block.has_transparency_data:
                target[:] = np.asarray(_laid_on(block, background_rgb, image))
            else:
                target[:] = np.asarray(block if block.mode == "RGB" else _converted(block, "RGB", image))


def _steps(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, length)) for start in range(0, length, step))


def _converted(block: Image.Image, mode: str, image: Image.Image) -> Image.Image:
    try:
        return block.convert(mode)
    except ValueError as error:
        raise ImageError("unsupported", f"{image.format} file of mode {image.mode}: {error}") from error


def _laid_on(block: Image.Image, background_rgb: tuple[int, int, int], image: Image.Image) -> Image.Image:
    block = _converted(block, "RGBA", image)
    ground = Image.new("RGB", block.size, background_rgb)
    ground.paste(block, mask=block.getchannel("A"))
    return ground


def _grey_levels(block: Image.Image, image: Image.Image) -> np.ndarray:
    """uint8 `[height, width]` of a block with wide samples: 0 is black, the greatest value of their type is white.

    Pillow's own conversion clips everything above 255. The scale is the format's, never that of the image's content,
    so that equal values are equally bright in all images of a collection; negative values are black. These are the
    conventions of scikit-image's `img_as_ubyte`; like there, floating-point samples must lie in [0, 1].
    """
    samples = np.asarray(block)
    tags = getattr(image, "tag_v2", {})  # TIFF's
    white = 1.0
    if image.mode == "F":
        if not (samples.min() >= 0 and samples.max() <= 1):
            raise ImageError(
                "unsupported",
                f"{image.format} file with floating-point samples from {samples.min():g} "
                f"to {samples.max():g}: only [0, 1] has a defined brightness; rescale it",
            )
    elif image.mode == "I":
        white, samples = _white_of_32_bit_mode(image, tags, samples)
    else:
        white = _max_of_bits(tags.get(_BITS_PER_SAMPLE, (16,))[0])  # 12-bit TIFFs come as 16-bit samples, unscaled
    levels = np.clip(samples.astype(np.float32) / np.float32(white), 0, 1)
    if tags.get(_PHOTOMETRIC) == 0:  # "white is zero"; Pillow inverts up to 8 bits
        levels = 1 - levels
    return (levels * 255 + 0.5).astype(np.uint8)


_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_SIGNED = 2


def _white_of_32_bit_mode(image: Image.Image, tags, samples: np.ndarray) -> tuple[int, np.ndarray]:
    """The greatest value that samples of mode I can have in the file, and the samples as what they are in the file."""
    if image.format == "PPM":
        return _max_of_bits(16), samples  # Pillow scales its `maxval` to this
    bits = tags.get(_BITS_PER_SAMPLE, (32,))[0]
    if tags and tags.get(_SAMPLE_FORMAT, (1,))[0] != _SIGNED:
        return _max_of_bits(bits), samples.view(np.uint32)
    return _max_of_bits(bits - 1), samples


def _max_of_bits(bits: int) -> int:
    return (1 << bits) - 1
