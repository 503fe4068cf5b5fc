"""Large TIFFs, decoded a band of rows at a time: Pillow takes up to 4 bytes a pixel beside the array that is wanted.

Each band is made a TIFF file of its own: the tags of the pixels, and those tiles or strips as they are. Pillow decodes
it as it does the whole, to the same pixels.
"""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from ..elements import ImageError
from .pillow_errors import DECODER_ERRORS
from .rgb import write_rgb
from .tiff import OF_PIXELS, ORIENTATION

BAND_PIXELS = 8 << 20
_WIDTH, _LENGTH, _COMPRESSION, _ROWS_PER_STRIP, _PLANES = 256, 257, 259, 278, 284
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)  # where they lie, how long they are
_INTERLEAVED = 1
_OLD_JPEG = 6  # has its tables at places of its own in the file


def decode_in_bands(image: TiffImageFile, data: bytes, background_rgb: tuple[int, int, int]) -> np.ndarray | None:
    """A large TIFF's pixels, as they are stored: not turned.

    Args:
      image: as Pillow opened it.
      data: the bytes of the file.
      background_rgb: see `to_rgb`.

    Returns:
      uint8 RGB `[height, width, 3]`; None for what is left to Pillow in one: small images, those of one strip, planes
      apart, and whatever is damaged, of which Pillow has more to say.
    """
    tags: Any = image.tag_v2
    try:
        if tags[_WIDTH] * tags[_LENGTH] <= 2 * BAND_PIXELS or tags.get(_COMPRESSION) == _OLD_JPEG:
            return None
        if tags.get(_PLANES, _INTERLEAVED) != _INTERLEAVED:
            return None
        rgb = np.empty((tags[_LENGTH], tags[_WIDTH], 3), np.uint8)
        for top, band in _bands(tags, data):
            with Image.open(io.BytesIO(band), formats=["TIFF"]) as part:
                part.load()
                write_rgb(part, background_rgb, rgb[top : top + part.height])
    except (ImageError, *DECODER_ERRORS):
        return None
    return rgb


def _bands(tags: Any, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The first row of each band, and the band as a TIFF file.

    Raises:
      ValueError: if there would be one only, or the file has more or fewer tiles than it needs.
    """
    width, length = tags[_WIDTH], tags[_LENGTH]
    tiled = _TILES[0] in tags
    rows = tags[_TILE_LENGTH] if tiled else tags.get(_ROWS_PER_STRIP, length)
    across = math.ceil(width / tags[_TILE_WIDTH]) if tiled else 1
    at, lengths = (np.atleast_1d(tags[tag]).tolist() for tag in (_TILES if tiled else _STRIPS))
    if rows >= length or not len(at) == len(lengths) == across * math.ceil(length / rows):
        raise ValueError("no bands")
    step = max(1, BAND_PIXELS // (width * rows))
    for first in range(0, math.ceil(length / rows), step):
        pieces = slice(first * across, (first + step) * across)
        top = first * rows
        yield top, _file(tags, data, min(step * rows, length - top), at[pieces], lengths[pieces], tiled)


def _file(tags: Any, data: bytes, length: int, at: list[int], lengths: list[int], tiled: bool) -> bytes:
    header = b"II*\0\x08\0\0\0" if data[:2] == b"II" else b"MM\0*\0\0\0\x08"
    directory = ImageFileDirectory_v2(header)
    for tag in OF_PIXELS & set(tags) - {ORIENTATION}:
        directory.tagtype[tag] = tags.tagtype[tag]
        directory[tag] = tags[tag]
    places = np.cumsum([0, *lengths[:-1]])  # behind the directory, which Pillow takes into account for strips only
    _set(directory, _LENGTH, length)
    for tag, values in zip(_TILES if tiled else _STRIPS, (places.tolist(), lengths), strict=True):
        _set(directory, tag, *values)
    if tiled:
        behind = len(header) + len(directory.tobytes(len(header)))
        _set(directory, _TILES[0], *(places + behind).tolist())
    pieces = (data[start : start + count] for start, count in zip(at, lengths, strict=True))
    return b"".join([header, directory.tobytes(len(header)), *pieces])


def _set(directory: ImageFileDirectory_v2, tag: int, *values: int) -> None:
    directory.tagtype[tag] = TiffTags.LONG
    directory[tag] = values
