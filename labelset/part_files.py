"""A part's Parquet files: how they are written, and read without more than is asked for.

Rows lie in the order of image ids, and a file says so; its row groups' statistics tell which ids each of them may hold.
What isn't wanted isn't read: of a file in a store, its end comes first, then the pieces with the columns and row groups
that are asked for.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..storage import files
from ..storage.errors import ResourcesError, UsageError
from .schemas import promoted


class DamagedPartError(UsageError):
    """A part's file is missing, cut short, or not what was written.

    Attributes:
      path: of the file.
      why: what is wrong with it.
    """

    def __init__(self, message: str, path: str, why: str):
        super().__init__(message, path, why)  # so that it can be pickled, and Beam can add to the message
        self.path, self.why = path, why

    def __str__(self) -> str:
        return self.args[0]


def damaged(path: str, why: str, output: str) -> DamagedPartError:
    """The error for a part's file that can't be used."""
    return DamagedPartError(
        f"{path}: damaged ({why}). `labelbeam repair {output}` takes its part out; the next `labelbeam label` labels "
        "the part's images again",
        path,
        why,
    )


def writer(where: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a table whose rows come in the order of image ids.

    Args:
      where: path or stream.
      schema: of the table, with its key-value metadata.
    """
    return pq.ParquetWriter(
        where,
        schema,
        compression="zstd",
        write_page_checksum=True,
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(schema.get_field_index("image_id"))],
    )


def write_file(where: Any, table: pa.Table) -> None:
    """Writes a table, in the order of image ids, as one row group."""
    with writer(where, table.schema) as file:
        file.write_table(table, row_group_size=max(1, len(table)))


def read_file(
    path: str, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """The rows of one of a part's files, with today's columns: those that it hasn't got, being older, are null.

    Raises:
      DamagedPartError: if the file isn't there or can't be read.
    """
    with _opened(path) as file:
        content = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True)
        present = _present(content, columns)
        if filters is None:
            return promoted(table, content.read(present), columns)
        file.seek(0)
        found = pq.read_table(file, columns=present, filters=filters, page_checksum_verification=True)
        return promoted(table, found, columns)


def iter_file(
    path: str, table: str, columns: Sequence[str] | None, wanted: Callable[[str, str], bool] = lambda first, last: True
) -> Iterator[pa.RecordBatch]:
    """Likewise, in portions, row group by row group.

    Args:
      wanted: told the first and the last image id of a row group, where that is known; False leaves it out.
    """
    with _opened(path) as file:
        content = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True)
        present = _present(content, columns)
        for number, ids in enumerate(_ids_of_groups(content.metadata)):
            if ids is None or wanted(*ids):
                for batch in content.iter_batches(row_groups=[number], columns=present):
                    yield from promoted(table, pa.Table.from_batches([batch]), columns).to_batches()


def ids_of_groups(path: str) -> list[tuple[str, str] | None]:
    """The first and the last image id of each row group, None for one that doesn't tell. Raises as `read_file`."""
    with _opened(path) as file:
        return list(_ids_of_groups(pq.read_metadata(file)))


def is_sorted(path: str) -> bool:
    """Whether a file says that its rows lie in the order of image ids. Raises as `read_file`."""
    with _opened(path) as file:
        found = pq.read_metadata(file)
        return all(found.row_group(number).sorting_columns for number in range(found.num_row_groups))


def _ids_of_groups(metadata: pq.FileMetaData) -> Iterator[tuple[str, str] | None]:
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = map(group.column, range(group.num_columns))
        found = next((column.statistics for column in columns if column.path_in_schema == "image_id"), None)
        yield None if found is None or not found.has_min_max else (str(found.min), str(found.max))


def count_file(path: str) -> int:
    """Its rows, from its footer. Raises as `read_file`."""
    with _opened(path) as file:
        return pq.read_metadata(file).num_rows


def read_schema(path: str) -> pa.Schema:
    """The columns of a part's file, from its footer. Raises as `read_file`."""
    with _opened(path) as file:
        return pq.read_schema(file)


def verify_file(path: str, rows: int) -> str | None:
    """Reads all of a file, a row group at a time; what is wrong with it, None if nothing is."""
    try:
        with _opened(path) as file:
            content, found = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True), 0
            for number in range(content.num_row_groups):
                found += sum(batch.num_rows for batch in content.iter_batches(row_groups=[number]))
        return None if found == rows else f"{found:,} rows, expected {rows:,}"
    except DamagedPartError as error:
        return error.why


@contextlib.contextmanager
def _opened(path: str) -> Iterator:
    try:
        with files.open_table(path) as file:
            yield file
    except MemoryError as error:  # Arrow's is an ArrowException, too: a file isn't damaged since this process is full
        raise ResourcesError(errno.ENOMEM, f"{path}: this process has no memory left to read it ({error})") from error
    except (FileNotFoundError, IsADirectoryError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise damaged(path, why, path.rsplit("/", 2)[0]) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:  # of the filesystem; pyarrow's own have no number
            error.filename = error.filename or path
            raise
        raise damaged(path, " ".join(str(error).split()), path.rsplit("/", 2)[0]) from error


def _present(content: pq.ParquetFile, columns: Sequence[str] | None) -> list[str] | None:
    """Those of the columns that a Parquet file has. Raises `KeyError` if it's no table of a label set."""
    names = set(content.schema_arrow.names)
    if "image_id" not in names:  # every table has it
        raise KeyError("it has no column image_id, so it's no table of a label set")
    if columns is None:
        return None
    return [column for column in columns if column in names]
