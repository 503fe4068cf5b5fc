"""PNG's chunks: those of the pixels must be whole; damage to metadata beside them says nothing of the pixels."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..elements import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_ORIENTATION = b"eXIf"
_END = b"\0\0\0\0IEND\xaeB`\x82"  # says nothing of the pixels


class _Chunk(NamedTuple):
    name: bytes
    whole: memoryview  # length, name, data and CRC

    @property
    def has_right_crc(self) -> bool:
        return zlib.crc32(self.whole[4:-4]) == int.from_bytes(self.whole[-4:], "big")


def check_pixels(data: bytes) -> None:
    """Makes sure that no chunk of the pixels is damaged: Pillow looks at the CRC of all chunks but theirs.

    Raises:
      ImageError: `truncated`, naming the chunk.
    """
    for chunk in _chunks(data):
        if chunk.name in _OF_PIXELS and not chunk.has_right_crc:
            name = chunk.name.decode("ascii")
            raise ImageError("truncated", f"PNG file, damaged: the checksum of a chunk {name} is wrong")


def pixels_only(data: bytes) -> bytes | None:
    """A PNG file of the chunks that are there whole and that the pixels or their orientation need; None if it is that
    already, or no PNG file."""
    if not data.startswith(_SIGNATURE):
        return None
    kept = [
        chunk.whole
        for chunk in _chunks(data)
        if chunk.name in _OF_PIXELS or (chunk.name == _ORIENTATION and chunk.has_right_crc)
    ]
    mended = b"".join([_SIGNATURE, *kept, _END])
    return None if mended == data else mended


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks that are there whole; a file that is cut short is Pillow's to judge."""
    view, place = memoryview(data), len(_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(view[place : place + 4], "big")
        if end > len(data):
            return
        chunk = _Chunk(bytes(view[place + 4 : place + 8]), view[place:end])
        yield chunk
        if chunk.name == b"IEND":
            return
        place = end
