"""Objects as seekable streams: from their beginning, or tables from their end."""

import io
from typing import Any, BinaryIO, cast

import obstore
from obstore import exceptions
from obstore.store import AzureStore

from ..placed_stream import PlacedStream
from ..retry import Deadline
from .calls import call, policy, status_of
from .clients import locate

RANGE_BYTES = 16 << 20  # of one request: what is larger is read in several, each with retries of its own
_CHUNK_BYTES = 1 << 20
TAIL_BYTES = 1 << 20  # of a table, with its first request: all of a small one, more than its footer of a large one


def open_to_read(uri: str) -> BinaryIO:
    """A seekable stream of an object. Its first request tells size and version; what is read then is of that version.

    Raises:
      FileNotFoundError: if there is none.
      UsageError, OSError: as `write`.
    """
    return io.BufferedReader(_ObjectReader(uri), 1 << 16)


def open_table(uri: str) -> BinaryIO:
    """Likewise for a Parquet file, of which what is read are its footer, at its end, and some of its columns. Small
    ones are read with one request.

    Raises:
      FileNotFoundError: if there is none.
      UsageError, OSError: as `write`.
    """
    return cast(BinaryIO, _TableReader(uri))


class _ObjectReader(PlacedStream):
    """Reads ranges of an object, each with one request."""

    def __init__(self, uri: str):
        super().__init__()
        self._uri = uri
        self._start, self._data = 0, b""  # the range read last
        self._version = None
        self._fetch(0, RANGE_BYTES)

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        if not self._start <= self._place < self._start + len(self._data):
            self._fetch(self._place, max(wanted, _CHUNK_BYTES))
        begin = self._place - self._start
        data = self._data[begin : begin + wanted]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _fetch(self, start: int, length: int) -> None:
        def get_range(deadline: Deadline) -> None:
            store, key = locate(self._uri, policy())
            options: Any = {"range": (start, start + min(length, RANGE_BYTES))}
            if self._version:
                options["if_match"] = self._version
            try:
                found = obstore.get(store, key, options=options)
            except exceptions.GenericError as error:
                if self._size >= 0 or status_of(error) != 416:  # the range of an empty object
                    raise
                found = obstore.get(store, key)
            self._size, self._version = found.meta["size"], found.meta["e_tag"]
            self._start, self._data = start, found.bytes().to_bytes()

        call(get_range, "read", self._uri)


class _TableReader(PlacedStream):
    """Reads an object from its end: its last piece comes with the first request, all else when it is asked for, each
    piece with one request and nothing beside it.
    """

    def __init__(self, uri: str):
        super().__init__()
        self._uri = uri
        self._version: str | None = None
        self._size, self._tail = call(self._last_piece, "read", uri)

    def readinto(self, buffer) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._place < self._size:
            data = self._next(min(len(view) - done, self._size - self._place))
            view[done : done + len(data)] = data
            done += len(data)
            self._place += len(data)
        return done

    def _next(self, wanted: int) -> bytes | memoryview:
        """Some of the bytes that are wanted from the place on, as many as one request gives."""
        tail_at = self._size - len(self._tail)
        if self._place >= tail_at:
            return memoryview(self._tail)[self._place - tail_at :][:wanted]
        end = self._place + min(wanted, RANGE_BYTES, tail_at - self._place)

        def get_range(deadline: Deadline) -> bytes:
            options: Any = {"range": (self._place, end), **({"if_match": self._version} if self._version else {})}
            store, key = locate(self._uri, policy())
            return obstore.get(store, key, options=options).bytes().to_bytes()

        return call(get_range, "read", self._uri)

    def _last_piece(self, deadline: Deadline) -> tuple[int, bytes]:
        store, key = locate(self._uri, policy())
        wanted: Any = {"suffix": TAIL_BYTES}
        if isinstance(store, AzureStore):  # which knows no ranges from the end
            size = obstore.head(store, key)["size"]
            wanted = (max(0, size - TAIL_BYTES), size)
        try:
            found = obstore.get(store, key, options={"range": wanted})
        except exceptions.GenericError as error:
            if status_of(error) != 416:  # the range of an empty object
                raise
            found = obstore.get(store, key)
        self._version = found.meta["e_tag"]
        return found.meta["size"], found.bytes().to_bytes()
