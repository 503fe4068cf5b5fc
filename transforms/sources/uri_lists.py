"""Reads lists of URIs, one entry after the other, in bounded memory: `.txt`, `.csv`, `.jsonl` and `.parquet`.

- `.txt`: one entry a line, without surrounding blanks; blank lines and lines that begin with `#` are skipped. A `#`
  further on belongs to the URI.
- `.csv`: comma-separated with a header and double quotes (RFC 4180), the entry in column `uri_column`.
- `.jsonl`: on each line an object with the key `uri_column`, or a bare string; blank lines are skipped.
- `.parquet`: the string column `uri_column`.

Text is UTF-8, with or without a byte order mark, plain or compressed (gzip, bzip2, xz: told by their first bytes);
bytes that aren't UTF-8 become lone surrogates, as in Python's file names, so that oddly named files are found. A list
that is damaged half-way fails the job with file and line, since skipping the rest would lose images. One file is read
by one worker: give a list of hundreds of millions of entries as several files. Not for containers, which hold the
images themselves.
"""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from urllib3.util import parse_url

from ...storage.proxies import new_pool_manager, proxy_for
from ...storage.redaction import redact, redact_urllib3_logs
from ...storage.uris import is_http
from .inputs import Format, InputError, ListOptions

_BATCH_ROWS = 1 << 14
_COPY_BYTES = 1 << 20
_SNIFF_BYTES = 4096
_DECOMPRESS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_RETRIES = urllib3.Retry(
    total=5, backoff_factor=0.5, backoff_jitter=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
)


def read_entries(uri: str, file_format: Format, options: ListOptions) -> Iterator[str]:
    """Yields the entries of a list, as they stand there; an empty string for a row whose cell is empty or null.

    Args:
      uri: absolute path or URI of the list; http(s) lists are copied to a temporary file first.
      file_format: `txt`, `csv`, `jsonl` or `parquet`.
      options: names the column.

    Raises:
      InputError: if the list lacks the column, isn't what its name says, or is damaged; names the list and the place.
    """
    with open_list(uri) as file:
        yield from parse_entries(file, uri, file_format, options)


def parse_entries(file: BinaryIO, uri: str, file_format: Format, options: ListOptions) -> Iterator[str]:
    """Like `read_entries`, of an opened list; all but Parquet are read from the start to the end, without seeking."""
    uri = redact(uri)  # from here on for messages
    if file_format == "parquet":
        yield from _parquet_entries(file, uri, options.uri_column)
        return
    parse = {"txt": _txt_entries, "csv": _csv_entries, "jsonl": _jsonl_entries}[file_format]
    try:
        yield from parse(_text(file, uri), uri, options.uri_column)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"list {uri}: can't be read to its end ({type(error).__name__}: {error})") from error


@contextlib.contextmanager
def open_list(uri: str, copy: bool = True) -> Iterator[BinaryIO]:
    """Opens a list for reading.

    Args:
      uri: absolute path or URI.
      copy: whether an http(s) list is copied to a temporary file first, because a pipeline may read it for hours;
        otherwise it's read from the connection, which can't seek.
    """
    if not is_http(uri):
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        return
    redact_urllib3_logs()
    shown = redact(uri)
    with contextlib.ExitStack() as stack:
        try:
            pool = stack.enter_context(new_pool_manager(proxy_for(parse_url(uri)), timeout=_TIMEOUT, retries=_RETRIES))
            response = stack.enter_context(contextlib.closing(pool.request("GET", uri, preload_content=False)))
            if response.status != 200:
                raise InputError(
                    f"list {shown}: the server answered {response.status} {response.reason or ''}".rstrip()
                )
            if not copy:
                response.auto_close = False  # else the wrappers around it would find it closed at its end
                yield response
                return
            file = stack.enter_context(tempfile.TemporaryFile(prefix="labelbeam-list-"))
            for chunk in response.stream(_COPY_BYTES):
                file.write(chunk)
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"list {shown}: can't be fetched ({redact(str(error))})") from error
        file.seek(0)
        yield file


def _text(file: BinaryIO, uri: str) -> TextIO:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, _COPY_BYTES)
    head = buffered.peek(_SNIFF_BYTES)
    for magic, decompress in _DECOMPRESS.items():
        if head.startswith(magic):
            buffered = io.BufferedReader(decompress(buffered), _COPY_BYTES)
            head = buffered.peek(_SNIFF_BYTES)
    if b"\0" in head[:_SNIFF_BYTES]:
        raise InputError(
            f"list {uri}: expected text in UTF-8, found zero bytes: a binary file, or UTF-16, to be saved as UTF-8"
        )
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _txt_entries(lines: TextIO, uri: str, uri_column: str) -> Iterator[str]:
    for line in lines:
        entry = line.strip()
        if entry and not line.startswith("#"):
            yield entry


def _csv_entries(lines: TextIO, uri: str, uri_column: str) -> Iterator[str]:
    rows = csv.reader(lines, strict=True)  # not strict, a stray quote would swallow the rows behind it
    try:
        header = next(rows, [])
        if uri_column not in header:
            raise _missing(uri, uri_column, header)
        column = header.index(uri_column)
        for row in rows:
            if not row:
                continue  # a blank line
            if len(row) <= column:
                raise InputError(f"list {uri}, line {rows.line_num}: expected {len(header)} columns, found {len(row)}")
            yield row[column]
    except csv.Error as error:
        raise InputError(
            f"list {uri}, line {rows.line_num}: not valid CSV ({error}); fields with commas, quotes or "
            "line ends need double quotes around them, and their own quotes doubled"
        ) from error


def _jsonl_entries(lines: TextIO, uri: str, uri_column: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"list {uri}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON ({error})") from error
        if isinstance(value, dict):
            if uri_column not in value:
                raise _missing(where.removeprefix("list "), uri_column, value)
            value = value[uri_column]
        if value is not None and not isinstance(value, str):
            raise InputError(
                f"{where}: expected a URI, or an object with the key {uri_column!r} and a URI, got "
                f"{type(value).__name__}"
            )
        yield value or ""


def _parquet_entries(file: BinaryIO, uri: str, uri_column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_COPY_BYTES) as parquet:
            if uri_column not in parquet.schema_arrow.names:
                raise _missing(uri, uri_column, parquet.schema_arrow.names)
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=[uri_column]):
                column = batch.column(0)
                if not _is_string(column.type):
                    raise InputError(f"list {uri}: column {uri_column!r}: expected strings, got {column.type}")
                yield from (entry or "" for entry in column.to_pylist())
    except pa.ArrowInvalid as error:
        raise InputError(f"list {uri}: not a Parquet file, or damaged ({error})") from error


def _is_string(column_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(column_type):
        column_type = column_type.value_type
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(column_type) for is_kind in kinds)


def _missing(where: str, uri_column: str, columns) -> InputError:
    found = ", ".join(map(repr, columns)) or "none"
    return InputError(
        f"list {where}: no column {uri_column!r}; found {found}. Name the column with the URIs with --uri-column"
    )
