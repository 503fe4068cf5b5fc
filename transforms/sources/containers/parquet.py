"""Images in Parquet files: a column of encoded images, or of structs with a field `bytes` (Hugging Face datasets).

URIs are `file.parquet#row`, rows counted from 0. Rows whose bytes are null are listed too, and become failed images.

Which Parquet files are containers and which are lists of URIs (`uri_lists.py`)? With `image_column`, all are
containers. Without, a file with the column `uri_column` is a list; else it's a container if exactly one of its columns
holds bytes.
"""

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ....storage.read_options import ReadOptions
from ...elements import ImageError, ImageReference, MemberLocation
from ..inputs import InputError, ListOptions
from ..uri_lists import values_of
from .members import CHUNK_BYTES, CHUNK_IMAGES, open_container

BATCH_BYTES = 8 << 20  # decoded at once
_MAX_BATCH_ROWS = 1024
_KEPT_BATCHES = 4  # fetching threads are a few rows apart
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}  # else a row group's whole column is read at once


def find_image_column(path: str, options: ListOptions) -> str | None:
    """The column with the images, dotted for a struct's field, or None if the file is a list of URIs.

    Raises:
      InputError: if it's no Parquet file, has neither images nor URIs, or it isn't clear which column has the images.
    """
    with open_container(path) as file:
        try:
            with pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
        except pa.ArrowInvalid as error:
            raise InputError(f"input {path}: not a Parquet file, or cut off ({error})") from error
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    images = {field.name: column for field in schema if (column := _bytes_column(field))}
    if options.image_column is not None:
        if options.image_column not in images:
            raise InputError(
                f"input {path}: no column {options.image_column!r} of bytes, or of structs with a field "
                f"`bytes`; found {columns}. {_advice(schema, '--image-column')}"
            )
        return images[options.image_column]
    if options.uri_column in schema.names:
        return None
    if len(images) != 1:
        raise InputError(
            f"input {path}: expected a column {options.uri_column!r} with URIs, or one column of bytes "
            f"with images; found {columns}. {_advice(schema, '--uri-column or --image-column')}"
        )
    return next(iter(images.values()))


def _advice(schema: pa.Schema, options: str) -> str:
    if lists := [field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_large_list(field.type)]:
        return (
            f"Lists aren't read: give each image a row of its own, as pandas' `explode({lists[0]!r})` does, or choose "
            f"another column with {options}"
        )
    return f"Choose it with {options}"


def _bytes_column(field: pa.Field) -> str | None:
    """The dotted name of the column that a field keeps bytes in, or None."""
    if _is_bytes(field.type):
        return field.name
    if pa.types.is_struct(field.type) and (index := field.type.get_field_index("bytes")) >= 0:
        return f"{field.name}.bytes" if _is_bytes(field.type.field(index).type) else None
    return None


def _is_bytes(column_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(column_type):
        column_type = column_type.value_type
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_kind(column_type) for is_kind in kinds)


def index(path: str, column: str, carry: Sequence[str] = ()) -> Iterator[ImageReference]:
    """Yields the rows of a Parquet file; reads its footer only, and the columns that come along.

    Args:
      path: path or URI of the file.
      column: the answer of `find_image_column`.
      carry: columns that come along with each image.
    """
    with open_container(path) as file, pq.ParquetFile(file) as parquet:
        metadata = parquet.metadata
    chunks = itertools.count(-1)
    row, carried = 0, _carried(path, carry)
    for group in range(metadata.num_row_groups):
        rows_per_chunk = min(CHUNK_IMAGES, _rows_within(CHUNK_BYTES, metadata.row_group(group), column))
        for row_in_group in range(metadata.row_group(group).num_rows):
            if row_in_group % rows_per_chunk == 0:
                chunk = next(chunks)
            location = MemberLocation(path, "parquet", row, column=column, chunk=chunk)
            yield ImageReference(f"{path}#{row}", location, carried=next(carried))
            row += 1


def _carried(path: str, carry: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Row after row, the values of columns; None for columns that the file hasn't got."""
    if not carry:
        yield from itertools.repeat(())
    with open_container(path) as file, pq.ParquetFile(file) as parquet:
        there = [name for name in carry if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(_MAX_BATCH_ROWS, columns=there):
            columns = {name: values_of(batch.column(name)) for name in there}
            absent = [None] * len(batch)
            yield from zip(*(columns.get(name, absent) for name in carry), strict=True)


def _rows_within(num_bytes: int, row_group: pq.RowGroupMetaData, column: str) -> int:
    """How many rows of a row group hold about so many bytes in a column; at least 1."""
    chunks = (row_group.column(i) for i in range(row_group.num_columns))
    column_bytes = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
    return max(1, num_bytes * row_group.num_rows // max(1, column_bytes))


class Reader:
    """Reads images out of an open Parquet file. Not thread-safe.

    Rows of a row group are decoded in batches, forwards, and the last batches are kept: rows asked for roughly in order
    are decoded once. A row further back than the kept batches starts its row group again. Holds about 40 MB, and a page
    of the column: about 1 MB, but 1024 rows where Arrow wrote large values with its defaults.
    """

    def __init__(self, path: str, options: ReadOptions = ReadOptions()):
        self._file = open_container(path)
        self._parquet = pq.ParquetFile(self._file, **_STREAMED)
        metadata = self._parquet.metadata
        group_rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._group_ends = list(itertools.accumulate(group_rows))
        self._column = ""
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next_row = 0  # first row of the next batch
        self._stop_row = 0  # end of the row group that is being decoded
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()  # first row -> values

    def read(self, location: MemberLocation) -> bytes | None:
        """The bytes of a row, or None where they are null."""
        where = f"container {location.container}: row {location.offset}, column {location.column!r}"
        num_rows = self._parquet.metadata.num_rows
        if location.offset >= num_rows:
            raise ImageError("truncated", f"{where}: the file has {num_rows} rows; it has changed since it was listed")
        if location.column != self._column:
            self._column, self._stop_row = location.column, 0
            self._kept.clear()
        try:
            return self._value(location.offset)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise  # the storage's own; Arrow's for damaged pages is a bare OSError
            raise ImageError("truncated", f"{where}: can't be read ({error})") from error

    def close(self) -> None:
        self._kept.clear()
        self._parquet.close()
        self._file.close()

    def _value(self, row: int) -> bytes | None:
        for first_row, values in self._kept.items():
            if first_row <= row < first_row + len(values):
                return values[row - first_row].as_py()
        if not self._next_row <= row < self._stop_row:
            self._start_group(bisect.bisect_right(self._group_ends, row))
        while self._next_row <= row:
            first_row, values = self._next_row, _bytes_of(next(self._batches).column(0))
            self._kept[first_row] = values
            self._next_row += len(values)
            if len(self._kept) > _KEPT_BATCHES:
                self._kept.popitem(last=False)
        return values[row - first_row].as_py()

    def _start_group(self, group: int) -> None:
        metadata = self._parquet.metadata.row_group(group)
        rows = min(_rows_within(BATCH_BYTES, metadata, self._column), _MAX_BATCH_ROWS)
        self._batches = self._parquet.iter_batches(rows, row_groups=[group], columns=[self._column])
        self._stop_row = self._group_ends[group]
        self._next_row = self._stop_row - metadata.num_rows
        self._kept = OrderedDict((row, values) for row, values in self._kept.items() if row < self._next_row)


def _bytes_of(values: pa.Array) -> pa.Array:
    return pc.struct_field(values, "bytes") if pa.types.is_struct(values.type) else values
