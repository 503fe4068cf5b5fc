"""Inventories of S3 and of Google's store as inputs: keys become images, as a listing of the bucket would give them."""

import csv
import gzip
import io
import json
from urllib.parse import quote_plus

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.pipeline.cli import main
from labelbeam.transforms.list_images import PASSED_OVER, ListImages
from labelbeam.transforms.sources.check_inputs import check_inputs
from labelbeam.transforms.sources.inputs import InputError, ListOptions
from labelbeam.transforms.sources.inventories import read_manifest

from tests.fakes.counting.s3 import LIST, counting_s3
from tests.transforms.sources.paged_files import write_pages

KEYS = ["a.jpg", "deep/b c+d.png", "deep/ü%41.webp", "notes.txt", "deep/old/e.jpg", ".hidden/f.jpg"]
IMAGES = ["a.jpg", "deep/b c+d.png", "deep/ü%41.webp", "deep/old/e.jpg"]
S3_SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
MANIFEST = "s3://reports/inv/2026-11-01T00-00Z/manifest.json"
GONE = [("a.jpg", False, False), ("deleted.jpg", True, True)]  # key, is latest, is delete marker


@pytest.fixture
def store(use_store_options):
    with counting_s3() as found:
        use_store_options(found.options)
        yield found


def s3_rows(keys):
    rows = [(key, True, False) for key in keys] + GONE
    return [(key, "v1", latest, marker, 100, "2026-10-01T12:00:00.000Z", "abc") for key, latest, marker in rows]


def put_s3(store, file_format, *shards):
    """An inventory of the bucket `photos` with a data file for each list of keys, as S3 writes it."""
    names = []
    for number, keys in enumerate(shards):
        names.append(f"inv/data/{number}.{'csv.gz' if file_format == 'CSV' else 'parquet'}")
        buffer, text = io.BytesIO(), io.StringIO()
        if file_format == "CSV":
            writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
            for key, version, latest, marker, *others in s3_rows(keys):
                writer.writerow(
                    ["photos", quote_plus(key), version, str(latest).lower(), str(marker).lower(), *map(str, others)]
                )
            buffer.write(gzip.compress(text.getvalue().encode()))
        else:
            columns = ["key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag"]
            table = pa.Table.from_pylist([dict(zip(columns, row)) for row in s3_rows(keys)])
            when = pa.scalar("2026-10-01T12:00:00Z").cast(pa.timestamp("ms", "UTC"))
            place = table.column_names.index("last_modified_date")
            table = table.set_column(place, "last_modified_date", pa.array([when.as_py()] * len(table), when.type))
            pq.write_table(table, buffer)
        store.put(f"reports/{names[-1]}", buffer.getvalue())
    put_manifest(store, file_format, names)


def put_manifest(store, file_format, names):
    content = {
        "sourceBucket": "photos",
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "fileFormat": file_format,
        "fileSchema": S3_SCHEMA if file_format == "CSV" else "message s3.inventory { … }",
        "files": [{"key": name, "size": 1, "MD5checksum": "0"} for name in names],
    }
    store.put(MANIFEST.removeprefix("s3://"), json.dumps(content).encode())


def put_gcs(folder, file_format, header=True, delimiter=","):
    """A report of the bucket `photos` on a disk, as Storage Insights writes it; returns the manifest's path."""
    fields = ["bucket", "name", "size", "timeDeleted", "updated", "etag"]
    rows = [["photos", key, "100", "", "2026-10-01T12:00:00.000Z", "abc"] for key in KEYS]
    rows.append(["photos", "deleted.jpg", "100", "2026-10-02T00:00:00Z", "2026-10-01T12:00:00.000Z", "abc"])
    name = "x_2026-11-01T00:00_0." + file_format
    if file_format == "csv":
        with open(folder / name, "w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([fields, *rows] if header else rows)
    else:
        pq.write_table(
            pa.table({field: [row[i] or None for row in rows] for i, field in enumerate(fields)}), folder / name
        )
    content = {
        "report_config": {
            "csv_options": {"header_required": header, "delimiter": delimiter},
            "object_metadata_report_options": {
                "metadata_fields": fields,
                "storage_filters": {"bucket": "projects/_/buckets/photos"},
            },
        },
        "records_processed": len(rows),
        "shard_count": 1,
        "report_shards_file_names": [name],
    }
    path = folder / "x_2026-11-01T00:00_manifest.json"
    path.write_text(json.dumps(content))
    return str(path)


def passed_over(options, manifest, expected, **listing):
    """Lists an inventory, which is to name these images; returns the counts of what was passed over."""
    with TestPipeline(runner="FnApiRunner", options=PipelineOptions(options)) as pipeline:
        references = pipeline | ListImages([manifest], ListOptions(**listing), versions=True)
        told = references | beam.Map(lambda r: (r.uri, r.problem and "problem", r.version and r.version.num_bytes))
        assert_that(told, equal_to(expected))
    counters = pipeline.result.metrics().query(MetricsFilter())["counters"]
    names = {counter.key.metric.name: counter.result for counter in counters}
    return {name.removeprefix(PASSED_OVER): n for name, n in names.items() if name.startswith(PASSED_OVER)}


def images(bucket, keys=IMAGES):
    return [(f"{bucket}/{key}", "", 100) for key in keys]


@pytest.mark.parametrize("file_format", ["CSV", "Parquet"])
def test_s3_keys_become_images_without_a_listing(store, file_format):
    put_s3(store, file_format, KEYS[:2], KEYS[2:])
    assert len(read_manifest(MANIFEST)) == 2
    assert check_inputs([MANIFEST]).schemes == {"s3"}
    counts = passed_over(store.options, MANIFEST, images("s3://photos"))
    assert counts == {"not_current": 4, "not_named": 1, "hidden": 1}
    assert store.count(LIST) == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"header": False}, {"delimiter": ";"}, {"file_format": "parquet"}],
    ids=["csv", "without a header", "delimiter", "parquet"],
)
def test_googles_reports(tmp_path, options):
    manifest = put_gcs(tmp_path, **{"file_format": "csv", **options})
    assert passed_over([], manifest, images("gs://photos"))["not_current"] == 1


def test_exclude_is_honoured(tmp_path):
    kept = ["a.jpg", "deep/b c+d.png", "deep/ü%41.webp"]
    counts = passed_over([], put_gcs(tmp_path, "csv"), images("gs://photos", kept), exclude=["deep/old"])
    assert counts["excluded"] == 1


@pytest.mark.parametrize("file_format", ["CSV", "Parquet"])
@pytest.mark.parametrize("pages", ["first", "all"])
def test_pages_of_the_files_that_it_names(store, tmp_path, pages, file_format):
    """As in a folder: pages are found by opening the files, once; a file that has gone is an image that will fail."""
    for name in ("scan.tif", "turning.gif"):
        store.put(f"photos/{name}", write_pages(tmp_path / name, 3).read_bytes())
    put_s3(store, file_format, ["deep/photo.jpg", "scan.tif", "turning.gif", "gone.tif"])
    files = [("deep/photo.jpg", "", 100), ("scan.tif", "", 100), ("turning.gif", "", 100), ("gone.tif", "", 100)]
    if pages == "all":
        numbered = [f"{name}#page={number}" for name in ("scan.tif", "turning.gif") for number in (1, 2, 3)]
        files = [files[0], *((name, "", None) for name in numbered), ("gone.tif", "", 100)]
    expected = [(f"s3://photos/{name}", *others) for name, *others in files]
    passed_over(store.options, MANIFEST, expected, pages=pages)
    assert store.count(LIST) == 0


def test_a_data_file_that_is_missing_or_damaged_is_one_failed_image(store):
    put_s3(store, "CSV", ["a.jpg"], ["b.jpg", "c.jpg"], ["d.jpg"])
    store.remove("reports/inv/data/0.csv.gz")
    damaged = store.objects["reports/inv/data/1.csv.gz"]
    store.put("reports/inv/data/1.csv.gz", damaged[: len(damaged) // 2])
    problems = [
        ("s3://reports/inv/data/0.csv.gz", "problem", None),
        ("s3://reports/inv/data/1.csv.gz#rest", "problem", None),
    ]
    passed_over(store.options, MANIFEST, [*problems, *images("s3://photos", ["d.jpg"])])


@pytest.mark.parametrize(
    "content, message",
    [
        (
            {"fileFormat": "ORC", "fileSchema": "struct<…>"},
            "data files are ORC, which isn't read. Set .* CSV or Parquet",
        ),
        ({"fileFormat": "CSV", "fileSchema": "Bucket, Size"}, "no column Key; found Bucket, Size"),
        ({"fileFormat": "CSV", "fileSchema": "Bucket, Key"}, "isn't as stores write it .*sourceBucket"),
        ({"caption": "a ball"}, "expected the manifest of S3 Inventory or of an inventory report"),
        ([], "expected the manifest of S3 Inventory"),
    ],
)
def test_what_is_no_manifest_is_refused_before_the_job(tmp_path, capsys, content, message):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"inventory {path}: .*{message}"):
        check_inputs([str(path)])
    command = ["label", "--inventory", str(path), "-o", str(tmp_path / "out"), "--detector", "demo"]
    assert main(command) == 2 and f"inventory {path}" in capsys.readouterr().err


def test_the_option_wants_a_manifest(tmp_path, capsys):
    command = ["label", "--inventory", "data.csv.gz", "-o", str(tmp_path / "out"), "--detector", "demo"]
    assert main(command) == 2 and "--inventory data.csv.gz: expected a manifest" in capsys.readouterr().err
