"""Boxes that somebody has already, for a detector to classify and segment: tables with a row for each box.

    uri                         the image, as it is listed; a relative path starts at the table's folder
    ymin, xmin, ymax, xmax      the box, normalised: 0 and 1 are the image's edges
    x, y, w, h                  or in pixels of the image as it is decoded: left, top, width, height

Other columns don't matter, so a label set's own table `detections` will do. Parquet or CSV.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ...labelset.rows import image_id
from ...storage.uris import absolute, resolve
from ..elements import BoxPrompts
from .find_files import find_files
from .inputs import InputError, format_of

Unit = Literal["normalised", "pixels"]

NORMALISED = ("ymin", "xmin", "ymax", "xmax")
PIXELS = ("x", "y", "w", "h")
_BATCH_ROWS = 1 << 16
_CHUNK_BYTES = 1 << 20
_ROUNDING = 0.01  # by so much of the image a normalised box may reach over its edges; it's cut off there


@dataclass(frozen=True)
class BoxTables:
    """Tables of boxes that have been looked at: absolute paths or URIs, the column with the images' URIs, SHA-256."""

    uris: tuple[str, ...]
    uri_column: str
    sha256: str


@dataclass(frozen=True)
class BoxesOfImage:
    """Some of an image's boxes, with the place of the first: (number of the table, row)."""

    place: tuple[int, int]
    boxes: BoxPrompts


def open_tables(inputs: Sequence[str], uri_column: str = "uri") -> BoxTables:
    """Finds tables of boxes, checks their columns and first rows, and reads them once for their fingerprint.

    Args:
      inputs: paths, URIs or globs of `.parquet` and `.csv` files.
      uri_column: the column with the images' URIs.

    Raises:
      InputError: if an input matches no table, or a table lacks a column or holds no boxes.
    """
    uris = []
    for given in inputs:
        found = sorted(file.uri for file in find_files(absolute(given)) if file.format in ("parquet", "csv"))
        if not found:
            raise InputError(f"boxes {given}: no such table; expected .parquet or .csv files")
        uris += found
    digest = hashlib.sha256()
    for uri in dict.fromkeys(uris):
        if not any(True for _ in read_boxes(uri, uri_column)):
            raise InputError(f"boxes {uri}: the table is empty")
        with _opened(uri) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return BoxTables(tuple(dict.fromkeys(uris)), uri_column, digest.hexdigest())


def read_boxes(uri: str, uri_column: str = "uri", number: int = 0) -> Iterator[tuple[str, BoxesOfImage]]:
    """The boxes in a table, by image id; an image whose rows aren't together comes more than once.

    Raises:
      InputError: if the table can't be read, lacks a column, or holds something that is no box; names table and row.
    """
    columns: tuple[str, ...] | None = None
    unit: Unit = "normalised"
    row = 0
    for batch in _batches(uri):
        if columns is None:
            columns, unit = _columns(uri, uri_column, batch.schema.names)
        edges = _edges(batch, columns, unit, f"boxes {uri}, rows from {row}")
        images = batch.column(uri_column).dictionary_encode()
        if images.null_count:
            raise InputError(f"boxes {uri}, rows from {row}: column {uri_column!r} holds nulls")
        by_image = np.asarray(images.indices)
        order = np.argsort(by_image, kind="stable")
        starts = np.flatnonzero(np.diff(by_image[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            if len(rows):
                name = resolve(str(images.dictionary[int(by_image[rows[0]])]), uri)
                yield (
                    image_id(name),
                    BoxesOfImage((number, row + int(rows[0])), BoxPrompts(edges[rows].tobytes(), unit)),
                )
        row += len(batch)


def joined(parts: Iterable[BoxesOfImage]) -> BoxPrompts:
    """All boxes of an image, in the tables' order; none if there are no parts.

    Raises:
      InputError: if some are in pixels and some normalised.
    """
    parts = sorted(parts, key=lambda part: part.place)
    units: set[Unit] = {part.boxes.unit for part in parts} or {"normalised"}
    if len(units) > 1:
        raise InputError(
            "boxes: some tables are normalised (ymin, xmin, ymax, xmax) and some in pixels (x, y, w, h); give an "
            "image's boxes in one way"
        )
    return BoxPrompts(b"".join(part.boxes.data for part in parts), units.pop())


class ReadBoxes(beam.PTransform):
    """PBegin to PCollection[(image id, BoxesOfImage)], one table a worker."""

    def __init__(self, tables: BoxTables):
        super().__init__()
        self._tables = tables

    def expand(self, pbegin):
        uri_column = self._tables.uri_column
        return (
            pbegin
            | "Tables" >> beam.Create(list(enumerate(self._tables.uris)))
            | "SpreadTables" >> beam.Reshuffle()
            | "Boxes"
            >> beam.FlatMapTuple(lambda number, uri: read_boxes(uri, uri_column, number)).with_output_types(
                tuple[str, BoxesOfImage]
            )
        )


def _opened(uri: str):
    return FileSystems.open(uri, mime_type="application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED)


def _batches(uri: str) -> Iterator[pa.RecordBatch]:
    try:
        with _opened(uri) as file:
            if format_of(uri) == "csv":
                yield from pa_csv.open_csv(file)
            else:
                yield from pq.ParquetFile(file).iter_batches(_BATCH_ROWS)
    except pa.ArrowInvalid as error:
        raise InputError(f"boxes {uri}: can't be read ({error})") from error


def _columns(uri: str, uri_column: str, names: Sequence[str]) -> tuple[tuple[str, ...], Unit]:
    units: tuple[tuple[tuple[str, ...], Unit], ...] = ((NORMALISED, "normalised"), (PIXELS, "pixels"))
    for columns, unit in units:
        if {uri_column, *columns} <= set(names):
            return columns, unit
    raise InputError(
        f"boxes {uri}: expected the columns {uri_column}, and {', '.join(NORMALISED)} (normalised) or "
        f"{', '.join(PIXELS)} (pixels); found {', '.join(names)}"
    )


def _edges(batch: pa.RecordBatch, columns: tuple[str, ...], unit: str, where: str) -> np.ndarray:
    """Float32 `[rows, 4]`, (ymin, xmin, ymax, xmax)."""
    try:
        values = [
            np.asarray(batch.column(name).cast(pa.float32()).to_numpy(zero_copy_only=False), np.float32)
            for name in columns
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{where}: {', '.join(columns)}: expected numbers ({error})") from error
    if unit == "pixels":
        x, y, w, h = values
        values = [y, x, y + h, x + w]
    edges = np.stack(values, axis=1)
    wrong = ~np.isfinite(edges).all(axis=1) | (edges[:, 2:] < edges[:, :2]).any(axis=1)
    if unit == "normalised":
        wrong |= (edges < -_ROUNDING).any(axis=1) | (edges > 1 + _ROUNDING).any(axis=1)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{where}: the box {dict(zip(columns, (float(batch.column(c)[first].as_py() or 0) for c in columns)))} "
            f"is none: expected {'edges from 0 to 1, ' * (unit == 'normalised')}upper left before lower right, "
            "no nulls. Boxes in pixels have the columns x, y, w, h"
        )
    return edges
