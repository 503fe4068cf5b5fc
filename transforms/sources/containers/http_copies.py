"""Videos and files with pages, opened to be read at any place; those on http(s) servers are copied, once a process.

The copies have no names, so they are gone when nobody has them open, however the process ends.
"""

import contextlib
import os
import tempfile
import threading
from collections import OrderedDict
from typing import Any

from ....storage import files, http_client
from ....storage.file_info import FileVersion
from ....storage.placed_stream import PlacedStream
from ....storage.read_options import ReadOptions
from ....storage.read_policy import check_scheme
from ....storage.uris import is_http, scheme_of

_KEPT = 2  # copies that stay while nobody reads them


def open_at_any_place(path: str, options: ReadOptions) -> Any:
    """A file as a stream: of a copy if it is on an http(s) server.

    Raises:
      OSError: if it can't be read; `StorageError` from a server. Clients of object stores raise errors of their own.
    """
    return HttpCopy(path, options) if is_http(path) else files.open_to_read(path)


def version_of_opened(file: Any, path: str, options: ReadOptions) -> FileVersion:
    """Of what has been opened. Without its size, which isn't a frame's; empty if it can't be asked for."""
    if isinstance(file, HttpCopy):
        return file.version._replace(num_bytes=None)
    with contextlib.suppress(Exception):  # each filesystem's client has classes of its own
        return files.version_of(path, options)._replace(num_bytes=None)
    return FileVersion()


class HttpCopy(PlacedStream):
    """A copy, with a place of its own to read at: several may read it at once.

    Raises:
      StorageError: as `http_client.get`: `max_bytes`, the deadline and all else hold as for images.
    """

    def __init__(self, url: str, options: ReadOptions):
        super().__init__()
        check_scheme(scheme_of(url), options.allow_schemes)
        self._file, self.version = _copies.get(url, options)
        self._size = os.fstat(self._file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        data = os.pread(self._file.fileno(), self._size if size < 0 else size, self._place)
        self._place += len(data)
        return data


class _Copies:
    def __init__(self):
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Any, FileVersion]] = OrderedDict()  # the one used last at the end
        self._under_way: dict[str, threading.Lock] = {}

    def get(self, url: str, options: ReadOptions) -> tuple[Any, FileVersion]:
        with self._lock:
            turn = self._under_way.setdefault(url, threading.Lock())
        with turn:
            with self._lock:
                found = self._kept.get(url)
            if found is None:
                found = _download(url, options)
            with self._lock:
                self._kept[url] = found
                self._kept.move_to_end(url)
                while len(self._kept) > _KEPT:
                    gone, _ = self._kept.popitem(last=False)
                    self._under_way.pop(gone, None)
        return found


def _download(url: str, options: ReadOptions) -> tuple[Any, FileVersion]:
    versions = [FileVersion()]
    data = http_client.get(url, options, on_version=versions.append)
    file = tempfile.TemporaryFile(prefix="labelbeam-copy-")  # noqa: SIM115 - open as long as somebody reads it
    file.write(data)
    file.flush()
    return file, versions[-1]


_copies = _Copies()
