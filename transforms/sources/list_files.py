"""Opens lists: from disks, stores and servers, plain or compressed, as lines of bounded length."""

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ...storage.errors import StorageError
from ...storage.http.stream import HttpStream
from ...storage.redaction import redact
from ...storage.retry import RetryPolicy
from ...storage.stores.readers import open_to_read
from ...storage.uris import is_http, is_in_store
from .inputs import InputError

MAX_LINE = 1 << 24  # characters; also of a cell of CSV
LIST_POLICY = RetryPolicy(deadline_s=180.0, retries=5, read_timeout_s=60.0)  # of http(s)

_COPY_BYTES = 1 << 20
_SNIFF_BYTES = 4096
# What decompressing raises for damaged data; bz2 an OSError without a number.
_DECOMPRESSION_ERRORS = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, pa.ArrowInvalid)


class DamagedListError(Exception):
    """A list can't be read further."""


@contextlib.contextmanager
def open_list(uri: str, copy: bool = True) -> Iterator[BinaryIO]:
    """Opens a list for reading.

    Args:
      uri: absolute path or URI.
      copy: whether an http(s) list is copied to a temporary file first, because a pipeline may read it for hours;
        otherwise it's read from the connection, which can't seek.

    Raises:
      InputError: if an http(s) list can't be fetched, or read further.
    """
    if is_in_store(uri):
        with open_to_read(uri) as file:
            yield file
        return
    if not is_http(uri):
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        return
    with contextlib.ExitStack() as stack:
        try:
            with HttpStream(uri, LIST_POLICY) as stream:
                if not copy:
                    yield stream  # pyright: ignore[reportReturnType]  as_text takes it
                    return
                file = stack.enter_context(tempfile.TemporaryFile(prefix="labelbeam-list-"))
                shutil.copyfileobj(stream, file, _COPY_BYTES)
        except StorageError as error:
            raise InputError(f"list {redact(uri)}: can't be fetched ({error.message})") from error
        file.seek(0)
        yield file


def as_text(file: Any, uri: str) -> TextIO:
    """A list's text, decompressed.

    Raises:
      InputError: if it isn't text.
      DamagedListError: if its start can't be decompressed.
    """
    buffered: Any = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, _COPY_BYTES)
    head = buffered.peek(_SNIFF_BYTES)
    for magic, decompress in _DECOMPRESS.items():
        if head.startswith(magic):
            buffered = io.BufferedReader(decompress(buffered), _COPY_BYTES)
            with as_damage():
                head = buffered.peek(_SNIFF_BYTES)
            break
    if b"\0" in head[:_SNIFF_BYTES]:
        raise InputError(
            f"list {uri}: expected text in UTF-8, found zero bytes: a binary file, or UTF-16, to be saved as UTF-8"
        )
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Zstd(io.RawIOBase):
    """Decompresses zstd. Arrow has it, Python before 3.14 doesn't."""

    def __init__(self, file: io.IOBase):
        self._stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


_DECOMPRESS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": _Zstd,
}


class Lines:
    """The lines of a text, none longer than `MAX_LINE`. After any error it goes on with the next line.

    Attributes:
      number: of the line read last, from 1.
    """

    def __init__(self, text: TextIO):
        self._text = text
        self.number = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        """The next line.

        Raises:
          ValueError: if it is too long; it is passed over.
          DamagedListError: if nothing more can be read.
        """
        with as_damage():
            line = self._text.readline(MAX_LINE)
            if not line:
                raise StopIteration
            self.number += 1
            if len(line) == MAX_LINE and not line.endswith("\n"):
                while len(rest := self._text.readline(MAX_LINE)) == MAX_LINE and not rest.endswith("\n"):
                    pass
                raise ValueError(f"longer than {MAX_LINE:,} characters")
        return line


@contextlib.contextmanager
def as_damage() -> Iterator[None]:
    """Raises what decompressing raises for damaged data as `DamagedListError`; a storage's own errors pass."""
    try:
        yield
    except _DECOMPRESSION_ERRORS as error:
        raise DamagedListError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedListError(f"{type(error).__name__}: {error}") from error
