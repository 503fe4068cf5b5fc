"""FileInfo: a file that a listing has found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileInfo:
    """A file that a listing has found.

    Attributes:
      path: path or URI.
      size_in_bytes: bytes.
      last_updated_in_seconds: Unix time of its last change; 0 where the filesystem doesn't tell.
    """

    path: str
    size_in_bytes: int
    last_updated_in_seconds: float = 0.0
