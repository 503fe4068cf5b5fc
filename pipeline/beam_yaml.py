"""`LabelImages` for Beam YAML (`configs/beam_yaml.yaml`): rows with a column of URIs in, the tables' rows out."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Optional, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.typehints.row_type import RowTypeConstraint

from ..labelset.schemas import TABLES
from ..storage.errors import UsageError
from .label_images import LabelImages
from .settings import LabelConfig


class LabelRows(beam.PTransform):
    """Labels the images that a column of rows names.

    Args:
      detector: as `LabelConfig` has it.
      column: the column with the URIs.
      settings: other fields of `LabelConfig`, such as `min_score` or `mask_format`.

    Returns:
      A dict of PCollections with schemas, one a table: `images`, `detections`, and `masks` if the detector gives masks.
      Columns are those of docs/tables.md, but `labelled_at`, which is text here (ISO 8601): Beam's own Parquet writer
      knows no timestamps in rows.

    Raises:
      UsageError: if a setting is unknown, or can't be used.

    Example: see examples/label_images.yaml.
    """

    def __init__(self, detector: str, column: str = "uri", **settings: Any):
        super().__init__()
        known = {field.name for field in fields(LabelConfig)} - {"detector"}
        if unknown := settings.keys() - known:
            raise UsageError(f"LabelImages: unknown {', '.join(sorted(unknown))}; expected some of {sorted(known)}")
        self._label = LabelImages(LabelConfig(detector, **settings))
        self._column = column

    def expand(self, rows: beam.PCollection) -> dict[str, beam.PCollection]:
        column = self._column
        uris = rows | "URIs" >> beam.Map(lambda row: str(getattr(row, column))).with_output_types(str)
        tables = cast(dict[str, beam.PCollection], uris | self._label)
        with_schemas = {table: found | f"{table} rows" >> _with_schema(table) for table, found in tables.items()}
        return cast(dict[str, beam.PCollection], with_schemas)


def _with_schema(table: str) -> beam.ParDo:
    """Dicts as rows of a type that runners, Beam SQL and WriteToParquet know."""
    row_type = RowTypeConstraint.from_fields([(column.name, _python_type(column)) for column in TABLES[table]])
    return beam.Map(_row).with_output_types(row_type)


def _row(columns: Mapping[str, Any]) -> beam.Row:
    return beam.Row(
        **{name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    )


def _python_type(column: pa.Field) -> Any:
    if pa.types.is_list(column.type):
        python_type: Any = Sequence[column.type.value_type.to_pandas_dtype()]
    elif pa.types.is_string(column.type) or pa.types.is_timestamp(column.type):
        python_type = str
    elif pa.types.is_binary(column.type):
        python_type = bytes
    else:
        python_type = np.dtype(column.type.to_pandas_dtype()).type
    return Optional[python_type] if column.nullable else python_type  # noqa: UP045 – of a type made at run time
