"""Decodes an image's file to an RGB array, or says in the project's words why that can't be done.

Whatever Pillow reads is read, under rules that don't depend on the other images of a collection: one file always
gives the same array. The first frame stands for an animation, the first page for a document, the largest image for an
icon.

Not for colour-managed work (embedded ICC profiles are not applied, as in published detectors' training), nor for
images whose values are measurements: everything becomes 8 bits a channel.
"""

import io
import re
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from ..elements import ImageError
from ..fetch.options import DecodeOptions, ModelInput
from .image_area import WHOLE, ImageArea
from .orientation import UPRIGHT, Turn, turn_of

try:
    import simplejpeg
except ImportError:  # no wheel for this platform: Pillow decodes JPEGs to the same pixels, in half as much time again
    simplejpeg = None

_STRIP_PIXELS = 1 << 20  # converted at once: what a conversion needs on top stays small beside the image itself

_JPEG_REDUCTIONS = (8, 4, 2)  # that libjpeg-turbo has fast code for, and Pillow offers

# What Pillow's plugins and the codecs below them raise for files that they can't make sense of. MemoryError is not
# among them: it says nothing of the file.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SAYS_UNSUPPORTED = re.compile(
    r"unsupported|not (yet )?(supported|implemented|available)|unimplemented|unknown (?!error)|unrecognized (?!data)"
    r"|bad configuration|cannot (find loader|load this|handle)",
    re.IGNORECASE,
)

# Images that people have and Pillow (without a plugin of theirs) doesn't read: "not an image" would be wrong.
_FORMATS_NOT_READ = (
    ("HEIC", re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("OpenEXR", re.compile(rb"\x76\x2f\x31\x01")),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg[\s>]", re.DOTALL)),
)

_plugins_lock = threading.Lock()


class DecodedImage(NamedTuple):
    """An image's pixels, and what they show.

    Attributes:
      pixels: uint8 RGB `[height, width, 3]`, C-contiguous, in memory of its own.
      size_hw: (height, width) of the full image, upright: that of `pixels` unless it was reduced.
      area: where the full image lies in `pixels`.
    """

    pixels: np.ndarray
    size_hw: tuple[int, int]
    area: ImageArea = WHOLE


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
    """An image whose header has been read and found to be within the limits; its pixels have not been decoded.

    Attributes:
      image: as Pillow opened it.
      data: the bytes of the file.
      options: see `decode`.
      full_size: (width, height) in the file, in pixels.
      area: where the full image lies in the pixels that will be decoded, before they are turned; None if it's not reduced.
    """

    image: Image.Image
    data: bytes
    options: DecodeOptions
    full_size: tuple[int, int]
    area: ImageArea | None = None

    @property
    def num_bytes_decoded(self) -> int:
        """Size of the array that `decode` will return, in bytes."""
        width, height = self.image.size
        return height * width * 3

    def decode(self) -> DecodedImage:
        """The image; once only.

        Raises:
          ImageError: as `decode`.
          MemoryError: if there is no room for the array.
        """
        image, options = self.image, self.options
        try:
            stored_orientation = _tiff_orientation(image)
            pixels = _jpeg_pixels(self) if self.area is None else None
            if pixels is None:
                image.load()
                pixels = _to_rgb(image, options.background_rgb)
            if options.exif_orientation == "apply":
                turn = turn_of(_exif_orientation(image))
            else:  # Pillow turns TIFFs by itself: turn them back
                turn = turn_of(stored_orientation).inverse
            pixels = turn.pixels(pixels)
        except _BOMB_ERRORS as error:
            raise ImageError("too_large", f"{image.format} file: {error}") from error
        except _DECODER_ERRORS as error:
            raise _image_error(error, f"{image.format} file of {_size_text(self.full_size)}") from error
        if self.area is None:
            return DecodedImage(pixels, pixels.shape[:2])
        return DecodedImage(pixels, turn.size(self.full_size[::-1]), self.area.turned(turn))


def open_image(data: bytes, options: DecodeOptions) -> OpenedImage:
    """Finds out a file's format and reads its header, for callers who need the size before they decode.

    Raises:
      ImageError: `not_an_image`, `unsupported`, `truncated` or `too_large`.
    """
    if not data:
        raise ImageError("not_an_image", "the file is empty")
    try:
        image = _identify(data)
    except _BOMB_ERRORS as error:
        raise ImageError("too_large", str(error)) from error
    _check_size(image, options)
    full_size, area = image.size, None
    if options.reduce_for is not None and isinstance(image, JpegImageFile):
        turn = turn_of(_exif_orientation(image)) if options.exif_orientation == "apply" else UPRIGHT
        area = _reduce(image, options.reduce_for, turn)
    return OpenedImage(image, data, options, full_size, area)


def _reduce(image: JpegImageFile, model_input: ModelInput, turn: Turn) -> ImageArea | None:
    """Has a JPEG decoded as small as the detector's input allows; None if that is its full size."""
    width, height = image.size
    most = 1 / model_input.share_needed(turn.size((height, width)))
    factor = next((factor for factor in _JPEG_REDUCTIONS if factor <= min(most, width, height)), None)
    if factor is None:
        return None
    _, (_, _, right, bottom) = image.draft(None, (width // factor, height // factor))
    return ImageArea(0.0, 0.0, bottom / image.height, right / image.width)


def _jpeg_pixels(opened: OpenedImage) -> np.ndarray | None:
    """A JPEG's pixels, as they are stored, without the copies that Pillow makes; None for what is left to Pillow.

    Both decode with libjpeg-turbo, in the same way, to the same pixels. Here everything that libjpeg-turbo warns of is an error:
    what is to become of damaged files is Pillow's to say.
    """
    if simplejpeg is None or not isinstance(opened.image, JpegImageFile) or opened.image.mode not in ("RGB", "L"):
        return None
    try:
        return simplejpeg.decode_jpeg(opened.data, "RGB")
    except ValueError:
        return None


def _identify(data: bytes) -> Image.Image:
    """`Image.open`, but for its guard and its silence.

    `Image.open` compares each image with `Image.MAX_IMAGE_PIXELS`, a setting of the whole process, and warns or
    raises; here the limit is the caller's. And it drops what the plugins say: a JPEG that ends in its header, or an
    AVIF on a Pillow without AVIF, would be "cannot identify image file". Plugins are tried in Pillow's own order.
    """
    with _plugins_lock:  # importing the plugins fills the registries: not from two threads at once
        Image.init()
    prefix = data[:16].ljust(16, b"\0")  # some plugins unpack numbers from it without looking at its length
    failure = None
    for name in tuple(Image.ID):
        factory, accept = Image.OPEN[name]
        accepted = accept(prefix) if accept else None
        if isinstance(accepted, str):  # Pillow's words for "right format, but this build can't"
            failure = failure or ImageError("unsupported", f"{name} file: {accepted}")
        elif accepted or accept is None:
            file = _NotesEnd(data)
            try:
                image = factory(file, "")
            except _DECODER_ERRORS as error:
                if accepted and not failure:  # plugins without `accept` try anything: what they say means nothing
                    failure = _image_error(error, f"{name} file", cut_short=file.ended)
            else:
                return _supported(image)
    for name, signature in _FORMATS_NOT_READ:
        if signature.match(data[:1024]):
            raise ImageError(
                "unsupported",
                f"{name} file: Pillow does not read {name}; convert it, or register a plugin for it in the workers",
            )
    raise failure or ImageError("not_an_image", f"no image format known to Pillow: it {_opening(data)}")


class _NotesEnd(io.BytesIO):
    """Bytes as a file that remembers whether a reader ran into its end. Headers are read in exact pieces."""

    ended = False

    def read(self, size=-1, /):
        data = super().read(size)
        self.ended = self.ended or (size is not None and len(data) < size)
        return data


def _supported(image: Image.Image) -> Image.Image:
    if image.format == "EPS":
        raise ImageError(
            "unsupported",
            "EPS file: it is a program for a PostScript interpreter, and programs found in "
            "collections of images are not run; convert it first",
        )
    return image


def _check_size(image: Image.Image, options: DecodeOptions) -> None:
    width, height = image.size
    if width * height > options.max_pixels:
        raise ImageError(
            "too_large",
            f"{image.format} file of {_size_text(image.size)}, {width * height:,} in all: the "
            f"limit is {options.max_pixels:,} (max_pixels)",
        )


def _image_error(error: Exception, what: str, cut_short: bool = False) -> ImageError:
    """The `ImageError` for an error of Pillow's, whose message alone says what is wrong: damage, if it says no more."""
    text = _one_line(error)
    if isinstance(error, UnidentifiedImageError):  # from an image inside the file
        return ImageError("truncated", f"{what}: the image inside can't be identified")
    if isinstance(error, OSError) and "out of memory" in text:
        return ImageError("out_of_memory", f"{what}: {text}")
    if "not identified by this driver" in text:  # Pillow's words for a header with neither size nor pixel format
        return ImageError("not_an_image", f"{what}: its header gives a width, height or pixel format of nothing")
    unknown = isinstance(error.__cause__ or error, (KeyError, NotImplementedError))  # a mode or compression, to Pillow
    if (unknown or _SAYS_UNSUPPORTED.search(text)) and not cut_short:
        return ImageError("unsupported", f"{what}, of a kind that Pillow can't decode: {text}")
    return ImageError("truncated", f"{what}, cut short or damaged: {text}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, (OSError, SyntaxError, NotImplementedError)) else f"{type(error).__name__}: {text}"


def _opening(data: bytes) -> str:
    head = data[:40]
    text = head.decode("ascii", "replace")
    if all(character.isprintable() or character.isspace() for character in text) and "\ufffd" not in text:
        return f"starts with {text!r}"
    return f"starts with the bytes {head[:12].hex(' ')}"


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} pixels"


def _tiff_orientation(image: Image.Image) -> int:
    """The orientation that Pillow is going to apply by itself when it loads the image: TIFF's own tag."""
    return image.tag_v2.get(ExifTags.Base.Orientation, 1) if image.format in ("TIFF", "MIC") else 1


def _exif_orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:  # damaged metadata say nothing of the pixels
        return 1


def _to_rgb(image: Image.Image, background_rgb: tuple[int, int, int]) -> np.ndarray:
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    wide = image.mode in ("I", "F") or image.mode.startswith("I;16")
    # In strips, since Pillow hands out pixels by way of two more copies of what is asked for.
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if wide:
            rgb[top : top + rows] = _grey_levels(strip, image)[..., np.newaxis]
        elif strip.has_transparency_data:
            rgb[top : top + rows] = _laid_on(strip, background_rgb)
        else:
            rgb[top : top + rows] = strip if strip.mode == "RGB" else strip.convert("RGB")
    return rgb


def _laid_on(strip: Image.Image, background_rgb: tuple[int, int, int]) -> Image.Image:
    strip = strip.convert("RGBA")
    ground = Image.new("RGB", strip.size, background_rgb)
    ground.paste(strip, mask=strip.getchannel("A"))
    return ground


def _grey_levels(strip: Image.Image, image: Image.Image) -> np.ndarray:
    """uint8 `[height, width]` of a strip with wide samples: 0 is black, the greatest value of their type is white.

    Pillow's own conversion clips everything above 255. The scale is the format's, never that of the image's content,
    so that equal values are equally bright in all images of a collection; negative values are black. These are the
    conventions of scikit-image's `img_as_ubyte`; like there, floating-point samples must lie in [0, 1].
    """
    samples = np.asarray(strip)
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
