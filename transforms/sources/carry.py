"""Columns of lists and containers that come along into the table `images`: types, found before a job, and values."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ...labelset.schemas import IMAGES
from ...storage.redaction import redact, without_credentials
from ...storage.uris import absolute, as_text
from .containers import index_members
from .find_files import FoundFile, find_files
from .inputs import CONTAINERS, TEXT_LISTS, Format, InputError, ListOptions
from .list_files import open_list
from .uri_lists import read_entries

CarriedType = Literal["string", "int64", "double", "bool"]
CARRIED_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}

_SAMPLED_ROWS = 1000  # of JSON lines, which don't say their types
_SAMPLED_IMAGES = 100  # of tar and TFRecord containers, likewise
_FILES_LOOKED_AT = 10_000  # of a folder, for a container
_TYPED: frozenset[Format] = (TEXT_LISTS | CONTAINERS) - {"txt", "video"}
_INT64 = range(-(1 << 63), 1 << 63)


def find_types(inputs: Sequence[str], options: ListOptions) -> dict[str, CarriedType]:
    """The type of each column of `options.carry`, as the lists and containers among the inputs have them.

    Columns of CSV are strings, those of Parquet what they are there, those of JSON lines what the first 1,000 rows
    hold, features of TFRecord files and keys of a WebDataset's `.json` files what those of the first 100 images hold.
    What differs between inputs, or is neither text, number nor truth value, is a string.

    Raises:
      InputError: if none has such a column, or `images` has one of that name of its own.
    """
    if taken := sorted(set(options.carry) & set(IMAGES.names)):
        raise InputError(f"--carry {taken[0]}: the table images has a column of this name; rename the list's")
    types: dict[str, set[CarriedType]] = {name: set() for name in options.carry}
    if types:
        for uri in inputs:
            for file in islice(find_files(absolute(uri), options.exclude), _FILES_LOOKED_AT):
                if file.format in _TYPED:
                    for name, kind in _types_in(file, options).items():
                        types[name].add(kind)
                    break  # a glob's other files are taken to be alike
    for name, kinds in types.items():
        if not kinds:
            raise InputError(f"--carry {name}: no list or container among the inputs has this column")
    return {name: kinds.pop() if len(kinds) == 1 else "string" for name, kinds in types.items()}


def as_type(value: Any, kind: CarriedType) -> Any:
    """A list's value as a column of this type holds it; None for what can't be one."""
    if value is None:
        return None
    if kind == "string":
        in_json = isinstance(value, (dict, list, bool))
        text = json.dumps(value, ensure_ascii=False, default=str) if in_json else str(value)
        return without_credentials(as_text(text))
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind == "double":
        return float(value)
    return int(value) if math.isfinite(value) and value == int(value) and int(value) in _INT64 else None


def _types_in(file: FoundFile, options: ListOptions) -> dict[str, CarriedType]:
    """Types of the columns that a list or container has."""
    if file.format == "parquet":
        try:
            with open_list(file.uri) as opened, pq.ParquetFile(opened) as parquet:
                schema = parquet.schema_arrow
        except pa.ArrowInvalid as error:
            raise InputError(f"list {redact(file.uri)}: not a Parquet file, or damaged ({error})") from error
        return {name: _of_arrow(schema.field(name).type) for name in options.carry if name in schema.names}
    if file.format in CONTAINERS:
        first = islice(index_members(file.uri, options), _SAMPLED_IMAGES)
    else:
        first = islice(read_entries(file.uri, file.format, options), _SAMPLED_ROWS)
    rows = [reference.carried for reference in first if reference is not None and reference.carried]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(options.carry)}
    return {name: kind for name, values in columns.items() if (kind := _of_values(values)) is not None}


def _of_arrow(column_type: pa.DataType) -> CarriedType:
    if pa.types.is_boolean(column_type):
        return "bool"
    if pa.types.is_integer(column_type):
        return "int64"
    return "double" if pa.types.is_floating(column_type) else "string"


def _of_values(values: Iterable[Any]) -> CarriedType | None:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return None
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int64"
    return "double" if kinds <= {int, float} else "string"
