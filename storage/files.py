"""Durable files on local disks, in object stores and on Beam's filesystems: written so that none is ever seen half.

Local: a temporary name, fsync, an atomic rename. Object stores: one complete upload, which is atomic there. Beam is
imported only for the schemes that need it.
"""

import contextlib
import errno
import itertools
import os
import resource
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, BinaryIO, TypeVar

from .errors import UsageError
from .file_info import FileInfo, FileVersion, file_version
from .retry import RetryPolicy
from .uris import before_wildcard, has_wildcard, is_in_store, is_local

# No `*.parquet` matches it, and readers of whole folders pass over names that begin with a dot.
TEMPORARY_SUFFIX = ".tmp"

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_WAITS_FOR_DESCRIPTORS_S = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)

R = TypeVar("R")


def max_open_files() -> int:
    """Files and connections that this process may have open (`ulimit -n`)."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _opened(opening: Callable[[], R]) -> R:
    """What `opening` gives; tried again for a while if too many files are open, since others are closed meanwhile."""
    for wait_s in _WAITS_FOR_DESCRIPTORS_S:
        try:
            return opening()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            time.sleep(wait_s)
    return opening()


def version_of(path: str, policy: RetryPolicy) -> FileVersion:
    """Which version of a file is there, on a disk, in a store or on one of Beam's filesystems.

    Raises:
      OSError, StorageError: if it can't be asked for, within the policy's deadline; Beam's filesystems raise errors of
        their own.
    """
    if is_local(path):
        status = os.stat(path)
        return file_version(status.st_size, status.st_mtime_ns // 1000)
    if is_in_store(path):
        return _stores().head(path, policy)
    from apache_beam.io.filesystems import FileSystems

    [found] = FileSystems.match([path])[0].metadata_list
    return file_version(found.size_in_bytes, (found.last_updated_in_seconds or 0) * 1e6)


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

    Whoever finds the last one finds them all. What breaks off before that leaves at most whole files in front of it;
    on a local disk that takes a death in the moment between two renames.

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


def create_exclusive(path: str, data) -> bool:
    """Creates `path` with `data` (bytes-like), whole and durable, if there is no file of this name.

    Of several processes that try at once, exactly one gets True: on local and shared disks by `link`, in s3://,
    gs:// and az:// by a conditional put. Beam's other filesystems (hdfs://) know neither: there it is looked up
    first, which is best effort only.

    Returns:
      True if the file was created; False if one existed, which stays as it is.

    Raises:
      OSError, UsageError: as `write_atomically`.
    """
    if is_local(path):
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        _sync_folder(os.path.dirname(path))
        return True
    if is_in_store(path):
        return _stores().create(path, data)
    from apache_beam.io.filesystems import FileSystems

    if FileSystems.exists(path):
        return False
    _upload(path, data)
    return True


def _stores():
    from . import object_stores

    return object_stores


def _upload(path: str, data) -> None:
    if is_in_store(path):
        _stores().write(path, data)
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path, mime_type="application/octet-stream") as file:
        file.write(data)


def _write_temporary(path: str, data) -> str:
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        with _opened(lambda: open(temporary, "wb")) as file:
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
    descriptor = _opened(lambda: os.open(folder or ".", os.O_RDONLY))
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
        with _opened(lambda: open(path, "rb")) as file:
            return file.read()
    if is_in_store(path):
        return _stores().read(path)
    from apache_beam.io.filesystems import FileSystems

    if not FileSystems.exists(path):
        raise FileNotFoundError(path)
    with FileSystems.open(path, mime_type="application/octet-stream") as file:
        return file.read()


def open_table(path: str) -> BinaryIO:
    """Like `open_to_read`, for a Parquet file: of an object of a store, its end is read first, then what is asked."""
    if is_in_store(path):
        from .stores import readers

        return readers.open_table(path)
    return open_to_read(path)


def open_to_read(path: str) -> BinaryIO:
    """A seekable stream of a file. An object of a store is read from its beginning, 16 MiB with one request, where Beam
    makes a client and two.
    """
    if is_local(path):
        return _opened(lambda: open(path, "rb"))
    if is_in_store(path):
        from .stores import readers

        return readers.open_to_read(path)
    from apache_beam.io.filesystems import FileSystems

    return FileSystems.open(path, mime_type="application/octet-stream")


def delete(paths: Iterable[str]) -> None:
    """Deletes files, in this order; those that aren't there don't matter."""
    for in_store, group in itertools.groupby(paths, key=is_in_store):
        if in_store:
            _stores().delete(group)
            continue
        for path in group:
            if is_local(path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                continue
            from apache_beam.io.filesystems import FileSystems

            if FileSystems.exists(path):
                FileSystems.delete([path])


def list_files(pattern: str) -> list[str]:
    """Paths that match, sorted; see `list_metadata`."""
    return sorted(list_sizes(pattern))


def list_sizes(pattern: str) -> dict[str, int]:
    """Path -> bytes of the files that match; see `list_metadata`."""
    return {found.path: found.size_in_bytes for found in list_metadata(pattern)}


def list_metadata(pattern: str) -> list[FileInfo]:
    """The files of a folder whose names match; empty if there are none or the folder doesn't exist.

    Args:
      pattern: `FOLDER/NAME`. `*`, `?` and `[…]` in the name are wildcards; the folder's own path is taken literally.
    """
    folder, _, name = pattern.rpartition("/")
    if is_local(pattern):
        found = list_below(folder or ".", recursive=False)
    elif is_in_store(pattern) and not has_wildcard(folder):
        start = f"{folder}/{before_wildcard(name)}"
        found = (file for file in _stores().list_objects(start) if "/" not in file.path[len(folder) + 1 :])
    else:
        found = _list_remote(pattern)
    return [file for file in found if fnmatchcase(file.path.rpartition("/")[2], name)]


def list_below(folder: str, recursive: bool = True) -> Iterator[FileInfo]:
    """The files below a folder, hidden ones too; none if it doesn't exist. Symbolic links to folders aren't followed.

    Args:
      folder: path or URI, taken literally: `[`, `?` and `*` in it are no wildcards.
      recursive: False for the folder's own files only. On hdfs:// Beam lists no deeper.

    Raises:
      OSError: if it can't be listed.
    """
    if is_local(folder):
        yield from _list_local(folder, recursive)
        return
    start = folder.rstrip("/") + "/"
    if is_in_store(folder):
        found = _stores().list_objects(start)
    else:
        found = _list_remote("".join(f"[{c}]" if c in "*?[" else c for c in start) + "**")
    for file in found:
        if recursive or "/" not in file.path[len(start) :]:
            yield file


def _list_local(folder: str, recursive: bool) -> Iterator[FileInfo]:
    try:
        entries = sorted(_opened(lambda: os.scandir(folder)), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if recursive:
                yield from _list_local(entry.path, recursive)
            continue
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed, or a link to nothing
            status = entry.stat()
            if stat.S_ISREG(status.st_mode):
                yield FileInfo(entry.path, status.st_size, status.st_mtime)


def _list_remote(pattern: str) -> list[FileInfo]:
    if is_in_store(pattern):
        found = _stores().list_objects(before_wildcard(pattern))
        return [file for file in found if fnmatchcase(file.path, pattern)]
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except BeamIOError as error:
        if any(isinstance(e, FileNotFoundError) for e in (error.exception_details or {}).values()):
            return []
        raise
    return [FileInfo(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in found]
