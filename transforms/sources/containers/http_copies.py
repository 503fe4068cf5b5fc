"""Copies of videos that lie on http(s) servers: each is read whole, once a process, into a temporary file.

The files have no names, so they are gone when nobody has them open, however the process ends.
"""

import os
import tempfile
import threading
from collections import OrderedDict
from typing import Any

from ....storage import http_client
from ....storage.file_info import FileVersion
from ....storage.placed_stream import PlacedStream
from ....storage.read_options import ReadOptions
from ....storage.read_policy import check_scheme
from ....storage.uris import scheme_of

_KEPT = 2  # copies that stay while nobody reads them


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
    file = tempfile.TemporaryFile(prefix="labelbeam-video-")  # noqa: SIM115 - open as long as somebody reads it
    file.write(data)
    file.flush()
    return file, versions[-1]


_copies = _Copies()
