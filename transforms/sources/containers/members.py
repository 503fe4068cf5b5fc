"""What the readers of all container formats share: opening, unique names, chunks.

The formats themselves are `tar.py`, `tfrecord.py` and `parquet.py`.
"""

from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ...elements import ImageError, MemberLocation
from ..inputs import InputError

CHUNK_BYTES = 64 << 20  # members whose bytes start in the same stretch of a container are read together
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def open_container(path: str) -> BinaryIO:
    """Opens a container for reading at any place."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def refuse_compressed(path: str, head: bytes) -> None:
    """Raises InputError if the first bytes of a container are those of a compressed file."""
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(f"container {path}: compressed ({name}); members can't be read one by one. Decompress it")


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

    def __init__(self, path: str):
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
