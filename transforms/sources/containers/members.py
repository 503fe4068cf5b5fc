"""What the readers of all container formats share: opening, unique names, chunks.

The formats themselves are `tar.py`, `tfrecord.py` and `parquet.py`.
"""

from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ....storage.read_options import ReadOptions
from ...elements import ImageError, ImageReference, MemberLocation
from ..inputs import InputError

CHUNK_BYTES, CHUNK_IMAGES = 64 << 20, 128  # at most, of neighbouring members that one worker reads together
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def open_container(path: str) -> BinaryIO:
    """Opens a container for reading at any place."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def refuse_compressed(path: str, head: bytes) -> None:
    """Raises InputError if the first bytes of a container are those of a compressed file."""
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(f"container {path}: compressed ({name}); members can't be read one by one. Decompress it")


def problem_at(path: str, place: str, message: str) -> ImageReference:
    """What stands for images that a place in a container should hold."""
    return ImageReference(f"{path}#{place}", problem=f"container {path}, {place}: {message}")


class Chunks:
    """Numbers stretches of a container, of members that follow each other: of at most 128 images and 64 MiB; a larger
    member is one alone."""

    def __init__(self):
        self._number = -1
        self._images_left = self._bytes_left = 0

    def of(self, num_bytes: int) -> int:
        """The number of the chunk of the next member, which has so many bytes."""
        if not self._images_left or num_bytes > self._bytes_left:
            self._number += 1
            self._images_left, self._bytes_left = CHUNK_IMAGES, CHUNK_BYTES
        self._images_left -= 1
        self._bytes_left -= num_bytes
        return self._number


class UniqueNames:
    """Gives each member of one container a name of its own: `a.jpg`, and `a.jpg@2` for the second `a.jpg`.

    Names depend on the order in the container alone, so that every job gives a member the same URI.
    """

    def __init__(self):
        self._times: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        unique = name
        while unique in self._times:
            self._times[name] += 1
            unique = f"{name}@{self._times[name]}"
        self._times[unique] = 1
        return unique


class ByteRangeReader:
    """Reads members that lie in one piece in an open container. Not thread-safe."""

    def __init__(self, path: str, options: ReadOptions = ReadOptions()):
        self._file = open_container(path)

    def read(self, location: MemberLocation) -> bytes:
        self._file.seek(location.offset)
        data = self._file.read(location.length)
        if len(data) != location.length:
            raise ImageError(
                "truncated",
                f"container {location.container}: expected {location.length} bytes at byte "
                f"{location.offset}, found {len(data)}: it has shrunk since it was listed",
            )
        return data

    def close(self) -> None:
        self._file.close()
