"""What a listing or a question tells of a file: its size, when it was last changed, its tag."""

from dataclasses import dataclass
from typing import NamedTuple


class FileVersion(NamedTuple):
    """What tells whether a file has changed; None is what isn't told.

    Attributes:
      num_bytes: its size.
      modified_us: when it was last changed, in microseconds since 1970.
      etag: the store's or server's tag of its content, without quotes.
    """

    num_bytes: int | None = None
    modified_us: int | None = None
    etag: str | None = None


_MAX_US = 250_000_000_000 * 1_000_000  # 9892: what is later, or before 1970, is no time that can be meant


def file_version(num_bytes: int | None, modified_us: float | None, etag: str | None = None) -> FileVersion:
    """A `FileVersion` of what a disk, store or server says: odd times are none, tags lose quotes and weakness."""
    known = modified_us is not None and 0 < modified_us < _MAX_US
    tag = (etag or "").strip().removeprefix("W/").strip('"')
    return FileVersion(num_bytes, int(modified_us) if known and modified_us is not None else None, tag or None)


@dataclass(frozen=True)
class FileInfo:
    """A file that a listing has found.

    Attributes:
      path: path or URI.
      size_in_bytes: bytes.
      last_updated_in_seconds: Unix time of its last change; 0 where the filesystem doesn't tell.
      etag: the store's tag of its content; None where there is none.
    """

    path: str
    size_in_bytes: int
    last_updated_in_seconds: float = 0.0
    etag: str | None = None

    @property
    def version(self) -> FileVersion:
        return file_version(self.size_in_bytes, self.last_updated_in_seconds * 1e6, self.etag)
