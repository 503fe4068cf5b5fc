"""Finds the files that an input stands for: one file, a folder or a glob, wherever it lies. Lazily: one may stop early.

Rules:
- A file that is named itself is what its extension says, and an image if that says nothing.
- A folder, read recursively, offers its images, videos, `.tar` and TFRecord containers, by their extensions. Not its
  lists or Parquet files, which lie beside images for many reasons (captions, metadata): name them, as in
  `folder/*.parquet`.
- A glob whose last part ends in an extension (`lists/*.csv`, `shards/*.tfrecord-*`, `photos/*.bin`) offers every match,
  as if each were named itself; any other (`photos/**`, `photos/2024*`) offers what a folder would.
- A `.json` file that is named itself is the manifest of an inventory (`inventories.py`), and offers its data files.
- What folders and globs pass over is told, each with one of `REASONS`. Symbolic links to folders are not followed.

Globs, the same on every storage: `*`, `?` and `[…]` stay within one part of the path; a part `**` stands for any number
of folders, none included. A file or folder that exists as it is written is meant, whatever characters are in its name.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from apache_beam.io.filesystem import FileSystem

from ...labelset.label_set_file import LABEL_SET_FILE
from ...storage import object_stores
from ...storage.file_info import FileVersion
from ...storage.uris import before_wildcard, has_wildcard, is_http, is_local
from .inputs import (
    NOT_READ,
    Format,
    InputError,
    can_read_videos,
    check_can_read_videos,
    format_of,
    is_manifest,
    page_of,
    video_of,
)
from .inventories import Shard, read_manifest, read_shard
from .list_folders import Names, filesystem_of, folders_in_order, is_folder, list_below

REASONS = {  # why a file or folder is passed over: the words for a person
    "hidden": "hidden",
    "system_folder": "in folders of the system",
    "excluded": "left out by --exclude",
    "label_set": "folders of label sets",
    "linked_folder": "links to folders",
    "special_file": "no regular files",
    "not_current": "older versions of objects, and delete markers",
    "not_named": "lists or Parquet files, which are to be named",
    "format_not_read": "of image formats that are not read",
    "unknown_extension": "without the extension of an image",
}
PassOver = Callable[[str, str], None]  # called with the reason and the URI

_SYSTEM_FOLDERS = frozenset({"@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"})
# Those that are compressed, to be refused: not overlooked.
_OFFERED_BY_FOLDERS = frozenset({"image", "tar", "tfrecord", "video", "compressed"})
_NAMED_EXTENSION = re.compile(r"\.[A-Za-z][^.]*$")


@dataclass(frozen=True)
class FoundFile:
    """A file that an input stands for, and what it is.

    Attributes:
      uri: absolute path or URI.
      format: what it is by its name.
      version: its size and when it was changed, where a listing tells them anyway.
      shard: of an inventory, where it is one of its data files.
    """

    uri: str
    format: Format
    version: FileVersion | None = None
    shard: Shard | None = None


def find_files(
    uri: str, exclude: Sequence[str] = (), pass_over: PassOver = lambda reason, uri: None
) -> Iterator[FoundFile]:
    """Yields the files that one input stands for; nothing if it matches nothing.

    Args:
      uri: absolute path or URI of a file, folder or glob.
      exclude: see `ListOptions.exclude`.
      pass_over: is told of each file or folder that a folder or glob passes over.

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
    names_folder = uri.endswith("/") or is_folder(uri, filesystem)
    exists = object_stores.exists if filesystem is None else filesystem.exists
    if not names_folder and exists(uri):
        if is_local(uri) and not os.path.isfile(uri):
            raise InputError(
                f"input {uri}: no regular file, but a pipe, socket or device; copy what it gives to a file"
            )
        if is_manifest(uri):
            yield from (FoundFile(shard.uri, "inventory", shard=shard) for shard in read_manifest(uri))
        else:
            yield _named(uri)
    elif not names_folder and (named := video_of(uri)) is not None and exists(named[0]):
        check_can_read_videos()
        yield FoundFile(uri, "video")  # a frame of it
    elif not names_folder and (named := page_of(uri)) is not None and exists(named[0]):
        yield FoundFile(uri, "image")
    elif not names_folder and has_wildcard(uri):
        start = _start_of(uri)
        yield from _Search(start, uri.removeprefix(start).split("/"), exclude, pass_over).run(filesystem)
    else:
        yield from _Search(uri.rstrip("/") + "/", ["**"], exclude, pass_over).run(filesystem)


def find_in_inventory(shard: Shard, exclude: Sequence[str], pass_over: PassOver) -> Iterator[FoundFile]:
    """Yields what a data file of an inventory names, as a folder that is its bucket would offer it.

    Args:
      exclude, pass_over: as for `find_files`.

    Raises:
      InputError, DamagedListError: as `read_shard`.
    """
    search = _Search(shard.bucket, ["**"], exclude, pass_over)
    entries = read_shard(shard, lambda: pass_over("not_current", shard.uri))
    yield from search.offered(folders_in_order(shard.bucket, entries, search))


def _named(uri: str, version: FileVersion | None = None) -> FoundFile:
    """A file that is named itself."""
    file_format = format_of(uri) or "image"
    if file_format == "compressed":
        raise InputError(
            f"input {uri}: members of a compressed container can't be read one by one; decompress it. "
            "Only lists of URIs may be compressed (.gz, .bz2, .xz, .zst)"
        )
    if file_format == "video":
        check_can_read_videos()
    if is_http(uri) and file_format in ("tar", "tfrecord"):
        raise InputError(f"input {uri}: containers are not read over HTTP; copy it to a disk or an object store")
    return FoundFile(uri, file_format, version)


def _start_of(pattern: str) -> str:
    """The folder in which a glob starts, with its slash; a folder that exists is no wildcard, whatever its name."""
    start = before_wildcard(pattern).rpartition("/")[0] + "/"
    if is_local(pattern):
        for name in pattern.removeprefix(start).split("/")[:-1]:
            if not os.path.isdir(start + name):
                break
            start += name + "/"
    return start


class _Search:
    """One folder or glob.

    Args:
      start: the folder where it starts, with its slash.
      pattern: the parts of the pattern below `start`.
    """

    def __init__(self, start: str, pattern: Sequence[str], exclude: Sequence[str], pass_over: PassOver):
        self._start = start
        self._pattern = pattern
        self._exclude = [part.strip("/").split("/") for part in exclude]
        self._pass_over = pass_over
        self._takes_all = _NAMED_EXTENSION.search(pattern[-1]) is not None

    def run(self, filesystem: FileSystem | None) -> Iterator[FoundFile]:
        if filesystem is not None and filesystem.has_dirs() and not is_folder(self._start, filesystem):
            return
        if is_local(self._start) and self._is_in_label_set():
            self.pass_over("label_set", self._start)
            return
        prefix = self._start + before_wildcard(self._pattern[0])
        yield from self.offered(list_below(self._start, prefix, self, filesystem))

    def offered(self, folders: Iterator[tuple[str, Names]]) -> Iterator[FoundFile]:
        """Of what lies in folders, what is offered."""
        for folder, names in folders:
            for name, version in names.items():
                below = f"{folder}/{name}" if folder else name
                if _matches(below.split("/"), self._pattern):
                    yield from self._offer(below, version)

    def _is_in_label_set(self) -> bool:
        folder = self._start.rstrip("/")
        while folder and not os.path.exists(f"{folder}/{LABEL_SET_FILE}"):
            folder = folder.rpartition("/")[0]
        return bool(folder)

    def _offer(self, below: str, version: FileVersion | None) -> Iterator[FoundFile]:
        uri, file_format = self._start + below, format_of(below)
        if reason := self._reason_against(below):
            self.pass_over(reason, uri)
        elif file_format == "image":
            yield FoundFile(uri, "image", version)
        elif file_format == "compressed":
            yield FoundFile(uri, "compressed")
        elif file_format == "video" and not can_read_videos():
            self.pass_over("format_not_read", uri)
        elif self._takes_all or file_format in _OFFERED_BY_FOLDERS:
            yield _named(uri, version)
        elif file_format is not None:
            self.pass_over("not_named", uri)
        elif os.path.splitext(below)[1].lower() in NOT_READ:
            self.pass_over("format_not_read", uri)
        else:
            self.pass_over("unknown_extension", uri)

    def enters(self, folder: str) -> bool:
        """Whether a folder can hold matches; if it could but for one of the reasons, that is told."""
        if not _may_hold_matches(folder.split("/"), self._pattern):
            return False
        if reason := self._reason_against(folder):
            self.pass_over(reason, self._start + folder)
        return reason is None

    def pass_over(self, reason: str, uri: str) -> None:
        self._pass_over(reason, uri)

    def leaves(self, folder: str, names: Collection[str]) -> bool:
        if is_label_set := LABEL_SET_FILE in names:
            self.pass_over("label_set", self._start + folder)
        return is_label_set

    def _reason_against(self, below: str) -> str | None:
        """Why a file or folder doesn't count. Of the folders above it, `enters` has looked at the names."""
        name = below.rpartition("/")[2]
        if name.startswith("."):
            return "hidden"
        if name in _SYSTEM_FOLDERS:
            return "system_folder"
        if not self._exclude:
            return None
        parts = below.split("/")
        for pattern in self._exclude:
            if len(pattern) == 1 and pattern != ["**"]:
                if any(fnmatchcase(part, pattern[0]) for part in parts):
                    return "excluded"
            elif any(_matches(parts[:end], pattern) for end in range(1, len(parts) + 1)):
                return "excluded"
        return None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return pattern == ["**"] or _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _may_hold_matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a file below this folder could match."""
    for part, wanted in zip(parts, pattern):
        if wanted == "**":
            return True
        if not fnmatchcase(part, wanted):
            return False
    return len(parts) < len(pattern)
