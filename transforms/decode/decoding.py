"""Decodes an image's file to an RGB array, or says in the project's words why that can't be done.

Whatever Pillow reads is read, under rules that don't depend on the other images of a collection: one file always
gives the same array. The first frame stands for an animation, the first page for a document, the largest image for an
icon. Embedded ICC profiles are not applied, as in published detectors' training; everything becomes 8 bits a channel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..elements import ImageError
from ..fetch.options import DecodeOptions
from . import jpeg, png, sizes, tiff
from .exif import ExifFacts, exif_facts
from .identify import identify, identify_mended, pixels_only
from .image_area import WHOLE, ImageArea
from .orientation import UPRIGHT, turn_of
from .pillow_errors import DECODER_ERRORS, as_image_errors
from .rgb import to_rgb
from .tiff_bands import decode_in_bands

MAX_SIDE = 500_000  # pixels


class DecodedImage(NamedTuple):
    """An image's pixels, and what they show.

    Attributes:
      pixels: uint8 RGB `[height, width, 3]`, C-contiguous, in memory of its own.
      size_hw: (height, width) of the full image, upright: that of `pixels` unless it was reduced.
      area: where the full image lies in `pixels`.
      exif: when, with what and where it was taken, if `options.read_exif`.
    """

    pixels: np.ndarray
    size_hw: tuple[int, int]
    area: ImageArea = WHOLE
    exif: ExifFacts = ExifFacts()


def decode(data: bytes, options: DecodeOptions) -> np.ndarray:
    """Decodes an image's file.

    Args:
      data: the bytes of the file.
      options: limits, and what to do about orientation and transparency.

    Returns:
      uint8 RGB `[height, width, 3]`, C-contiguous, in memory of its own.

    Raises:
      ImageError: `not_an_image`, `unsupported`, `truncated` (cut short or damaged), `too_large` or `out_of_memory`.
      MemoryError: if there is no room for the array.
    """
    return open_image(data, options).decode().pixels


@dataclass(frozen=True)
class OpenedImage:
    """An image whose size is known and found to be within the limits; its pixels have not been decoded.

    Attributes:
      data: the bytes of the file.
      options: see `decode`.
      full_size: (width, height) in the file, in pixels.
      image: as Pillow opened it; None if opening it would take memory for its pixels.
      area: where the full image lies in the pixels that will be decoded, before they are turned; None if it isn't
        reduced.
    """

    data: bytes
    options: DecodeOptions
    full_size: tuple[int, int]
    image: Image.Image | None
    area: ImageArea | None = None

    @property
    def num_bytes_decoded(self) -> int:
        """Size of the array that `decode` will return, in bytes."""
        width, height = self.full_size if self.image is None or self.area is None else self.image.size
        return height * width * 3

    def decode(self) -> DecodedImage:
        """The image; once only.

        Raises:
          ImageError: as `decode`.
          MemoryError: if there is no room for the array.
        """
        image = identify_mended(self.data)[0] if self.image is None else self.image
        stored_orientation = tiff.orientation(image)
        turned_by_pillow, pixels = UPRIGHT, None
        if isinstance(image, JpegImageFile) and self.area is None:
            pixels = jpeg.decode_in_full(image, self.data)
        elif isinstance(image, TiffImageFile):
            pixels = decode_in_bands(image, self.data, self.options.background_rgb)
        if pixels is None:
            image = self._load(image)
            pixels = to_rgb(image, self.options.background_rgb)
            turned_by_pillow = turn_of(stored_orientation)  # of TIFFs
        if self.options.exif_orientation == "apply":
            turn = turn_of(_exif_orientation(image))
        else:
            turn = turned_by_pillow.inverse
        pixels = turn.pixels(pixels)
        exif = exif_facts(image) if self.options.read_exif else ExifFacts()
        if self.area is None:
            height, width, _ = pixels.shape
            return DecodedImage(pixels, (height, width), exif=exif)
        width, height = self.full_size
        return DecodedImage(pixels, turn.size((height, width)), self.area.turned(turn), exif)

    def _load(self, image: Image.Image) -> Image.Image:
        """The image with its pixels; if need be from a copy of the file without what is wrong beside them."""
        what = f"{image.format} file of {_size_text(self.full_size)}"
        if isinstance(image, TiffImageFile):
            tiff.make_room(image)
        try:
            with as_image_errors(what):
                image.load()
        except ImageError as error:
            image = self._load_mended(image, error)
        _check_size(image.format, image.size, self.options)  # icons: that of the image inside
        return image

    def _load_mended(self, image: Image.Image, error: ImageError) -> Image.Image:
        mended = jpeg.with_end(image, self.data) if isinstance(image, JpegImageFile) else None
        mended = mended or pixels_only(self.data)
        if mended is None:
            raise error
        decoded_size = image.size
        try:
            image = identify(mended)
            with as_image_errors(""):
                if isinstance(image, JpegImageFile):
                    image.draft(None, decoded_size)
                elif isinstance(image, TiffImageFile):
                    tiff.make_room(image)
                image.load()
        except ImageError:
            raise error from None
        return image


def decoded_page(image: Image.Image, options: DecodeOptions) -> DecodedImage:
    """A frame of an animation that Pillow has painted, as an image.

    Raises:
      ImageError: `unsupported`.
    """
    pixels = to_rgb(image, options.background_rgb)
    if options.exif_orientation == "apply":
        pixels = turn_of(_exif_orientation(image)).pixels(pixels)
    height, width, _ = pixels.shape
    exif = exif_facts(image) if options.read_exif else ExifFacts()
    return DecodedImage(pixels, (height, width), exif=exif)


def open_image(data: bytes, options: DecodeOptions) -> OpenedImage:
    """Finds out a file's format and reads its header, for callers who need the size before they decode.

    Raises:
      ImageError: `not_an_image`, `unsupported`, `truncated` or `too_large`.
    """
    if not data:
        raise ImageError("not_an_image", "the file is empty")
    if (size := sizes.size_before_opening(data)) is not None:
        _check_size("WEBP" if data.startswith(b"RIFF") else "ICO", size, options)
        return OpenedImage(data, options, size, image=None)
    image, data = identify_mended(data)
    size = sizes.size_inside(data) or image.size
    _check_size(image.format, size, options)
    if isinstance(image, TiffImageFile):
        tiff.check_is_no_thumbnail(image, data)
    if image.format == "PNG":
        png.check_pixels(data)
    area = None
    if options.reduce_for is not None and isinstance(image, JpegImageFile):
        turn = turn_of(_exif_orientation(image)) if options.exif_orientation == "apply" else UPRIGHT
        area = jpeg.reduce(image, options.reduce_for, turn)
    return OpenedImage(data, options, size, image, area)


def _check_size(file_format: str | None, size: tuple[int, int], options: DecodeOptions) -> None:
    width, height = size
    if max(size) > MAX_SIDE:
        raise ImageError(
            "too_large",
            f"{file_format} file of {_size_text(size)}: no side may be longer than {MAX_SIDE:,} pixels, since what is "
            "made of an image grows with its sides, too",
        )
    if width * height > options.max_pixels:
        raise ImageError(
            "too_large",
            f"{file_format} file of {_size_text(size)}, {width * height:,} in all: the limit is "
            f"{options.max_pixels:,} (max_pixels)",
        )


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} pixels"


def _exif_orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:  # damaged metadata say nothing of the pixels
        return 1
