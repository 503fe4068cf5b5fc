"""Beam filesystems for tests that keep their files in a local folder, but list them as remote ones do."""

import contextlib
import os
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem


class _InFolder:
    """Mixed into a filesystem: `root` is the local folder that `scheme://` stands for."""

    root = ""

    def _local(self, uri: str) -> str:
        return uri.replace(f"{self.scheme()}:/", self.root, 1)

    def exists(self, path):
        return super().exists(self._local(path))

    def open(self, path, *args, **kwargs):
        return super().open(self._local(path), *args, **kwargs)


class ObjectStore(_InFolder, LocalFileSystem):
    """`objects://bucket/key`: no folders, lists by any prefix at any depth. Counts what it has listed."""

    listed = 0

    @classmethod
    def scheme(cls):
        return "objects"

    def has_dirs(self):
        return False

    def exists(self, path):
        return os.path.isfile(self._local(path))

    def create(self, path, *args, **kwargs):
        os.makedirs(os.path.dirname(self._local(path)), exist_ok=True)
        return super().create(self._local(path), *args, **kwargs)

    def _list(self, dir_or_prefix):
        for file in sorted(Path(self.root).rglob("*")):
            uri = f"objects://{file.relative_to(self.root)}"
            if file.is_file() and uri.startswith(dir_or_prefix):
                ObjectStore.listed += 1
                yield FileMetadata(uri, file.stat().st_size)


class Hdfs(_InFolder, LocalFileSystem):
    """`tree://folder/file`: lists one level, folders as files of 0 bytes, with the error messages of the hdfs
    package."""

    @classmethod
    def scheme(cls):
        return "tree"

    def _list(self, dir_or_prefix):
        folder = self._local(dir_or_prefix)
        if not os.path.exists(folder):
            raise BeamIOError("List operation failed", {dir_or_prefix: f"File {folder} does not exist."})
        if not os.path.isdir(folder):
            raise BeamIOError("List operation failed", {dir_or_prefix: f"{folder!r} is not a directory."})
        if os.path.exists(os.path.join(folder, ".forbidden")):
            raise BeamIOError("List operation failed", {dir_or_prefix: "Permission denied"})
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            size = 0 if entry.is_dir() else entry.stat().st_size
            yield FileMetadata(f"{dir_or_prefix.rstrip('/')}/{entry.name}", size)


@contextlib.contextmanager
def rooted(filesystem: type[_InFolder], root):
    """Lets a filesystem stand for a local folder, while the context lasts."""
    filesystem.root = f"{root}"
    try:
        yield f"{filesystem.scheme()}:/"
    finally:
        filesystem.root = ""
