"""WebP's chunks: those of the pixels must be whole; damage to metadata beside them says nothing of the pixels."""

import struct

_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"EXIF"})  # the last says how it is turned


def pixels_only(data: bytes) -> bytes | None:
    """A WebP file of the chunks that are there whole and that the pixels or their orientation need; None if it is that
    already, or no WebP file.

    libwebp reads none of a file that ends before its header says, though what is missing may be metadata.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kept, place = [b"WEBP"], 12
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + length
        if end > len(data):
            break
        if data[place : place + 4] in _KEPT:
            kept.append(data[place:end] + bytes(length % 2))
        place = end + length % 2
    body = b"".join(kept)
    mended = b"RIFF" + struct.pack("<I", len(body)) + body
    return None if mended == data else mended
