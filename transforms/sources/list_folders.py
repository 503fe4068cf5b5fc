"""What lies in folders, folder by folder, on local disks, in object stores and on Beam's other filesystems."""

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from apache_beam.io.filesystem import BeamIOError, FileSystem
from apache_beam.io.filesystems import FileSystems

from ...storage import object_stores
from ...storage.file_info import FileInfo, FileVersion, file_version
from ...storage.uris import STORE_SCHEMES, is_in_store, is_local, scheme_of, written_here
from .inputs import InputError

Names = Mapping[str, FileVersion | None]  # of files in a folder; their versions, where a listing tells them anyway

_INSTALL = {"hdfs": "apache-beam[hadoop]", "azfs": "apache-beam[azure]"}


def filesystem_of(uri: str) -> FileSystem | None:
    """Beam's filesystem for a URI; None for an object store, which `object_stores` lists.

    Raises:
      InputError: if there is none, or a package that it needs isn't installed.
    """
    if is_in_store(uri):
        if not uri.partition("://")[2].partition("/")[0]:
            raise InputError(f"input {uri}: no bucket is named; expected one, as in {scheme_of(uri)}://bucket/folder")
        return None
    if ours := written_here(uri):
        raise InputError(f"input {uri}: write {ours}; {scheme_of(uri)}:// is not known here")
    if scheme_of(uri) == "file" and not is_local(uri):
        raise InputError(f"input {uri}: names another host; write file:///folder/image.jpg, or the path itself")
    scheme = FileSystems.get_scheme(uri)
    needs = f"; {scheme}:// needs `pip install '{_INSTALL[scheme]}'`" if scheme in _INSTALL else ""
    try:
        return FileSystems.get_filesystem(uri)
    except ValueError as error:
        if not needs:
            known = {system.scheme() for system in FileSystem.get_all_subclasses()} - {None}
            known |= {"http", "https", *STORE_SCHEMES, *_INSTALL}
            needs = f"; expected a path, or one of {', '.join(f'{name}://' for name in sorted(known))}"
        raise InputError(f"input {uri}: no filesystem for {scheme}://{needs}") from error
    except BeamIOError as error:
        raise InputError(f"input {uri}: {error.exception_details or error}{needs}") from error


def is_folder(uri: str, filesystem: FileSystem | None) -> bool:
    if is_local(uri):
        return os.path.isdir(uri)
    if filesystem is None or not filesystem.has_dirs():
        return False
    try:
        next(filesystem._list(uri), None)
    except BeamIOError as error:
        if "not a directory" in str(error) or "does not exist" in str(error):  # the hdfs client's words
            return False
        raise
    return True


class Visitor(Protocol):
    """Decides where `list_below` goes, and is told what it leaves out. Folders are relative to where it starts."""

    def enters(self, folder: str) -> bool:
        """Whether to read a folder."""
        ...

    def leaves(self, folder: str, names: Collection[str]) -> bool:
        """Whether to leave out a folder and all below it after all, since files of these names lie in it."""
        ...

    def pass_over(self, reason: str, uri: str) -> None:
        """Is told of links to folders (`linked_folder`) and of what is no regular file (`special_file`)."""
        ...


def list_below(start: str, prefix: str, visitor: Visitor, filesystem: FileSystem | None) -> Iterator[tuple[str, Names]]:
    """Yields folders at and below `start`, relative to it, each with names of files in it, in one or several portions.

    Not `FileSystems.match`: it holds all matches in memory, on HDFS it sees one level only, and on a local disk it
    walks through all that lies below the first wildcard. `_list` is what each filesystem implements for it.

    Args:
      start: the folder where to start, with its slash.
      prefix: what URIs that are wanted begin with; object stores are asked for no others.
      visitor: decides where to go.
      filesystem: that of `start`, by `filesystem_of`.
    """
    if is_local(start):
        yield from _local_folders(start, "", visitor)
    elif filesystem is None:
        yield from folders_in_order(start, object_stores.list_objects(prefix), visitor)
    elif filesystem.has_dirs():
        yield from _folders_of(filesystem, start, "", visitor)
    else:
        entries = (FileInfo(e.path, e.size_in_bytes, e.last_updated_in_seconds) for e in filesystem._list(prefix))
        yield from folders_in_order(start, entries, visitor)


def _local_folders(start: str, folder: str, visitor: Visitor) -> Iterator[tuple[str, Names]]:
    names: dict[str, FileVersion | None] = {}  # a disk is asked for versions one by one, by who wants them
    folders: list[str] = []
    with os.scandir(start + folder) as entries:  # raises where a folder can't be read: that must not be a gap
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_file():
                names[entry.name] = None
            else:
                visitor.pass_over("linked_folder" if entry.is_dir() else "special_file", entry.path)
    if not visitor.leaves(folder, names):
        yield folder, names
        for below in _below(folder, folders):
            if visitor.enters(below):
                yield from _local_folders(start, below, visitor)


def _folders_of(filesystem: FileSystem, start: str, folder: str, visitor: Visitor) -> Iterator[tuple[str, Names]]:
    names: dict[str, FileVersion | None] = {}
    folders: list[str] = []
    for entry in filesystem._list(start + folder):
        name = entry.path.rstrip("/").rpartition("/")[2]
        if entry.size_in_bytes == 0 and is_folder(entry.path, filesystem):
            folders.append(name)
        else:
            names[name] = file_version(entry.size_in_bytes, entry.last_updated_in_seconds * 1e6)
    if not visitor.leaves(folder, names):
        yield folder, names
        for below in _below(folder, folders):
            if visitor.enters(below):
                yield from _folders_of(filesystem, start, below, visitor)


def _below(folder: str, names: list[str]) -> list[str]:
    return [f"{folder}/{name}" if folder else name for name in names]


def folders_in_order(start: str, found: Iterator[FileInfo], visitor: Visitor) -> Iterator[tuple[str, Names]]:
    """Of a store without folders, which lists in the order of its keys: what begins alike lies together."""
    entered, left = "", None  # the folder of the last file, and what the keys in the folder left last begin with
    for file in found:
        below = file.path.removeprefix(start)
        folder, _, name = below.rpartition("/")
        if not name or (left is not None and below.startswith(left)):
            continue
        if folder != entered:
            refused = next((above for above in _with_those_above(folder) if not visitor.enters(above)), None)
            if refused is not None:
                left = refused + "/"
                continue
            entered = folder
        if visitor.leaves(folder, [name]):
            left = folder + "/" if folder else ""
        else:
            yield folder, {name: file.version}


def _with_those_above(folder: str) -> Iterator[str]:
    parts = folder.split("/") if folder else []
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))
