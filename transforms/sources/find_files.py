"""Finds the files that an input stands for: one file, a folder or a glob, wherever it lies. Lazily: one may stop early.

Rules:
- A file that is named itself is what its extension says, and an image if that says nothing.
- A folder, read recursively, offers its images and `.tar` and TFRecord containers, by their extensions. Not its lists
  or Parquet files, which lie beside images for many reasons (captions, metadata): name them, as in `folder/*.parquet`.
- A glob whose last part ends in an extension (`lists/*.csv`, `shards/*.tfrecord-*`, `photos/*.bin`) offers every match,
  as if each were named itself; any other (`photos/**`, `photos/2024*`) offers what a folder would.
- Hidden files and folders are left out of folders and globs. Symbolic links to folders are not followed.

Globs, the same on every storage: `*`, `?` and `[…]` stay within one part of the path; a part `**` stands for any number
of folders, none included. A path with such a character that exists as it is written is that file.
"""

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from apache_beam.io.filesystem import BeamIOError, FileSystem
from apache_beam.io.filesystems import FileSystems

from ...storage import object_stores
from ...storage.uris import before_wildcard, has_wildcard, is_http, is_in_store, is_local
from .inputs import Format, InputError, format_of

_INSTALL = {"gs": "labelbeam[gcp]", "s3": "labelbeam[aws]", "hdfs": "apache-beam[hadoop]", "azfs": "apache-beam[azure]"}
_OFFERED_BY_FOLDERS = frozenset({"image", "tar", "tfrecord", "compressed"})  # compressed: to be refused, not overlooked
_NAMED_EXTENSION = re.compile(r"\.[A-Za-z][^.]*$")


@dataclass(frozen=True)
class FoundFile:
    """A file that an input stands for, and what it is."""

    uri: str
    format: Format


def find_files(uri: str) -> Iterator[FoundFile]:
    """Yields the files that one input stands for; nothing if it matches nothing.

    Args:
      uri: absolute path or URI of a file, folder or glob.

    Raises:
      InputError: if no filesystem knows the URI's scheme, or it is a container that can't be read where it lies.
      OSError: if the storage can't be listed. Clients of object stores raise errors of their own as well.
    """
    if is_http(uri):
        yield _named(uri)
        return
    filesystem = filesystem_of(uri)
    if uri.count("/") == 2 and not is_local(uri):
        uri += "/"  # a bucket
    is_folder = uri.endswith("/") or _is_folder(uri, filesystem)
    exists = object_stores.exists if is_in_store(uri) else filesystem.exists
    if not is_folder and exists(uri):
        yield _named(uri)
    elif not is_folder and has_wildcard(uri):
        start = before_wildcard(uri).rpartition("/")[0] + "/"
        yield from _find_matches(start, uri.removeprefix(start).split("/"), filesystem)
    else:
        yield from _find_matches(uri.rstrip("/") + "/", ["**"], filesystem)


def filesystem_of(uri: str) -> FileSystem:
    """Beam's filesystem for a URI.

    Raises:
      InputError: if there is none, or a package that it needs isn't installed.
    """
    scheme = FileSystems.get_scheme(uri)
    needs = f"; {scheme}:// needs `pip install '{_INSTALL[scheme]}'`" if scheme in _INSTALL else ""
    if scheme == "s3" and importlib.util.find_spec("boto3") is None:  # Beam notices at the first request only
        raise InputError(f"input {uri}: boto3 is not installed{needs}")
    try:
        return FileSystems.get_filesystem(uri)
    except ValueError as error:
        if not needs:
            known = {system.scheme() for system in FileSystem.get_all_subclasses()} - {None}
            known |= {"http", "https", *_INSTALL}
            needs = f"; expected a path, or one of {', '.join(f'{name}://' for name in sorted(known))}"
        raise InputError(f"input {uri}: no filesystem for {scheme}://{needs}") from error
    except BeamIOError as error:
        raise InputError(f"input {uri}: {error.exception_details or error}{needs}") from error


def _named(uri: str) -> FoundFile:
    """A file that is named itself."""
    file_format = format_of(uri) or "image"
    if file_format == "compressed":
        raise InputError(
            f"input {uri}: members of a compressed container can't be read one by one; decompress it. "
            "Only lists of URIs may be compressed (.gz, .bz2, .xz)"
        )
    if is_http(uri) and file_format in ("tar", "tfrecord"):
        raise InputError(f"input {uri}: containers are not read over HTTP; copy it to a disk or an object store")
    return FoundFile(uri, file_format)


def _is_folder(uri: str, filesystem: FileSystem) -> bool:
    if is_local(uri):
        return os.path.isdir(uri)
    if not filesystem.has_dirs():
        return False
    try:
        next(filesystem._list(uri), None)
    except BeamIOError as error:
        if "not a directory" in str(error) or "does not exist" in str(error):  # the hdfs client's words
            return False
        raise
    return True


def _find_matches(start: str, pattern: Sequence[str], filesystem: FileSystem) -> Iterator[FoundFile]:
    """Yields what a pattern offers.

    Args:
      start: the folder where it starts, with its slash.
      pattern: the parts of the pattern below `start`.
    """
    if filesystem.has_dirs() and not _is_folder(start, filesystem):
        return
    takes_all = _NAMED_EXTENSION.search(pattern[-1]) is not None
    for below in _list_below(start, "", pattern, filesystem):
        parts = below.split("/")
        if not any(map(_is_hidden, parts)) and _matches(parts, pattern):
            if takes_all or format_of(below) in _OFFERED_BY_FOLDERS:
                yield _named(start + below)


def _list_below(start: str, folder: str, pattern: Sequence[str], filesystem: FileSystem) -> Iterator[str]:
    """Yields the paths, relative to `start`, of the files below its folder `folder`; may leave out what can't match.

    Not `FileSystems.match`: it holds all matches in memory, on HDFS it sees one level only, and on a local disk it
    walks through all that lies below the first wildcard. `_list` is what each filesystem implements for it.
    """
    if is_local(start):
        for path, folders, names in os.walk(start, onerror=_raise):
            prefix = os.path.join(path, "").removeprefix(start)
            folders[:] = [name for name in folders if _may_hold_matches(prefix + name, pattern)]
            yield from (prefix + name for name in names)
    elif filesystem.has_dirs():
        for entry in filesystem._list(start + folder):
            below = entry.path.removeprefix(start)
            if entry.size_in_bytes == 0 and _is_folder(entry.path, filesystem):
                if _may_hold_matches(below, pattern):
                    yield from _list_below(start, below, pattern, filesystem)
            else:
                yield below
    else:  # an object store lists by any prefix, at any depth
        prefix = start + before_wildcard(pattern[0])
        uris = (
            object_stores.list_uris(prefix)
            if is_in_store(start)
            else (e.path for e in filesystem._list(prefix))
        )
        yield from (uri.removeprefix(start) for uri in uris)


def _raise(error: OSError):
    raise error  # os.walk would go on without the folder that it can't read


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return pattern == ["**"] or _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _may_hold_matches(folder: str, pattern: Sequence[str]) -> bool:
    """Whether a file below this folder could match."""
    parts = folder.split("/")
    if _is_hidden(parts[-1]):
        return False
    for part, wanted in zip(parts, pattern):
        if wanted == "**":
            return True
        if not fnmatchcase(part, wanted):
            return False
    return len(parts) < len(pattern)
