"""An output folder from Python: its tables as Arrow or pandas, masks as arrays, what a `mask_ref` stands for.

    labels = open_tables("gs://bucket/out")
    for batch in labels.batches("detections", ["class_name", "score"]): ...
    labels.pandas("images", filters=pyarrow.compute.field("status") == "failed")
    labels.mask(row["mask_ref"])                                            # bool [height, width]

On a disk or any store that jobs write to; parts that a killed job left unfinished don't count. Nothing is read before it's asked
for. Not for queries over everything: DuckDB reads the folders as they are, faster (docs/tables.md).
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from ..labelset.label_set_file import read_label_set_file
from ..labelset.masks import decode_rle
from ..labelset.parts import finished_parts, iter_file, part_path
from ..labelset.schemas import TABLES
from ..storage import files as output_files
from ..storage.errors import UsageError
from ..storage.uris import join


def open_tables(output: str) -> "LabelTables":
    """Opens the output folder of `labelbeam label`.

    Raises:
      UsageError: if it's no folder of a label set.
    """
    return LabelTables(output.rstrip("/"), read_label_set_file(output)["settings"])


@dataclass(frozen=True)
class LabelTables:
    """The tables of one label set.

    Attributes:
      output: the output folder.
      settings: what decides the labels: detector, label map, thresholds (see `Labelling.settings`).
    """

    output: str
    settings: Mapping[str, Any]

    def parts(self, table: str = "images") -> list[str]:
        """Paths of a table's files, those of finished parts; empty if the label set has no such table.

        Raises:
          UsageError: if no label set has.
        """
        if table not in TABLES:
            raise UsageError(f"table {table!r}: expected one of {', '.join(TABLES)}")
        return [
            part_path(self.output, table, stem) for stem, found in finished_parts(self.output).items() if table in found
        ]

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A table's rows in portions, file after file: memory doesn't grow with the table."""
        for path in self.parts(table):
            yield from iter_file(path, self._columns(table, columns))

    def arrow(self, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None) -> pa.Table:
        """A whole table.

        Args:
          table: `images`, `detections`, `masks` or `tensors`.
          columns: all if None.
          filters: which rows, such as `pyarrow.compute.field("score") > 0.5`; files are read one at a time.

        Raises:
          UsageError: if there's no such table or column.
        """
        names = self._columns(table, columns)
        empty = pa.schema([TABLES[table].field(name) for name in names]).empty_table()
        return pa.concat_tables([empty, *(_read(path, names, filters) for path in self.parts(table))])

    def pandas(self, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None):
        """Likewise, as a `pandas.DataFrame`."""
        return self.arrow(table, columns, filters).to_pandas()

    def mask(self, mask_ref: str) -> np.ndarray:
        """The mask that a detection's `mask_ref` names, bool `[height, width]`.

        Looks for its row, part by part: for many, `masks`.

        Raises:
          KeyError: if this label set has no such mask.
          FileNotFoundError: if it's a file that is gone.
        """
        for _, mask in self.masks([mask_ref]):
            return mask
        raise KeyError(f"{self.output} has no mask {mask_ref!r}")

    def masks(self, mask_refs: Iterable[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """(mask_ref, mask) of those masks, or of all, in the table's order; decoded one at a time.

        Raises:
          FileNotFoundError: if one is a file that is gone.
        """
        filters = None if mask_refs is None else pc.field("mask_ref").isin(pa.array(mask_refs, pa.string()))
        for path in self.parts("masks"):
            for batch in _read(path, ["mask_ref", "counts", "height", "width"], filters).to_batches():
                for row in batch.to_pylist():
                    yield row["mask_ref"], decode_mask(row, self.output)

    def _columns(self, table: str, columns: Sequence[str] | None) -> list[str]:
        if table not in TABLES:
            raise UsageError(f"table {table!r}: expected one of {', '.join(TABLES)}")
        if columns is None:
            return TABLES[table].names
        if unknown := set(columns) - set(TABLES[table].names):
            raise UsageError(
                f"table {table} has no column {', '.join(sorted(unknown))}; it has: {', '.join(TABLES[table].names)}"
            )
        return list(columns)


def decode_mask(row: Mapping[str, Any], output: str) -> np.ndarray:
    """The mask of a row of `masks`, bool `[height, width]`.

    Args:
      row: with `counts`, `height`, `width`, `mask_ref`: of Arrow, pandas or DuckDB.
      output: the output folder, for masks that are PNG files.

    Raises:
      FileNotFoundError: if it's a file that is gone.
      ValueError: if it's no run-length encoding of an image of this size.
    """
    if isinstance(row["counts"], str):
        return decode_rle(row["counts"], int(row["height"]), int(row["width"]))
    return read_mask_file(output, row["mask_ref"])


def read_mask_file(output: str, mask_ref: str) -> np.ndarray:
    """A mask that is a PNG file, bool `[height, width]`.

    Raises:
      FileNotFoundError: if it's gone.
    """
    with Image.open(io.BytesIO(output_files.read(join(output, mask_ref)))) as file:
        return np.asarray(file, bool)


def _read(path: str, columns: list[str], filters: pc.Expression | None) -> pa.Table:
    with output_files.open_to_read(path) as file:
        return pq.read_table(file, columns=columns, filters=filters).replace_schema_metadata()
