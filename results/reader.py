"""A label set from Python: its tables as Arrow, pandas or DuckDB, its masks as arrays.

    label_set = open_label_set("gs://bucket/out")
    for batch in label_set.batches("detections", ["class_name", "score"]): ...
    label_set.pandas("images", filters=pyarrow.compute.field("status") == "failed")
    label_set.duckdb("detections").aggregate("class_name, count(*)")
    label_set.mask(row["mask_ref"])                                            # bool [height, width]

All commands that read tables do it through this module. It needs neither TensorFlow nor Beam.
"""

import io
import itertools
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from ..labelset import parts
from ..labelset.counting import counting_parts
from ..labelset.label_set_file import read_label_set_file
from ..labelset.masks import decode_rle
from ..labelset.part_files import damaged, ids_of_groups
from ..labelset.schemas import TABLES
from ..storage import files
from ..storage.errors import UsageError
from ..storage.uris import is_local, join

if TYPE_CHECKING:
    import duckdb
    import pandas


def open_label_set(path: str) -> "LabelSet":
    """Opens the output folder of `labelbeam label`, on disk or in a store.

    What is read is the snapshot of this moment: parts that jobs add later aren't seen.

    Args:
      path: the output folder.

    Returns:
      The label set: its tables as Arrow, pandas or DuckDB, its masks as bool arrays `[height, width]`.

    Raises:
      UsageError: if it's no folder of a label set, or one that a newer labelbeam wrote.

    Example:
      >>> label_set = labelbeam.open_label_set("out")
      >>> label_set.arrow("images", ["status"])["status"].to_pylist()
      ['ok', 'ok', 'ok']
    """
    path = path.rstrip("/") or path
    settings = read_label_set_file(path).get("settings", {})
    return LabelSet(path, settings, counting_parts(path))


@dataclass(frozen=True)
class LabelSet:
    """The tables of one label set; nothing is read before it's asked for.

    Attributes:
      path: the output folder.
      settings: what decided the labels (detector, label map, thresholds, …), JSON types.
      parts: which tables each part that counts has, by the part's stem.
    """

    path: str
    settings: Mapping[str, Any]
    parts: Mapping[str, Collection[str]]

    def files(self, table: str = "images") -> list[str]:
        """Paths of a table's Parquet files; empty if this label set has no such table.

        Raises:
          UsageError: if no label set has.
        """
        _check_table(table)
        return [parts.part_path(self.path, table, stem) for stem, tables in self.parts.items() if table in tables]

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A table's rows in portions, file after file: memory doesn't grow with the table.

        Args:
          table: `images`, `detections`, `masks` or `tensors`.
          columns: all if None.

        Raises:
          UsageError: if there's no such table or column, or a file is damaged or gone.
        """
        names = _check_columns(table, columns)
        for stem in self.parts:
            yield from self.part_batches(stem, table, names)

    def arrow(self, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None) -> pa.Table:
        """A whole table.

        Args:
          table: `images`, `detections`, `masks` or `tensors`.
          columns: all if None.
          filters: which rows, such as `pyarrow.compute.field("score") > 0.5`; files are read one at a time.

        Raises:
          UsageError: as `batches`.
        """
        names = _check_columns(table, columns)
        found = [self.part(stem, table, names, filters) for stem in self.parts]
        return pa.concat_tables([_empty(table, names), *(rows.replace_schema_metadata(None) for rows in found)])

    def pandas(
        self, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
    ) -> "pandas.DataFrame":
        """Like `arrow`, as a `pandas.DataFrame`."""
        return self.arrow(table, columns, filters).to_pandas()

    def duckdb(self, table: str, connection: "duckdb.DuckDBPyConnection | None" = None) -> "duckdb.DuckDBPyRelation":
        """A table as a DuckDB relation, to be queried. Of a label set in a store, the table is read into memory first.

        Args:
          table: as in `batches`.
          connection: DuckDB's default one if None.

        Raises:
          UsageError: as `batches`.
        """
        import duckdb

        connection = connection or duckdb.default_connection()
        paths = self.files(table)
        if paths and is_local(self.path):
            # What DuckDB takes for wildcards are literal letters of a folder's name here.
            return connection.read_parquet([_escape_glob(path) for path in paths], union_by_name=True)
        return connection.from_arrow(self.arrow(table))

    def mask(self, mask_ref: str) -> np.ndarray:
        """The mask that a detection's `mask_ref` names, bool `[height, width]`; `masks` is faster for many.

        Raises:
          KeyError: if this label set has no such mask.
          DamagedPartError: if it's a file that is gone or damaged.
        """
        for _, mask in self.masks([mask_ref]):
            return mask
        raise KeyError(f"{self.path} has no mask {mask_ref!r}")

    def masks(self, mask_refs: Iterable[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """(mask_ref, mask) of those masks, or of all, in the table's order; decoded one at a time.

        Raises:
          DamagedPartError: if one is a file that is gone or damaged.
        """
        filters = None if mask_refs is None else pc.field("mask_ref").isin(pa.array(mask_refs, pa.string()))
        columns = ["mask_ref", "counts", "height", "width"]
        for stem in self.parts:
            batches = (
                self.part_batches(stem, "masks", columns)
                if filters is None
                else self.part(stem, "masks", columns, filters).to_batches()
            )
            for batch in batches:
                for row in batch.to_pylist():
                    yield row["mask_ref"], decode_mask(row, self.path)

    def part(self, stem: str, table: str, columns: Sequence[str], filters: pc.Expression | None = None) -> pa.Table:
        """One part's rows of a table; no rows if the part has no such table."""
        if table not in self.parts[stem]:  # a label set without masks has no such table
            return _empty(table, columns)
        return parts.read_part(self.path, stem, table, columns, filters)

    def part_batches(self, stem: str, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """One part's rows of a table, in portions."""
        if table in self.parts[stem]:
            yield from parts.iter_part(self.path, stem, table, columns)

    def portions(self, stem: str) -> list[pc.Expression | None]:
        """Filters for portions of a part that are read in one go, all tables' rows of the same images in one portion:
        the row groups of its file of `images`. None for all of it, where they don't tell their ids."""
        found = ids_of_groups(parts.part_path(self.path, "images", stem))
        known = [ids for ids in found if ids is not None]
        apart = len(known) == len(found) and all(a[1] < b[0] for a, b in itertools.pairwise(known))
        if not apart or len(known) < 2:
            return [None]
        return [(pc.field("image_id") >= first) & (pc.field("image_id") <= last) for first, last in known]

    def num_images(self, stem: str) -> int:
        """Rows of `images` in a part, from its footer."""
        return parts.count_rows(self.path, stem)

    def check_not_empty(self) -> None:
        """Raises `UsageError` if no image has been labelled yet."""
        if not any(self.num_images(stem) for stem in self.parts):
            raise UsageError(
                f"{self.path}: no labelled images; no job has finished a part yet (`labelbeam status {self.path}`)"
            )


def decode_mask(row: Mapping[str, Any], output: str) -> np.ndarray:
    """The mask of a row of `masks`, bool `[height, width]`.

    Args:
      row: with `counts`, `height`, `width`, `mask_ref`: of Arrow, pandas or DuckDB.
      output: the output folder, for masks that are PNG files.

    Raises:
      DamagedPartError: if it's a file that is gone or damaged.
      ValueError: if it's no run-length encoding of an image of this size.
    """
    if isinstance(row["counts"], str):
        return decode_rle(row["counts"], int(row["height"]), int(row["width"]))
    return read_mask_file(output, row["mask_ref"])


def read_mask_file(output: str, mask_ref: str) -> np.ndarray:
    """A mask that is a PNG file, bool `[height, width]`.

    Raises:
      DamagedPartError: if it's gone, or no PNG any more.
    """
    path = join(output, mask_ref)
    try:
        with Image.open(io.BytesIO(files.read(path)), formats=["PNG"]) as file:
            return np.asarray(file, bool)
    except FileNotFoundError as error:
        raise damaged(path, "no such file", output) from error
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise damaged(path, "no PNG image", output) from error
    except OSError as error:
        if error.errno is not None:  # of the filesystem; Pillow's own have no number
            raise
        raise damaged(path, str(error), output) from error


def _check_table(table: str) -> None:
    if table not in TABLES:
        raise UsageError(f"table {table!r}: expected one of {', '.join(TABLES)}")


def _check_columns(table: str, columns: Sequence[str] | None) -> list[str]:
    _check_table(table)
    known = TABLES[table].names
    if columns is None:
        return known
    if unknown := set(columns) - set(known):
        raise UsageError(f"table {table} has no column {', '.join(sorted(unknown))}; it has: {', '.join(known)}")
    return list(columns)


def _empty(table: str, columns: Sequence[str]) -> pa.Table:
    return pa.schema([TABLES[table].field(name) for name in columns]).empty_table()


def _escape_glob(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
