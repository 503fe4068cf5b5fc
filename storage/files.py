"""Files of an output folder, on local disk or any store that Beam's filesystems know, written so that none is ever seen half.

Local: a temporary name, fsync, an atomic rename. Object stores: one complete upload, which is atomic there. Not for reading
images (that is `read_bytes.py`, with time limits and pooled connections).
"""

import contextlib
import io
import os
import uuid
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.filesystems import FileSystems

from . import object_stores
from .errors import UsageError
from .uris import before_wildcard, is_local

TEMPORARY_SUFFIX = (
    ".tmp"  # no `*.parquet` matches it, and readers of whole folders pass over names that begin with a dot
)


def write_atomically(path: str, data) -> None:
    """Writes `data` (bytes-like) to `path`, which afterwards exists whole and durable, or not at all.

    Raises:
      OSError: if the disk is full, the folder isn't writable, … (stores raise their clients' errors)
    """
    write_together([(path, data)])


def write_where_asked(option: str, path: str, data) -> None:
    """`write_atomically` to a path that somebody gave with a command's option.

    Raises:
      UsageError: if it can't be written there.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{option} {path}: can't be written: {error.strerror or error}. Give another path") from error


def write_together(files: Sequence[tuple[str, Any]]) -> None:
    """Writes several files (path, bytes-like), then puts them in place one right after the other, in this order.

    Whoever finds the last one finds them all. What breaks off before that leaves at most whole files in front of it; on a
    local disk that takes a death in the moment between two renames.

    Raises:
      OSError: as `write_atomically`.
    """
    if not all(is_local(path) for path, _ in files):
        for path, data in files:
            _upload(path, data)
        return
    temporary = {}
    try:
        for path, data in files:
            temporary[path] = _write_temporary(path, data)
        for path in list(temporary):
            os.replace(temporary[path], path)
            del temporary[path]
            _sync_folder(os.path.dirname(path))  # each: so that after a power cut, too, the last one means all
    finally:
        for name in temporary.values():
            if os.path.exists(name):
                os.unlink(name)


def _upload(path: str, data) -> None:
    if object_stores.knows(path):
        object_stores.write(path, data)
        return
    with FileSystems.create(path, mime_type="application/octet-stream") as file:
        file.write(data)


def _write_temporary(path: str, data) -> str:
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    return temporary


def _sync_folder(folder: str) -> None:
    """The rename itself is durable only when the folder is."""
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    """The whole content of a small file.

    Raises:
      FileNotFoundError: if there's no such file.
    """
    if is_local(path):
        with open(path, "rb") as file:
            return file.read()
    if object_stores.knows(path):
        return object_stores.read(path)
    if not FileSystems.exists(path):
        raise FileNotFoundError(path)
    with FileSystems.open(path, mime_type="application/octet-stream") as file:
        return file.read()


def open_to_read(path: str) -> BinaryIO:
    """A seekable stream of a table's file. An object of a store is read whole: one request, where Beam makes a client and two."""
    if is_local(path):
        return open(path, "rb")
    if object_stores.knows(path):
        return io.BytesIO(object_stores.read(path))
    return FileSystems.open(path, mime_type="application/octet-stream")


def delete(paths: Iterable[str]) -> None:
    """Deletes files, in this order; those that aren't there don't matter."""
    for path in paths:
        if is_local(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        elif object_stores.knows(path):
            object_stores.delete(path)
        elif FileSystems.exists(path):
            FileSystems.delete([path])


def list_files(pattern: str) -> list[str]:
    """Paths that match a glob pattern, sorted; empty if there are none or the folder doesn't exist."""
    return sorted(list_sizes(pattern))


def list_sizes(pattern: str) -> dict[str, int]:
    """Path -> bytes of the files that match a glob pattern."""
    return {m.path: m.size_in_bytes for m in list_metadata(pattern)}


def list_times(pattern: str) -> dict[str, float]:
    """Path -> Unix time, in seconds, of the last change of the files that match a glob pattern."""
    return {m.path: m.last_updated_in_seconds for m in list_metadata(pattern)}


def list_metadata(pattern: str) -> list[FileMetadata]:
    """Paths, sizes and times of the files that match a glob pattern; empty if there are none or the folder doesn't exist."""
    if object_stores.knows(pattern):
        return [
            found for found in object_stores.list_objects(before_wildcard(pattern)) if fnmatchcase(found.path, pattern)
        ]
    try:
        return FileSystems.match([pattern])[0].metadata_list
    except BeamIOError as error:
        if any(isinstance(e, FileNotFoundError) for e in (error.exception_details or {}).values()):
            return []
        raise
