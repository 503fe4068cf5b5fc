"""Files of an output folder, on local disk or any store that Beam's filesystems know, written so that none is ever seen half.

Local: a temporary name, fsync, an atomic rename. Object stores: one complete upload, which is atomic there. Not for reading
images (that is `read_bytes.py`, with time limits and pooled connections).
"""
import io
import os
import uuid
from fnmatch import fnmatchcase
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from . import object_stores
from .inputs import before_wildcard

TEMPORARY_SUFFIX = ".tmp"  # no `*.parquet` matches it, and readers of whole folders pass over names that begin with a dot


def is_local(path: str) -> bool:
    return "://" not in path


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/"), *names])


def write_atomically(path: str, data) -> None:
    """Writes `data` (bytes-like) to `path`, which afterwards exists whole and durable, or not at all.

    Raises:
      OSError: if the disk is full, the folder isn't writable, … (stores raise their clients' errors)
    """
    if object_stores.knows(path):
        object_stores.write(path, data)
        return
    if not is_local(path):
        with FileSystems.create(path, mime_type="application/octet-stream") as file:
            file.write(data)
        return
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """The rename itself is durable only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
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
    if object_stores.knows(path):
        return io.BytesIO(object_stores.read(path))
    return FileSystems.open(path, mime_type="application/octet-stream")


def list_files(pattern: str) -> list[str]:
    """Paths that match a glob pattern, sorted; empty if there are none or the folder doesn't exist."""
    if object_stores.knows(pattern):
        return [uri for uri in object_stores.list_uris(before_wildcard(pattern)) if fnmatchcase(uri, pattern)]
    try:
        matches = FileSystems.match([pattern])[0].metadata_list
    except BeamIOError as error:
        if any(isinstance(e, FileNotFoundError) for e in (error.exception_details or {}).values()):
            return []
        raise
    return sorted(m.path for m in matches)
