"""Reads lists of URIs, one entry after the other, in bounded memory.

- `.txt`: one entry a line; blank lines and lines that begin with `#` are skipped. A `#` further on belongs to the URI.
- `.csv`, `.tsv`: with a header and double quotes (RFC 4180), the entry in column `uri_column`.
- `.jsonl`, `.ndjson`: on each line an object with the key `uri_column`, or a bare string; blank lines are skipped.
- `.parquet`: the string column `uri_column`.

Blanks and line ends around an entry don't belong to it. Text is UTF-8, with or without a byte order mark, plain or
compressed (gzip, bzip2, xz, zstd: told by their first bytes); bytes that aren't UTF-8 become lone surrogates, as in
Python's file names, so that oddly named files are found. One file is read by one worker: give a list of hundreds of
millions of entries as several files.

A row that makes no sense becomes a reference with a `problem`, and so does the place where a list can't be read on.
"""

import csv
import json
import string
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ...storage.redaction import redact_name
from ...storage.uris import absolute, is_local, resolve, written_here
from ..elements import ImageReference
from .inputs import Format, InputError, ListOptions, name_of_list
from .list_files import MAX_LINE, DamagedListError, Lines, as_text, open_list

_BATCH_ROWS = 1 << 14
_BUFFER_BYTES = 1 << 20
_BLANKS = string.whitespace + "\x85\xa0\u2028\u2029\u3000\ufeff\u200b"  # what is copied along around a URI

# A limit of the whole process, of 131,072 characters a cell; captions and base64 are longer.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))


class _Problem(NamedTuple):
    """A place that makes no sense, and why."""

    place: str
    message: str


class _Row(NamedTuple):
    """An entry, and the values of its row that are to come along."""

    entry: str | None
    carried: tuple[Any, ...]


_Entries = Iterator[str | _Row | _Problem | None]  # None: no URI in the row


def read_entries(uri: str, file_format: Format, options: ListOptions) -> Iterator[ImageReference | None]:
    """Yields the images that a list names; None for a row whose cell is empty or null.

    Args:
      uri: absolute path or URI of the list; http(s) lists are copied to a temporary file first.
      file_format: `txt`, `csv`, `tsv`, `jsonl` or `parquet`.
      options: names the column, and says where relative entries start.

    Raises:
      InputError: if the list lacks the column or isn't what its name says; names it.
    """
    with open_list(uri) as file:
        yield from parse_entries(file, uri, file_format, options)


def parse_entries(
    file: BinaryIO, uri: str, file_format: Format, options: ListOptions
) -> Iterator[ImageReference | None]:
    """Like `read_entries`, of an opened list; all but Parquet are read from the start to the end, without seeking."""
    name = name_of_list(uri)
    shown = redact_name(name)
    if file_format == "parquet":
        entries = _parquet_entries(file, shown, options)
    else:
        entries = _text_entries(file, shown, file_format, options)
    for entry in entries:
        carried = ()
        if isinstance(entry, _Row):
            entry, carried = entry
        if isinstance(entry, str):
            entry = entry.strip(_BLANKS)
        if not entry:
            yield None
        elif isinstance(entry, str) and (problem := _why_not(entry)) is None:
            yield ImageReference(_meant(entry, uri, options.uri_prefix), listed_as=entry, carried=carried)
        else:
            place, message = entry if isinstance(entry, _Problem) else (redact_name(entry), problem)
            yield ImageReference(f"{name}#{_plain(place)}", problem=f"list {shown}, {_plain(place)}: {message}")


def _why_not(entry: str) -> str | None:
    """Why an entry is no URI; None for one that may be."""
    if any("\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff" for character in entry):
        return "holds half of a surrogate pair, which is no character"
    if "\0" in entry:
        return "holds a zero byte"
    if ours := written_here(entry):
        return f"write {ours}: {entry.partition(':')[0]}:// is not known here"
    return None


def _plain(place: str) -> str:
    return place.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _meant(entry: str, list_uri: str, prefix: str | None) -> str:
    """The URI that an entry stands for."""
    if prefix is not None and is_local(entry) and not entry.startswith("/"):
        return absolute(prefix + entry)
    return resolve(entry, list_uri)


def _text_entries(file: BinaryIO, uri: str, file_format: Format, options: ListOptions) -> _Entries:
    lines = None
    try:
        lines = Lines(as_text(file, uri))
        if file_format == "txt":
            yield from _txt_entries(lines)
        elif file_format == "jsonl":
            yield from _jsonl_entries(lines, uri, options)
        else:
            yield from _csv_entries(lines, uri, options, "\t" if file_format == "tsv" else ",")
    except DamagedListError as error:
        after = f"after line {lines.number}" if lines is not None else "from its start"
        yield _Problem(after, f"can't be read to its end ({error}); what it names further on is unknown")


def _each(rows: Iterator[Any], place: Callable[[], str]) -> Iterator[Any]:
    """The items of an iterator that goes on after errors; a `_Problem` for each error."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except (ValueError, csv.Error) as error:
            yield _Problem(place(), str(error))


def _txt_entries(lines: Lines) -> _Entries:
    for line in _each(lines, lambda: f"line {lines.number}"):
        if isinstance(line, _Problem) or (line.strip() and not line.startswith("#")):
            yield line


def _csv_entries(lines: Lines, uri: str, options: ListOptions, delimiter: str) -> _Entries:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)  # not strict, a stray quote would swallow rows behind it
    try:
        header = next(rows, [])
    except (ValueError, csv.Error) as error:
        raise InputError(f"list {uri}, line {lines.number}: not valid CSV ({error})") from error
    if options.uri_column not in header:
        raise _missing(uri, options.uri_column, header)
    column = header.index(options.uri_column)
    carried = [header.index(name) if name in header else len(header) for name in options.carry]
    for row in _each(rows, lambda: f"line {lines.number}"):
        if isinstance(row, _Problem):
            yield row._replace(
                message=f"not valid CSV ({row.message}); fields with commas, quotes or line ends need double quotes "
                "around them, and their own quotes doubled"
            )
        elif len(row) > column:
            yield _Row(row[column], tuple(row[place] if place < len(row) else None for place in carried))
        elif row:  # else a blank line
            yield _Problem(f"line {lines.number}", f"expected {len(header)} columns, found {len(row)}")


def _jsonl_entries(lines: Lines, uri: str, options: ListOptions) -> _Entries:
    uri_column, has_column = options.uri_column, False
    for line in _each(lines, lambda: f"line {lines.number}"):
        if isinstance(line, _Problem):
            yield line
        elif line.strip():
            try:
                value = json.loads(line, parse_int=_number)
            except (ValueError, RecursionError) as error:
                yield _Problem(f"line {lines.number}", f"not valid JSON ({error})")
                continue
            carried = ()
            if isinstance(value, dict):
                carried = tuple(value.get(name) for name in options.carry)
                if uri_column not in value and not has_column:
                    raise _missing(f"{uri}, line {lines.number}", uri_column, value)
                has_column, value = True, value.get(uri_column)
            if value is None or isinstance(value, str):
                yield _Row(value, carried)
            else:
                yield _Problem(
                    f"line {lines.number}",
                    f"expected a URI, or an object with the key {uri_column!r} and a URI, got {type(value).__name__}",
                )


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 1000 else float(digits)  # Python refuses numbers of thousands of digits


def _parquet_entries(file: BinaryIO, uri: str, options: ListOptions) -> _Entries:
    uri_column, row = options.uri_column, 0
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
            if uri_column not in parquet.schema_arrow.names:
                raise _missing(uri, uri_column, parquet.schema_arrow.names)
            column_type = parquet.schema_arrow.field(uri_column).type
            if not _is_string(column_type):
                raise InputError(f"list {uri}: column {uri_column!r}: expected strings, got {column_type}")
            names = [name for name in options.carry if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(dict.fromkeys([uri_column, *names]))):
                columns = {name: values_of(batch.column(name)) for name in {uri_column, *names}}
                carried = zip(*(columns.get(name, [None] * batch.num_rows) for name in options.carry))
                for value, values in zip(columns[uri_column], carried if options.carry else repeat(())):
                    yield _Row(value, values)
                row += batch.num_rows
    except pa.ArrowInvalid as error:
        if not row:
            raise InputError(f"list {uri}: not a Parquet file, or damaged ({error})") from error
        yield _Problem(f"after row {row}", f"damaged ({error}); what it names further on is unknown")


def values_of(column: pa.Array) -> list[Any]:
    """A column's values; text with lone surrogates for what isn't UTF-8, since writers don't always see to it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_string(column.type):
        return column.to_pylist()
    in_bytes = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
    return [None if value is None else value.decode("utf-8", "surrogateescape") for value in in_bytes.to_pylist()]


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
