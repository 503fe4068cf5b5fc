"""Opens lists: from disks, stores and servers, plain or compressed, as lines of bounded length."""

import bz2
import contextlib
import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa
import urllib3
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from urllib3.util import parse_url

from ...storage import object_stores
from ...storage.proxies import new_pool_manager, proxy_for
from ...storage.redaction import redact, redact_urllib3_logs
from ...storage.uris import is_http, is_in_store
from .inputs import InputError

MAX_LINE = 1 << 24  # characters; also of a cell of CSV

_COPY_BYTES = 1 << 20
_SNIFF_BYTES = 4096
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
RETRIES = urllib3.Retry(
    total=5, backoff_factor=0.5, backoff_jitter=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
)
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
    """
    if is_in_store(uri):
        with object_stores.open_to_read(uri) as file:
            yield file
        return
    if not is_http(uri):
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        return
    redact_urllib3_logs()
    shown = redact(uri)
    with contextlib.ExitStack() as stack:
        try:
            pool = stack.enter_context(new_pool_manager(proxy_for(parse_url(uri)), timeout=_TIMEOUT, retries=RETRIES))
            response = stack.enter_context(contextlib.closing(pool.request("GET", uri, preload_content=False)))
            if response.status != 200:
                raise InputError(
                    f"list {shown}: the server answered {response.status} {response.reason or ''}".rstrip()
                )
            if not copy:
                response.auto_close = False  # pyright: ignore[reportAttributeAccessIssue]  HTTPResponse has it
                # Else the wrappers around it would find it closed at its end.
                yield cast(BinaryIO, response)
                return
            file = stack.enter_context(tempfile.TemporaryFile(prefix="labelbeam-list-"))
            for chunk in response.stream(_COPY_BYTES):
                file.write(chunk)
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"list {shown}: can't be fetched ({redact(str(error))})") from error
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
