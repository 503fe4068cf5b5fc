"""Finds the files that an input stands for: one file, a folder or a glob, wherever it lies. Lazily: one may stop early.

Rules:
- A file that is named itself is what its extension says, and an image if that says nothing.
- A folder, read recursively, offers its images, videos, `.tar` and TFRecord containers, by their extensions. Not its
  lists or Parquet files, which lie beside images for many reasons (captions, metadata): name them, as in
  `folder/*.parquet`.
- A glob whose last part ends in an extension (`lists/*.csv`, `shards/*.tfrecord-*`, `photos/*.bin`) offers every match,
  as if each were named itself; any other (`photos/**`, `photos/2024*`) offers what a folder would.
- A `.json` file that is named itself is the manifest of an inventory (`inventories.py`), and offers its data files.
- Who lists a store's folder of very many objects may leave the rest to others, as portions of it.
- What folders and globs pass over is told, each with one of `REASONS`. Symbolic links to folders are not followed.

Globs, the same on every storage: `*`, `?` and `[…]` stay within one part of the path; a part `**` stands for any number
of folders, none included. A file or folder that exists as it is written is meant, whatever characters are in its name.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice

from apache_beam.io.filesystem import FileSystem

from ...labelset.label_set_file import LABEL_SET_FILE
from ...storage import object_stores
from ...storage.file_info import FileInfo, FileVersion
from ...storage.stores.key_ranges import KeyRange, split_keys
from ...storage.uris import before_wildcard, has_wildcard, is_http, is_local, scheme_of
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
Portion = Shard | KeyRange
PassOver = Callable[[str, str], None]  # called with the reason and the URI

_PAGE = 1000  # keys in an answer of a store
_MAX_RANGES = 64  # of what others are to list
_SYSTEM_FOLDERS = frozenset({"@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"})
# Those that are compressed, to be refused: not overlooked.
_OFFERED_BY_FOLDERS = frozenset({"image", "tar", "tfrecord", "video", "compressed"})
_NAMED_EXTENSION = re.compile(r"\.[A-Za-z][^.]*$")


@dataclass(frozen=True)
class FoundFile:
    """A file that an input stands for, and what it is; or a portion of an input, for `find_in_portion`.

    Attributes:
      uri: absolute path or URI; of a range of keys, the input's.
      format: what it is by its name.
      version: its size and when it was changed, where a listing tells them anyway.
      portion: a data file of an inventory, or a range of a store's keys.
    """

    uri: str
    format: Format
    version: FileVersion | None = None
    portion: Portion | None = None


def find_files(
    uri: str,
    exclude: Sequence[str] = (),
    pass_over: PassOver = lambda reason, uri: None,
    listed_alone: int | None = None,
) -> Iterator[FoundFile]:
    """Yields the files that one input stands for; nothing if it matches nothing.

    Args:
      uri: absolute path or URI of a file, folder or glob.
      exclude: see `ListOptions.exclude`.
      pass_over: is told of each file or folder that a folder or glob passes over.
      listed_alone: objects of a store after which the rest of a folder or glob is left to others, as portions.

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
            yield from (FoundFile(shard.uri, "portion", portion=shard) for shard in read_manifest(uri))
        else:
            yield _named(uri)
    elif not names_folder and (named := video_of(uri)) is not None and exists(named[0]):
        check_can_read_videos()
        yield FoundFile(uri, "video")  # a frame of it
    elif not names_folder and (named := page_of(uri)) is not None and exists(named[0]):
        yield FoundFile(uri, "image")
    else:
        is_glob = not names_folder and has_wildcard(uri)
        search = _Search(uri if is_glob else uri.rstrip("/") + "/", exclude, pass_over)
        # Azure lists from the first key on only: there, each portion would list all that lies before it.
        if filesystem is None and listed_alone is not None and scheme_of(uri) != "az":
            yield from search.spread(listed_alone)
        else:
            yield from search.run(filesystem)


def find_in_portion(uri: str, portion: Portion, exclude: Sequence[str], pass_over: PassOver) -> Iterator[FoundFile]:
    """Yields what a portion of an input offers: of an inventory, what a folder that is its bucket would.

    Args:
      uri, portion: of the `FoundFile`.
      exclude, pass_over: as for `find_files`.

    Raises:
      InputError, DamagedListError: as `read_shard`.
      UsageError, OSError: if the store can't be listed.
    """
    if isinstance(portion, Shard):
        search = _Search(portion.bucket, exclude, pass_over)
        yield from search.among(read_shard(portion, lambda: pass_over("not_current", portion.uri)))
    else:
        yield from _Search(uri, exclude, pass_over).go_on(portion)


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
      uri: a glob; or a folder, with its slash: that is taken literally, and all in it is meant.
    """

    def __init__(self, uri: str, exclude: Sequence[str], pass_over: PassOver):
        self._uri = uri
        self._start = uri if uri.endswith("/") else _start_of(uri)  # the folder where it starts, with its slash
        self._pattern = uri.removeprefix(self._start).split("/") if uri != self._start else ["**"]
        self._prefix = self._start + before_wildcard(self._pattern[0])
        self._exclude = [part.strip("/").split("/") for part in exclude]
        self._pass_over = pass_over
        self._takes_all = _NAMED_EXTENSION.search(self._pattern[-1]) is not None

    def run(self, filesystem: FileSystem | None) -> Iterator[FoundFile]:
        if filesystem is not None and filesystem.has_dirs() and not is_folder(self._start, filesystem):
            return
        if is_local(self._start) and self._is_in_label_set():
            self.pass_over("label_set", self._start)
            return
        yield from self._offered(list_below(self._start, self._prefix, self, filesystem))

    def among(self, objects: Iterator[FileInfo]) -> Iterator[FoundFile]:
        """Of a store's objects in the order of their keys, what is offered."""
        yield from self._offered(folders_in_order(self._start, objects, self))

    def spread(self, listed_alone: int) -> Iterator[FoundFile]:
        """Of a store: what its first objects offer, then portions of the rest."""
        objects, last = object_stores.list_objects(self._prefix), self._prefix

        def first_objects() -> Iterator[FileInfo]:
            nonlocal last
            for found in islice(objects, listed_alone):
                last = found.path
                yield found

        yield from self.among(first_objects())
        if next(objects, None) is None:
            return

        def page_after(key: str) -> list[str]:
            page = islice(object_stores.list_objects(self._prefix, after=self._prefix + key), _PAGE)
            return [found.path.removeprefix(self._prefix) for found in page]

        pages = max(50, listed_alone // _PAGE)  # about as many as were listed: splitting costs no more
        for keys in split_keys(page_after, _PAGE, last.removeprefix(self._prefix), _MAX_RANGES, pages):
            yield FoundFile(self._uri, "portion", portion=keys)

    def go_on(self, keys: KeyRange) -> Iterator[FoundFile]:
        """Of a range of a store's keys, what is offered; as if all before had been seen, and told by whoever saw it."""
        first, told = self._prefix + keys.after, self._pass_over
        last = None if keys.until is None else self._prefix + keys.until
        below, self._pass_over = first.removeprefix(self._start), lambda reason, uri: None
        above = ["", *(below[: place + 1] for place, character in enumerate(below) if character == "/")]
        marks = (f"{self._start}{folder}{LABEL_SET_FILE}" for folder in above)

        def objects() -> Iterator[FileInfo]:
            yield from (FileInfo(mark, 0, 0) for mark in marks if object_stores.exists(mark))
            yield FileInfo(first, 0, 0)
            self._pass_over = told
            yield from object_stores.list_objects(self._prefix, after=first, until=last)

        yield from (file for file in self.among(objects()) if file.uri != first)

    def _offered(self, folders: Iterator[tuple[str, Names]]) -> Iterator[FoundFile]:
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
