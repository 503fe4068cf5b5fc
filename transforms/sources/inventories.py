"""Inventories: what lies in a bucket, as its store writes it down once a day, in place of a listing.

S3 Inventory (`manifest.json`, data files of gzipped CSV or Parquet) and the inventory reports of Google's Storage
Insights (`…manifest.json`, data files of CSV or Parquet). A data file holds about a million objects, and is read by one
worker, several side by side.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.parquet as pq

from ...storage import files
from ...storage.errors import UsageError
from ...storage.file_info import FileInfo
from .inputs import InputError
from .list_files import DamagedListError, Lines, as_text, open_list
from .uri_lists import values_of

_S3_COLUMNS = {
    "key": "key",
    "size": "size",
    "lastmodifieddate": "modified",
    "last_modified_date": "modified",
    "etag": "etag",
    "e_tag": "etag",
    "islatest": "is_latest",
    "is_latest": "is_latest",
    "isdeletemarker": "is_delete_marker",
    "is_delete_marker": "is_delete_marker",
}
_GCS_COLUMNS = {"name": "key", "size": "size", "updated": "modified", "etag": "etag", "timedeleted": "deleted"}
_BATCH_ROWS = 1 << 14


@dataclass(frozen=True)
class Shard:
    """A data file of an inventory.

    Attributes:
      uri: of the data file.
      bucket: whose objects it names, as `s3://bucket/`.
      is_parquet: else it is CSV, perhaps compressed.
      columns: of CSV, in their order; empty if its first line names them.
      delimiter: of CSV.
      escaped: whether keys are written as in URLs.
    """

    uri: str
    bucket: str
    is_parquet: bool
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    escaped: bool = False


def read_manifest(uri: str) -> list[Shard]:
    """The data files of an inventory.

    Args:
      uri: of its manifest, absolute path or URI.

    Raises:
      InputError: if it's no manifest, or one of data files that can't be read: names it.
    """
    try:
        manifest = json.loads(files.read(uri))
        if isinstance(manifest, dict) and "fileSchema" in manifest:
            return _shards_of_s3(uri, manifest)
        if isinstance(manifest, dict) and "report_shards_file_names" in manifest:
            return _shards_of_gcs(uri, manifest)
    except UsageError:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"inventory {uri}: its manifest isn't as stores write it ({error!r})") from error
    except ValueError as error:
        raise InputError(f"inventory {uri}: not valid JSON ({error})") from error
    raise InputError(
        f"inventory {uri}: expected the manifest of S3 Inventory or of an inventory report of Google's Storage "
        "Insights. Lists of URIs are .txt, .csv, .tsv, .jsonl and .parquet files"
    )


def _shards_of_s3(uri: str, manifest: Mapping[str, Any]) -> list[Shard]:
    file_format = manifest["fileFormat"]
    if file_format not in ("CSV", "Parquet"):
        raise InputError(
            f"inventory {uri}: its data files are {file_format}, which isn't read. Set the inventory's output format "
            "to CSV or Parquet"
        )
    columns = tuple(name.strip().lower() for name in manifest["fileSchema"].split(",")) if file_format == "CSV" else ()
    if columns and "key" not in columns:
        raise InputError(f"inventory {uri}: its data files have no column Key; found {manifest['fileSchema']}")
    bucket = f"s3://{manifest['sourceBucket']}/"
    folder = f"s3://{manifest['destinationBucket'].rpartition(':')[2]}/"
    return [
        Shard(folder + file["key"], bucket, file_format == "Parquet", columns, escaped=file_format == "CSV")
        for file in manifest["files"]
    ]


def _shards_of_gcs(uri: str, manifest: Mapping[str, Any]) -> list[Shard]:
    config = manifest["report_config"]
    details = config["object_metadata_report_options"]
    bucket = f"gs://{details['storage_filters']['bucket'].rpartition('/')[2]}/"
    fields = tuple(name.lower() for name in details["metadata_fields"])
    if "name" not in fields:
        raise InputError(f"inventory {uri}: its data files have no column name; found {', '.join(fields)}")
    csv_options = config.get("csv_options") or {}
    with_header = csv_options.get("header_required", False)
    folder = uri.rpartition("/")[0]
    return [
        Shard(
            f"{folder}/{name.rpartition('/')[2]}",
            bucket,
            name.lower().endswith(".parquet"),
            () if with_header else fields,
            csv_options.get("delimiter", ","),
        )
        for name in manifest["report_shards_file_names"]
    ]


def read_shard(shard: Shard, pass_over: Callable[[], None]) -> Iterator[FileInfo]:
    """Yields the objects that a data file names, with what it says of their versions.

    Args:
      pass_over: called for each version that isn't current, and each delete marker.

    Raises:
      InputError: if it isn't there, or isn't what the manifest says; names it.
      DamagedListError: if it can't be read further.
    """
    try:
        with open_list(shard.uri) as file:
            rows = _parquet_rows(file, shard) if shard.is_parquet else _csv_rows(file, shard)
            for row in rows:
                if _is_gone(row):
                    pass_over()
                    continue
                key = unquote_plus(row["key"], errors="surrogateescape") if shard.escaped else row["key"]
                yield FileInfo(shard.bucket + key, _size(row), _seconds(row.get("modified")), row.get("etag") or None)
    except FileNotFoundError as error:
        raise InputError(f"inventory's data file {shard.uri}: no such file, though its manifest names it") from error


def _names(columns: Sequence[str], shard: Shard) -> list[str | None]:
    known = _S3_COLUMNS if shard.bucket.startswith("s3:") else _GCS_COLUMNS
    return [known.get(name.strip().lower()) for name in columns]


def _csv_rows(file: Any, shard: Shard) -> Iterator[dict[str, Any]]:
    lines = Lines(as_text(file, shard.uri))
    rows = csv.reader(lines, delimiter=shard.delimiter)
    try:
        names = _names(shard.columns or next(rows, []), shard)
        if "key" not in names:
            raise InputError(f"inventory's data file {shard.uri}: its first line names no column with keys")
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise DamagedListError(f"line {lines.number}: expected {len(names)} columns, found {len(row)}")
            yield {name: value for name, value in zip(names, row, strict=True) if name is not None}
    except (ValueError, csv.Error) as error:
        raise DamagedListError(f"line {lines.number}: {error}") from error


def _parquet_rows(file: Any, shard: Shard) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            columns = dict(zip(parquet.schema_arrow.names, _names(parquet.schema_arrow.names, shard), strict=True))
            wanted = {column: name for column, name in columns.items() if name is not None}
            if "key" not in wanted.values():
                raise InputError(f"inventory's data file {shard.uri}: no column with keys; found {list(columns)}")
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(wanted)):
                values = [values_of(batch.column(column)) for column in wanted]
                for row in zip(*values, strict=True):
                    yield dict(zip(wanted.values(), row, strict=True))
    except pa.ArrowInvalid as error:
        raise DamagedListError(str(error)) from error


def _is_gone(row: Mapping[str, Any]) -> bool:
    latest, marker = (str(row.get(name)).lower() for name in ("is_latest", "is_delete_marker"))
    return latest == "false" or marker == "true" or bool(row.get("deleted"))


def _size(row: Mapping[str, Any]) -> int:
    text = str(row.get("size") or "")
    return int(text) if text.isdigit() else 0


def _seconds(value: Any) -> float:
    """Unix time of a time as inventories write it; 0 if there is none."""
    if isinstance(value, datetime):
        return value.timestamp()
    text = re.sub(r"Z$", "+00:00", str(value or ""))
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
