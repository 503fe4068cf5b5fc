"""JPEGs: decoded by libjpeg-turbo without Pillow's copies, at a part of their size, without their end marker, and
without damaged metadata."""

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ..fetch.options import ModelInput
from .image_area import ImageArea
from .orientation import Turn

try:
    import simplejpeg
except ImportError:  # no wheel for this platform: Pillow decodes JPEGs to the same pixels, in half as much time again
    simplejpeg = None

_REDUCTIONS = (8, 4, 2)  # that libjpeg-turbo has fast code for, and Pillow offers
_END = b"\xff\xd9"
_APP0, _APP1, _APP14, _APP15, _COMMENT, _SCAN = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE, 0xDA
_LEAST_LENGTH = {_APP0: 16, _APP14: 14}  # of JFIF's and Adobe's, which say what the colours are; libjpeg skips shorter


def reduce(image: JpegImageFile, model_input: ModelInput, turn: Turn) -> ImageArea | None:
    """Has a JPEG decoded as small as the detector's input allows.

    Returns:
      Where the image lies in the pixels that Pillow will decode; None if that is its full size.
    """
    width, height = image.size
    most = 1 / model_input.share_needed(turn.size((height, width)))
    factor = next((factor for factor in _REDUCTIONS if factor <= min(most, width, height)), None)
    if factor is None:
        return None
    drafted = image.draft(None, (width // factor, height // factor))
    if drafted is None:
        return None
    _, (_, _, right, bottom) = drafted
    return ImageArea(0.0, 0.0, bottom / image.height, right / image.width)


def decode_in_full(image: JpegImageFile, data: bytes) -> np.ndarray | None:
    """A JPEG's pixels, as they are stored, without the copies that Pillow makes; None for what is left to Pillow.

    Both decode with libjpeg-turbo, in the same way, to the same pixels. Here everything that libjpeg-turbo warns of is
    an error: what is to become of damaged files is Pillow's to say. But for a file that lacks its end marker and
    nothing else, which Pillow would call cut short.
    """
    if simplejpeg is None or image.mode not in ("RGB", "L"):
        return None
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:
        pass
    try:
        return None if _has_end(data) else simplejpeg.decode_jpeg(data + _END, "RGB")
    except ValueError:
        return None


def with_end(image: JpegImageFile, data: bytes) -> bytes | None:
    """A JPEG with its end marker, if that is all it lacks; None if it doesn't, or nobody can tell."""
    if simplejpeg is None or _has_end(data):
        return None
    try:
        simplejpeg.decode_jpeg(data + _END, "CMYK" if image.mode == "CMYK" else "RGB")
    except ValueError:
        return None
    return data + _END


def pixels_only(data: bytes) -> bytes | None:
    """A JPEG without the segments that neither the pixels nor their orientation need; None if it is that already, or
    no JPEG."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    kept, place = [data[:2]], 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == 0xFF:  # a byte that fills
            place += 1
            continue
        if marker == _SCAN:
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        is_beside = _APP0 <= marker <= _APP15 and marker not in (_APP0, _APP1, _APP14)
        if not (is_beside or marker == _COMMENT or length < _LEAST_LENGTH.get(marker, 0)):
            kept.append(data[place : place + 2 + length])
        place += 2 + length
    mended = b"".join([*kept, data[place:]])
    return None if mended == data else mended


def _has_end(data: bytes) -> bool:
    return _END in data[-64:]
