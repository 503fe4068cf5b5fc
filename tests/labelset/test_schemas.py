from datetime import datetime, timezone

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.rows import ImageRows
from labelbeam.labelset.schemas import TABLES, build_table

NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


def rows_of(image_id, num_detections=2):
    ids = [f"{image_id}-{rank}" for rank in range(num_detections)]
    numbers = np.arange(num_detections, dtype=np.float32)
    detections = {field.name: numbers for field in TABLES["detections"]} | {
        "detection_id": ids,
        "image_id": [image_id] * num_detections,
        "uri": ["u"] * num_detections,
        "rank": np.arange(num_detections, dtype=np.int32),
        "class_id": np.ones(num_detections, np.int32),
        "class_name": ["dog"] * num_detections,
        "mask_ref": [None] * num_detections,
    }
    images = {
        "image_id": [image_id],
        "uri": ["u"],
        "listed_as": [None],
        "status": ["ok"],
        "error_kind": [None],
        "error_message": [None],
        "attempts": [1],
        "width": [4],
        "height": [3],
        "num_bytes": [2**40],
        "sha256": ["00"],
        "num_detections": [num_detections],
        "fetch_ms": [None],
        "decode_ms": [0.5],
        "time_s": [None],
        "captured_at": [None],
        "camera": [None],
        "latitude": [None],
        "longitude": [None],
        "labelled_at": [NOON],
        "modified_at": [None],
        "etag": [None],
    }
    tensors = {"image_id": [image_id], "name": ["raw"], "dtype": ["float32"], "shape": [[1, 2]], "data": [b"\0" * 8]}
    return ImageRows(image_id, {"images": images, "detections": detections, "tensors": tensors})


def test_every_column_is_described_and_has_a_narrow_type():
    allowed = {
        pa.string(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.timestamp("us", "UTC"),
        pa.binary(),
    }
    for name, schema in TABLES.items():
        assert len(set(schema.names)) == len(schema.names)
        for field in schema:
            assert field.metadata[b"description"].strip(), f"{name}.{field.name}"
            assert field.type in allowed or field.name == "shape", f"{name}.{field.name}"


def test_rows_are_sorted_by_image_and_rank():
    table = build_table("detections", [rows_of("b"), rows_of("c", 0), rows_of("a", 3)])
    assert table["image_id"].to_pylist() == ["a"] * 3 + ["b"] * 2
    assert table["rank"].to_pylist() == [0, 1, 2, 0, 1]
    assert table.schema.equals(TABLES["detections"], check_metadata=False)


@pytest.mark.parametrize("name", TABLES)
def test_no_images_make_an_empty_table(name):
    table = build_table(name, [])
    assert len(table) == 0 and table.schema.equals(TABLES[name])


def test_an_image_without_a_table_has_no_rows_in_it():
    assert len(build_table("masks", [rows_of("a")])) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"score": None}, "detections of image a: expected the columns"),
        ({"colour": ["red", "red"]}, "detections of image a: expected the columns"),
        ({"uri": ["u"]}, "all of one length"),
        ({"class_name": ["dog", None]}, r"detections\.class_name: holds 1 nulls, but can't be null"),
    ],
)
def test_malformed_rows_are_refused(change, message):
    rows = rows_of("a")
    columns = rows.tables["detections"] | change
    rows.tables["detections"] = {name: values for name, values in columns.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        build_table("detections", [rows])


def test_files_keep_types_nullability_metadata_and_descriptions(tmp_path):
    path = tmp_path / "part.parquet"
    table = build_table("images", [rows_of("a")], {"labelbeam.detector": "demo"})
    pq.write_table(table, path, compression="zstd")
    schema = pq.read_schema(path)
    assert schema.metadata[b"labelbeam.detector"] == b"demo"
    assert schema.equals(TABLES["images"])
    assert schema.field("status").metadata[b"description"] == TABLES["images"].field("status").metadata[b"description"]
    assert not schema.field("status").nullable and schema.field("error_kind").nullable


def test_duckdb_and_pandas_read_the_files(tmp_path):
    for name in TABLES:
        pq.write_table(build_table(name, [rows_of("a"), rows_of("b")]), tmp_path / f"{name}.parquet")
    query = (
        f"SELECT i.image_id, i.labelled_at AT TIME ZONE 'UTC', count(*), sum(d.score)"
        f" FROM '{tmp_path}/images.parquet' i JOIN '{tmp_path}/detections.parquet' d USING (image_id)"
        f" GROUP BY ALL ORDER BY ALL"
    )
    noon = NOON.replace(tzinfo=None)
    assert duckdb.sql(query).fetchall() == [("a", noon, 2, 1.0), ("b", noon, 2, 1.0)]
    assert duckdb.sql(f"SELECT shape, data FROM '{tmp_path}/tensors.parquet'").fetchall() == [([1, 2], b"\0" * 8)] * 2
    frame = pq.read_table(tmp_path / "images.parquet").to_pandas()
    assert str(frame["labelled_at"].dtype) == "datetime64[us, UTC]" and frame["num_bytes"].tolist() == [2**40] * 2
