"""WebP's chunks: those of the pixels must be whole; damage to metadata beside them says nothing of the pixels."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"EXIF"})  # the last says how it is turned


_ANIMATED = 2  # flag of VP8X


class _Chunk(NamedTuple):
    name: bytes
    whole: bytes  # with name, length, and the byte that makes it even


def pixels_only(data: bytes) -> bytes | None:
    """A WebP file of the chunks that are there whole and that the pixels or their orientation need; None if it is that
    already, or no WebP file.

    libwebp reads none of a file that ends before its header says, though what is missing may be metadata.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    body = b"".join([b"WEBP", *(chunk.whole for chunk in chunks(data) if chunk.name in _KEPT)])
    mended = b"RIFF" + struct.pack("<I", len(body)) + body
    return None if mended == data else mended


def is_still(head: bytes) -> bool:
    """Whether the beginning of a WebP file says that it has no animation."""
    return head[12:16] != b"VP8X" or not head[20] & _ANIMATED


def declared_bytes(data: bytes) -> int:
    """How long a WebP file says that it is."""
    return 8 + int.from_bytes(data[4:8], "little")


def chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks that are there whole."""
    place = 12
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + length
        if end > len(data):
            return
        yield _Chunk(data[place : place + 4], data[place:end] + bytes(length % 2))
        place = end + length % 2
