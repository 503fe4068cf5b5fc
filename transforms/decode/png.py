"""PNG's chunks: those of the pixels must be whole; damage to metadata beside them says nothing of the pixels."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..elements import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_ORIENTATION = b"eXIf"
_OF_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
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
    for chunk in chunks(data):
        if chunk.name in _OF_PIXELS and not chunk.has_right_crc:
            name = chunk.name.decode("ascii")
            raise ImageError("truncated", f"PNG file, damaged: the checksum of a chunk {name} is wrong")


def pixels_only(data: bytes) -> bytes | None:
    """A PNG file of the chunks that are there whole and that the pixels, of further frames as well, or their
    orientation need; None if it is that already, or no PNG file."""
    if not data.startswith(SIGNATURE):
        return None
    kept = [
        chunk.whole
        for chunk in chunks(data)
        if chunk.name in _OF_PIXELS or (chunk.name in _OF_ANIMATION | {_ORIENTATION} and chunk.has_right_crc)
    ]
    mended = b"".join([SIGNATURE, *kept, _END])
    return None if mended == data else mended


def is_still(head: bytes) -> bool:
    """Whether the beginning of a PNG file says that it has no animation."""
    for chunk in chunks(head):
        if chunk.name == b"acTL":
            return False
    return b"IDAT" in head


def count_frames(data: bytes) -> tuple[int, str]:
    """How many frames a PNG file has, as Pillow counts them, 1 without an animation; and why there may be more, empty
    if there aren't. An image that isn't part of the animation is the first."""
    declared = found = num_apart = 0
    for chunk in chunks(data):
        if chunk.name == b"acTL":
            declared = int.from_bytes(chunk.whole[8:12], "big")
        elif chunk.name == b"IDAT" and not declared:
            return 1, ""
        elif chunk.name == b"fcTL":
            found += 1
        elif chunk.name == b"IDAT" and not found:
            num_apart = 1
    problem = f"cut off: it says that it has {declared:,} frames, and has {found:,}" if found < declared else ""
    return max(1, min(declared, found) + num_apart), problem


def chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks that are there whole; a file that is cut short is Pillow's to judge."""
    view, place = memoryview(data), len(SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(view[place : place + 4], "big")
        if end > len(data):
            return
        chunk = _Chunk(bytes(view[place + 4 : place + 8]), view[place:end])
        yield chunk
        if chunk.name == b"IEND":
            return
        place = end
