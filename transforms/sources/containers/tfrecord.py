"""Images in TFRecord files of tf.Example: the bytes are feature `image/encoded`, or `image` (TensorFlow Datasets).

URIs are `file.tfrecord#id`, where the id is feature `image/source_id`, else `image/filename`, else the record's number
from 0. Listing reads each record once, since only the record knows its id. Lengths are checked against their CRC, which
notices damage to the framing, and compressed files; the data's CRC isn't, as that takes longer than decoding: damage
there is found by the decoder, and fails that image alone. Layout:
https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import io
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from google.protobuf.message import DecodeError

from ...elements import ImageError, ImageReference, MemberLocation
from ..inputs import InputError
from .members import ByteRangeReader, Chunks, UniqueNames, open_container, problem_at, refuse_compressed
from .tf_example import Example, first_bytes, first_text, value_of

_ENCODED = ("image/encoded", "image")
_IDS = ("image/source_id", "image/filename")
_HEADER = struct.Struct("<QI")  # bytes of the record's data; masked CRC-32C of those 8 bytes
_FOOTER_BYTES = 4  # masked CRC-32C of the data
_MAX_RECORD_BYTES = 1 << 31  # of a protobuf message


def index(path: str, feature: str | None = None, carry: Sequence[str] = ()) -> Iterator[ImageReference]:
    """Yields the records of a TFRecord file in its order.

    A record without an image is listed too, and becomes a failed image; if the first one has none, the file is refused.
    What is damaged or cut off is a reference with a `problem`, which names the byte.

    Args:
      path: path or URI of the file.
      feature: that holds the encoded images; None for the first of `image/encoded` and `image` that there is.
      carry: features that come along with each image.

    Raises:
      InputError: if it's no TFRecord file of tf.Example, or compressed; names it.
    """
    unique, chunks = UniqueNames(), Chunks()
    with open_container(path) as file:
        refuse_compressed(path, file.read(8))
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        for number, (offset, data) in enumerate(_records(path, file, size)):
            if isinstance(data, ImageReference):
                yield data
                continue
            try:
                example = Example.FromString(data)
            except DecodeError as error:
                if number == 0:
                    raise InputError(f"container {path}: the record at byte {offset} is not a tf.Example") from error
                yield problem_at(path, f"byte {offset}", "the record is not a tf.Example")
                continue
            if number == 0:
                feature = _feature_of(path, example, feature)
            name = next(filter(None, (first_text(example, key) for key in _IDS)), str(number))
            location = MemberLocation(path, "tfrecord", offset, len(data), feature or _ENCODED[0], chunks.of(len(data)))
            carried = tuple(value_of(example, name) for name in carry)
            yield ImageReference(f"{path}#{unique(name)}", location, carried=carried)


def _feature_of(path: str, example, wanted: str | None) -> str:
    """The feature that holds the images, as the first record has it."""
    for feature in _ENCODED if wanted is None else (wanted,):
        if first_bytes(example, feature) is not None:
            return feature
    found = ", ".join(sorted(example.features.feature)) or "none"
    raise InputError(
        f"container {path}: expected tf.Examples with the feature {' or '.join(map(repr, _ENCODED))}; features found: "
        f"{found}. Name the one with the images with --image-column"
        if wanted is None
        else f"container {path}: no feature {wanted!r} of bytes (--image-column); features found: {found}"
    )


def _records(path: str, file: BinaryIO, size: int) -> Iterator[tuple[int, bytes | ImageReference]]:
    """Yields (first byte of the data, data) of each record; with a problem instead of data, and no more, at damage."""
    position = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            place = f"byte {position + len(header)}"
            yield position, problem_at(path, place, "cut off within a record's header")
            return
        length, crc = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != crc:
            message = "expected a TFRecord's header, found something else: damaged, compressed, or no TFRecord file"
            if not position:
                raise InputError(f"container {path}: {message}")
            yield position, problem_at(path, f"byte {position}", f"{message}; what follows is unknown")
            return
        position += _HEADER.size
        if length + _FOOTER_BYTES > size - position:
            yield position, problem_at(path, f"byte {position}", f"cut off within a record of {length} bytes")
            return
        if length > _MAX_RECORD_BYTES:
            yield (
                position,
                problem_at(path, f"byte {position}", f"a record of {length} bytes, too long for a tf.Example"),
            )
            file.seek(position + length)
        else:
            yield position, file.read(length)
        file.read(_FOOTER_BYTES)
        position += length + _FOOTER_BYTES


class Reader(ByteRangeReader):
    """Reads images out of the records of an open TFRecord file. Not thread-safe."""

    def read(self, location: MemberLocation) -> bytes | None:
        """The image in a record, or None where it has none."""
        try:
            return first_bytes(Example.FromString(super().read(location)), location.column)
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
