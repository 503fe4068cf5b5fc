"""What is registered of a label set: the files of the parts that count, table by table, and the columns they have."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from ...labelset.label_set_file import read_label_set_file
from ...labelset.log import read_log
from ...labelset.part_files import read_schema
from ...labelset.parts import Part, part_path
from ...labelset.schemas import TABLES
from ...storage.errors import UsageError

_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class File:
    """One Parquet file. `path` is below the output folder as it was given."""

    path: str
    rows: int
    num_bytes: int


@dataclass(frozen=True)
class Snapshot:
    """A label set at one entry of its log.

    Attributes:
      output: the output folder.
      number: of that entry.
      tables: files by table, each by its name; a table without files isn't among them.
    """

    output: str
    number: int
    tables: Mapping[str, Mapping[str, File]]


@dataclass(frozen=True)
class Registered:
    """What became of one table.

    Attributes:
      table: `images`, `detections`, …
      name: where it's registered.
      added, removed: files that this time was told of.
      files, rows: that it has now.
    """

    table: str
    name: str
    added: int
    removed: int
    files: int
    rows: int


def take_snapshot(output: str) -> Snapshot:
    """The files that count now: what closed jobs wrote, and nothing of one that is at work.

    Raises:
      UsageError: if it's no label set, or no job has closed yet.
    """
    output = output.rstrip("/") or output
    read_label_set_file(output)
    state = read_log(output)
    if not state.parts:
        raise UsageError(f"{output}: nothing to register, no job has closed yet (`labelbeam status {output}`)")
    tables = {table: _files(output, table, state.parts) for table in TABLES}
    return Snapshot(output, state.number, {table: found for table, found in tables.items() if found})


def _files(output: str, table: str, parts: Mapping[str, Part]) -> dict[str, File]:
    found = (
        File(part_path(output, table, stem), part.rows.get(table, 0), num_bytes)
        for stem, part in sorted(parts.items())
        if (num_bytes := part.num_bytes.get(table)) is not None
    )
    return {file.path.rpartition("/")[2]: file for file in found}


def columns_of(table: str, files: Iterable[File]) -> pa.Schema:
    """The columns of these files together, all nullable: an older part lacks those that came later.

    Raises:
      UsageError: if a file is damaged, or two have a column of one name and different types.
    """
    files = list(files)
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        schemas = list(pool.map(lambda file: read_schema(file.path), files))
    together = TABLES[table]
    for file, schema in zip(files, schemas, strict=True):
        try:
            together = pa.unify_schemas([together, schema])
        except pa.ArrowTypeError as error:
            raise UsageError(f"{file.path}: {error}. `labelbeam repair` brings old parts to today's columns") from None
    return pa.schema([pa.field(field.name, field.type) for field in together])
