"""Images in TFRecord files of tf.Example: the bytes are feature `image/encoded`.

URIs are `file.tfrecord#id`, where the id is feature `image/source_id`, else `image/filename`, else the record's number
from 0. Listing reads each record once, since only the record knows its id. Lengths are checked against their CRC, which
notices damage to the framing, and compressed files; the data's CRC isn't, as that takes longer than decoding: damage
there is found by the decoder, and fails that image alone. Layout:
https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import struct
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from ...elements import ImageError, ImageReference, MemberLocation
from ..inputs import InputError
from .members import CHUNK_BYTES, ByteRangeReader, UniqueNames, open_container, refuse_compressed
from .tf_example import Example, first_bytes, first_text

_ENCODED = "image/encoded"
_IDS = ("image/source_id", "image/filename")
_HEADER = struct.Struct("<QI")  # bytes of the record's data; masked CRC-32C of those 8 bytes
_FOOTER_BYTES = 4  # masked CRC-32C of the data


def index(path: str) -> Iterator[ImageReference]:
    """Yields the records of a TFRecord file in its order.

    A record without an image is listed too, and becomes a failed image; if the first one has none, the file is refused.

    Raises:
      InputError: if it's no TFRecord file of tf.Example, compressed, damaged or cut off; names the file and the byte.
    """
    unique = UniqueNames()
    with open_container(path) as file:
        refuse_compressed(path, file.read(8))
        file.seek(0)
        for number, (offset, data) in enumerate(_records(path, file)):
            try:
                example = Example.FromString(data)
            except DecodeError as error:
                raise InputError(f"container {path}: the record at byte {offset} is not a tf.Example") from error
            if number == 0 and first_bytes(example, _ENCODED) is None:
                found = ", ".join(sorted(example.features.feature)) or "none"
                raise InputError(
                    f"container {path}: expected tf.Examples with the feature {_ENCODED!r}; features found: {found}"
                )
            name = next(filter(None, (first_text(example, key) for key in _IDS)), str(number))
            yield ImageReference(
                f"{path}#{unique(name)}",
                MemberLocation(path, "tfrecord", offset, len(data), chunk=offset // CHUNK_BYTES),
            )


def _records(path: str, file) -> Iterator[tuple[int, bytes]]:
    """Yields (first byte of the data, data) of each record."""
    position = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise InputError(f"container {path}: cut off at byte {position + len(header)}, within a record's header")
        length, crc = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != crc:
            raise InputError(
                f"container {path}: expected a TFRecord's header at byte {position}, found something "
                "else: damaged, compressed, or no TFRecord file"
            )
        data = file.read(length)
        footer = file.read(_FOOTER_BYTES)
        position += _HEADER.size
        if len(data) < length or len(footer) < _FOOTER_BYTES:
            raise InputError(f"container {path}: cut off within the record of {length} bytes at byte {position}")
        yield position, data
        position += length + _FOOTER_BYTES


class Reader(ByteRangeReader):
    """Reads images out of the records of an open TFRecord file. Not thread-safe."""

    def read(self, location: MemberLocation) -> bytes | None:
        """The image in a record, or None where it has none."""
        try:
            return first_bytes(Example.FromString(super().read(location)), _ENCODED)
        except DecodeError as error:
            raise ImageError(
                "truncated",
                f"container {location.container}: the record at byte {location.offset} is no "
                "tf.Example; the file is damaged, or has changed since it was listed",
            ) from error


def masked_crc32c(data: bytes) -> int:
    """The masked CRC-32C (Castagnoli) of the TFRecord format. For headers: about 0.2 µs a byte."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
