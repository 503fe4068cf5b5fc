"""The tables that a label set consists of: their columns, types and meanings, and Arrow tables made from images' rows.

One source for all who write, read or document the tables: each field carries its description as metadata
(`schema.field("score").metadata[b"description"]`).
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from .rows import ERROR_KINDS, ImageRows


def _column(name: str, type: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, type, nullable=False, metadata={"description": description})


def _nullable(name: str, type: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, type, nullable=True, metadata={"description": description})


IMAGES = pa.schema(
    [
        _column(
            "image_id", pa.string(), "first 32 hex digits of SHA-256 over the UTF-8 bytes of the URI as it was listed"
        ),
        _column(
            "uri",
            pa.string(),
            "absolute, but for user name and password (`user:password@`) and secret values of the query, which"
            " are left out; bytes of a file name that aren't UTF-8 are escaped",
        ),
        _nullable(
            "listed_as",
            pa.string(),
            "the entry of the list that names the image, as it stands there: join lists by it; null if no list does",
        ),
        _column("status", pa.string(), "`ok` or `failed`"),
        _nullable("error_kind", pa.string(), f"one of {', '.join(f'`{kind}`' for kind in ERROR_KINDS)}; null if ok"),
        _nullable("error_message", pa.string(), "why the image has no labels, for a person; null if ok"),
        _column("attempts", pa.int16(), "how often the bytes were asked for"),
        _nullable("width", pa.int32(), "of the image in full (after EXIF orientation), in pixels; null if not decoded"),
        _nullable("height", pa.int32(), "likewise"),
        _nullable(
            "num_bytes",
            pa.int64(),
            "size of the encoded image; null if not fetched, and for frames",
        ),
        _nullable("sha256", pa.string(), "of the encoded image, 64 hex digits: equal for equal bytes; null likewise"),
        _nullable("num_detections", pa.int32(), "rows in `detections`; 0 if nothing was found, null if failed"),
        _nullable(
            "fetch_ms", pa.float32(), "wall time of fetching, all attempts, in milliseconds; null if not fetched"
        ),
        _nullable("decode_ms", pa.float32(), "wall time of decoding, in milliseconds; null if not decoded"),
        _nullable("time_s", pa.float64(), "of a frame: seconds from its video's first frame; null for other images"),
        _nullable(
            "captured_at",
            pa.string(),
            "EXIF's time, ISO 8601, with its offset where the camera gave one; null without `--exif-columns`",
        ),
        _nullable("camera", pa.string(), "make and model, from EXIF; null likewise"),
        _nullable("latitude", pa.float64(), "degrees (WGS 84), north is positive, from EXIF; null likewise"),
        _nullable("longitude", pa.float64(), "degrees, east is positive; null likewise"),
        _column("labelled_at", pa.timestamp("us", tz="UTC"), "when the row was made, in UTC"),
        _nullable(
            "modified_at",
            pa.timestamp("us", tz="UTC"),
            "when the file was last changed, as its disk, store or server said when it was read; the container's of an"
            " image inside one; null if it didn't say",
        ),
        _nullable("etag", pa.string(), "the store's or server's tag of the file, without quotes; null likewise"),
    ]
)

DETECTIONS = pa.schema(
    [
        _column("detection_id", pa.string(), "`<image_id>-<rank>`"),
        _column("image_id", pa.string(), "the image in `images`"),
        _column("uri", pa.string(), "the image's URI, as in `images`"),
        _column("rank", pa.int32(), "place among the image's detections by score; the best has 0"),
        _column("class_id", pa.int32(), "id in the detector's label map (COCO's start at 1)"),
        _column("class_name", pa.string(), "its name in the label map; `class_<id>` if it has none"),
        _column("score", pa.float32(), "the detector's confidence, 0 to 1"),
        _column("ymin", pa.float32(), "top of the box, normalised: 0 is the image's upper edge, 1 its lower"),
        _column("xmin", pa.float32(), "left, normalised: 0 is the image's left edge, 1 its right"),
        _column("ymax", pa.float32(), "bottom, normalised"),
        _column("xmax", pa.float32(), "right, normalised"),
        _column("x", pa.float32(), "left of the box in pixels of the image: `xmin` times its width"),
        _column("y", pa.float32(), "top in pixels: `ymin` times the image's height"),
        _column("w", pa.float32(), "width in pixels"),
        _column("h", pa.float32(), "height in pixels"),
        _nullable(
            "mask_ref",
            pa.string(),
            "the mask in `masks`, and the path of its file below the output folder if masks"
            " are PNG files; null without masks",
        ),
    ]
)

MASKS = pa.schema(
    [
        _column(
            "mask_ref",
            pa.string(),
            "as in `detections`: the detection's id, or the path of a PNG file below the output folder",
        ),
        _column("detection_id", pa.string(), "the detection in `detections`"),
        _column("image_id", pa.string(), "the image in `images`"),
        _column("height", pa.int32(), "of the mask and of the image, in pixels"),
        _column("width", pa.int32(), "likewise"),
        _nullable(
            "counts",
            pa.string(),
            "COCO's compressed run-length encoding, column after column: with `size` ="
            " [height, width] what pycocotools reads; null if masks are PNG files",
        ),
        _column("area", pa.int64(), "pixels of the mask; 0 if no pixel reached the threshold"),
        _column("x", pa.int32(), "first column of pixels of the mask, not of the detected box; 0 if it has none"),
        _column("y", pa.int32(), "first row of pixels"),
        _column("w", pa.int32(), "columns of pixels from the mask's first to its last"),
        _column("h", pa.int32(), "rows of pixels from the mask's first to its last"),
    ]
)

TENSORS = pa.schema(
    [
        _column("image_id", pa.string(), "the image in `images`"),
        _column("name", pa.string(), "the output's name in the model's signature"),
        _column("dtype", pa.string(), "NumPy's name, such as `float32`"),
        _column(
            "shape", pa.list_(pa.field("element", pa.int32(), nullable=False)), "of the tensor, without a batch axis"
        ),
        _column(
            "data", pa.binary(), "the values in C order, little-endian: `np.frombuffer(data, dtype).reshape(shape)`"
        ),
    ]
)

TABLES: dict[str, pa.Schema] = {"images": IMAGES, "detections": DETECTIONS, "masks": MASKS, "tensors": TENSORS}


def build_table(name: str, images: Sequence[ImageRows], metadata: Mapping[str, str] | None = None) -> pa.Table:
    """The rows of some images as one Arrow table, sorted by image id; an image's rows keep their order (rank).

    Args:
      name: of the table, a key of `TABLES`.
      images: may be empty; an image without this table has no rows in it. Columns beyond the table's own are Arrow
        arrays, which know their type.
      metadata: key-value metadata for the table (and so for a Parquet file): the label set.

    Raises:
      ValueError: if a column is missing or unknown, columns differ in length, or one that can't be null holds a null.
    """
    schema = TABLES[name].with_metadata(dict(metadata or {}))
    names = set(schema.names)  # asking Arrow for a name takes as long as looking a column up
    per_image = []
    for image in sorted(images, key=lambda image: image.image_id):
        columns = image.tables.get(name)
        if columns is None:
            continue
        if not per_image:
            more = [
                pa.field(c, a.type) for c, a in columns.items() if c not in schema.names and isinstance(a, pa.Array)
            ]
            schema = pa.schema([*schema, *more]).with_metadata(schema.metadata or {})
            names = set(schema.names)
        if columns.keys() != names or len(set(map(len, columns.values()))) != 1:
            lengths = {column: len(values) for column, values in columns.items()}
            raise ValueError(
                f"{name} of image {image.image_id}: expected the columns {schema.names}, all of one"
                f" length, got {lengths}"
            )
        per_image.append(columns)
    arrays = [_array(field, [columns[name] for columns in per_image]) for name, field in zip(schema.names, schema)]
    for field, array in zip(schema, arrays):
        if array.null_count and not field.nullable:
            raise ValueError(f"{name}.{field.name}: holds {array.null_count} nulls, but can't be null")
    return pa.table(arrays, schema=schema)


def _array(field: pa.Field, chunks: list) -> pa.Array | pa.ChunkedArray:
    types = set(map(type, chunks))
    if types and all(issubclass(type_, pa.Array) for type_ in types):
        return pa.concat_arrays(chunks)
    if types == {np.ndarray}:
        return pa.array(np.concatenate(chunks), type=field.type)
    return pa.array(list(chain.from_iterable(chunks)), type=field.type)


def promoted(name: str, table: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """A table as an older labelbeam may have written it, with today's columns and types.

    Args:
      name: of the table, a key of `TABLES`.
      table: its rows. Columns that it hasn't got come out null; columns that today's schema hasn't got are kept.
      columns: only these, in this order; None for all.
    """
    ours = {field.name: field for field in TABLES[name]}
    fields_by_name = {field.name: field for field in table.schema} | ours
    found = dict(zip(table.column_names, table.columns, strict=True))
    known = list(ours) if columns is None else columns
    more = [column for column in found if column not in ours] if columns is None else []
    arrays, fields = [], []
    for column in [*known, *more]:
        present = column in found
        field = fields_by_name.get(column, pa.field(column, pa.string()))
        array = found[column] if present else pa.nulls(table.num_rows, field.type)
        fields.append(field if present else field.with_nullable(True))
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.table(arrays, schema=pa.schema(fields).with_metadata(dict(table.schema.metadata or {})))
