"""Sizes of images whose plugin takes memory for the pixels as soon as it opens the file, from the bytes themselves.

Icons hold images of any size, whatever their directory says, and Pillow decodes an ICO while it opens it. libwebp
takes two canvases. So these are opened only when there is room for them.
"""

import contextlib
import io
import struct
from collections.abc import Iterator

from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from .pillow_errors import DECODER_ERRORS
from .png import SIGNATURE as PNG_SIGNATURE

Size = tuple[int, int]  # (width, height) in pixels

_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a", b"\x0d\x0a\x87\x0a")
_ICO, _ICNS = b"\0\0\1\0", b"icns"


def size_before_opening(data: bytes) -> Size | None:
    """The largest image in an ICO file, or the canvas of a WebP file; None for all others and for malformed ones."""
    if data.startswith(_ICO):
        return max(_icon_sizes(data), key=_area, default=None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def canvas_size(head: bytes) -> Size | None:
    """What a GIF, WebP or PNG file says in its first bytes of its frames' size; None for all others, and if they are
    cut short."""
    if head.startswith(PNG_SIGNATURE) and len(head) >= 24:
        return struct.unpack(">II", head[16:24])
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 13:
        return struct.unpack("<HH", head[6:10])
    return _webp_size(head) if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def size_inside(data: bytes) -> Size | None:
    """The largest PNG or JPEG 2000 file in an ICNS file; None for all others."""
    return max(_icns_sizes(data), key=_area, default=None) if data.startswith(_ICNS) else None


def _area(size: Size) -> int:
    return size[0] * size[1]


def _icon_sizes(data: bytes) -> Iterator[Size]:
    count = int.from_bytes(data[4:6], "little")
    directory = data[6 : 6 + 16 * count]
    for (offset,) in struct.iter_unpack("<12xI", directory[: len(directory) // 16 * 16]):
        head = data[offset : offset + 24]
        if len(head) < 24:
            continue
        if head.startswith(PNG_SIGNATURE):
            yield struct.unpack(">II", head[16:24])
        elif head.startswith(b"\x0c\0\0\0"):  # the header of OS/2's bitmaps
            width, height = struct.unpack("<HH", head[4:8])
            yield width, height // 2  # the image and its mask, one above the other
        else:
            width, height = struct.unpack("<Ii", head[4:12])
            yield width, abs(height) // 2  # negative: stored from top to bottom


def _icns_sizes(data: bytes) -> Iterator[Size]:
    place = 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "big")
        head = data[place + 8 : place + 8 + 24]
        if head.startswith(PNG_SIGNATURE) and len(head) == 24:
            yield struct.unpack(">II", head[16:24])
        elif head.startswith(_JPEG_2000):
            with contextlib.suppress(*DECODER_ERRORS):  # damaged, as decoding will say
                yield Jpeg2KImageFile(io.BytesIO(data[place + 8 : place + length])).size  # reads the header only
        place += max(8, length)


def _webp_size(data: bytes) -> Size | None:
    chunk, head = data[12:16], data[20:30]
    if len(head) < 10:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
