import gzip
import io
import os
import tarfile

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.labelset.begin import OpenJob, begin_job
from labelbeam.transforms.list_images import ListImages
from labelbeam.transforms.sources.check_inputs import check_inputs
from labelbeam.transforms.sources.containers import read_member
from labelbeam.transforms.sources.inputs import InputError, ListOptions

from tests.fakes.filesystems import Hdfs, ObjectStore, rooted
from tests.fakes.http_server import MisbehavingServer

ODD_NAME = "naïve café 图#1%20 " + "x" * 150 + ".jpg"


@pytest.fixture
def data(tmp_path):
    """Every kind of input, in one folder."""
    for name in ["photos/a.jpg", f"photos/deep/{ODD_NAME}", "photos/caption.txt", "blob"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "blob").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "l.txt").write_text("# list\nphotos/a.jpg\n/elsewhere/b.jpg\nhttps://host/c?x=1#y\n")
    (tmp_path / "l.csv").write_text('caption,uri\n"a, ""b""\nc",s3://bucket/d.jpg\n,\nnone,""\n')
    (tmp_path / "l.jsonl.gz").write_bytes(gzip.compress(b'{"uri": "e.jpg"}\n"gs://bucket/f.jpg"\n'))
    pq.write_table(pa.table({"uri": ["/g.jpg", None]}), tmp_path / "l.parquet")
    pq.write_table(pa.table({"image": [b"row 0", b"row 1"]}), tmp_path / "images.parquet")
    with tarfile.open(tmp_path / "photos/shard.tar", "w") as archive:
        for name in ["h.jpg", "h.json"]:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"tar"))
    return tmp_path


def assert_listed(inputs, expected, **options):
    """Runs ListImages in a pipeline, and compares the URIs; returns the pipeline's result."""
    with TestPipeline(runner="FnApiRunner") as pipeline:
        references = pipeline | ListImages([str(uri) for uri in inputs], ListOptions(**options))
        # Beam's coder of strings has no lone surrogates.
        uris = references | beam.Map(lambda reference: ascii(reference.uri))
        assert_that(uris, equal_to([ascii(uri) for uri in expected]))
    return pipeline.result


@pytest.fixture
def attended(monkeypatch):
    """The jobs that steps in this process have begun to keep alive."""
    jobs = []
    monkeypatch.setattr(OpenJob, "attend", lambda job: jobs.append(job.job_id))
    return jobs


def test_a_job_is_kept_alive_while_it_lists(data, attended):
    job = begin_job(str(data / "out"), "j")
    with TestPipeline(runner="FnApiRunner") as pipeline:
        _ = pipeline | ListImages([str(data / "l.txt")], job=job)
    assert attended == ["j", "j"]  # whoever finds files, and whoever reads lists


def test_a_job_that_was_taken_over_before_its_first_worker_came_lists_nothing(data):
    job = begin_job(str(data / "out"), "j")
    begin_job(str(data / "out"), "k", dead_after_s=0)
    with pytest.raises(Exception, match="job k has taken over from job j"), TestPipeline(runner="FnApiRunner") as p:
        _ = p | ListImages([str(data / "photos")], job=job)


FOUND = {
    "photos": ["photos/a.jpg", f"photos/deep/{ODD_NAME}", "photos/shard.tar#h.jpg"],
    "photos/**/*.jpg": ["photos/a.jpg", f"photos/deep/{ODD_NAME}"],
    "photos/*.tar": ["photos/shard.tar#h.jpg"],
    "blob": ["blob"],
    "l.txt": ["/elsewhere/b.jpg", "https://host/c?x=1#y", "photos/a.jpg"],
    "*.csv": ["s3://bucket/d.jpg"],
    "l.jsonl.gz": ["e.jpg", "gs://bucket/f.jpg"],
    "l.parquet": ["/g.jpg"],
    "images.parquet": ["images.parquet#0", "images.parquet#1"],
}


def within(folder, names):
    """The URIs for the names in `FOUND`, in a folder or below a URI."""
    return [name if name.startswith("/") or ":" in name else f"{folder}/{name}" for name in names]


def test_each_kind_of_input_passes_the_check(data):
    for name in FOUND:
        check_inputs([f"{data}/{name}"])


def test_all_kinds_in_one_job(data):
    expected = [uri for names in FOUND.values() for uri in within(data, names)]
    assert_listed([f"{data}/{name}" for name in FOUND], expected)


@pytest.mark.parametrize("filesystem", [ObjectStore, Hdfs])
def test_all_kinds_on_a_remote_filesystem(data, filesystem):
    with rooted(filesystem, data.parent) as root:
        place = f"{root}/{data.name}"
        inputs = [f"{place}/{name}" for name in FOUND]
        check_inputs(inputs)
        assert_listed(inputs, [uri for names in FOUND.values() for uri in within(place, names)])


@pytest.fixture
def server(data):
    with MisbehavingServer({path.name: path.read_bytes() for path in data.glob("l.*")}) as server:
        yield server


def test_lists_and_images_over_http(server):
    image = server.url("/status/500?name=x.jpg")
    inputs = [image, *(server.url(f"/files/{name}") for name in ["l.txt", "l.jsonl.gz?token=1", "l.parquet"])]
    check_inputs(inputs)
    # What begins with a slash in a list on a server is a path of that server.
    assert_listed(
        inputs,
        [
            server.url("/files/photos/a.jpg"),
            server.url("/elsewhere/b.jpg"),
            "https://host/c?x=1#y",
            server.url("/files/e.jpg"),
            "gs://bucket/f.jpg",
            server.url("/g.jpg"),
            image,
        ],
    )
    assert server.count("/status/500?name=x.jpg") == 0


def test_members_come_with_their_location(data):
    with TestPipeline(runner="FnApiRunner") as pipeline:
        references = pipeline | ListImages([f"{data}/photos/*.tar", f"{data}/images.parquet", f"{data}/blob"])
        read = references | beam.Map(lambda reference: reference.location and read_member(reference.location))
        assert_that(read, equal_to([b"tar", b"row 0", b"row 1", None]))


def test_options_name_the_columns(data):
    pq.write_table(pa.table({"url": ["/x.jpg"], "thumbnail": [b"t"], "image": [b"i"]}), data / "both.parquet")
    assert_listed([data / "both.parquet"], ["/x.jpg"], uri_column="url")
    assert_listed([data / "both.parquet"], [f"{data}/both.parquet#0"], uri_column="url", image_column="thumbnail")


def test_rows_without_a_uri_are_counted(data):
    result = assert_listed([data / "l.csv", data / "l.parquet"], ["s3://bucket/d.jpg", "/g.jpg"])
    [counter] = result.metrics().query(MetricsFilter().with_name("passed_over_no_uri"))["counters"]
    assert counter.committed == 3


def test_relative_inputs_and_repeats(data, monkeypatch):
    monkeypatch.chdir(data)
    check_inputs(["photos", "blob"])
    # The same input twice counts once; an image that two inputs hold is listed twice.
    assert_listed(["blob", "blob", "./photos/../blob"], [f"{data}/blob"] * 2)


def test_a_list_in_a_list_is_an_image(data):
    (data / "outer.txt").write_text("l.txt\nphotos/shard.tar\n")
    assert_listed([data / "outer.txt"], [f"{data}/l.txt", f"{data}/photos/shard.tar"])


def test_file_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    assert_listed([tmp_path, tmp_path / name], [f"{tmp_path}/{name}"] * 2)


def listed(inputs, **options):
    """The references with a problem, and the URIs of the others."""
    COLLECTED.clear()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        _ = pipeline | ListImages([str(uri) for uri in inputs], ListOptions(**options)) | beam.Map(collect)
    return [r for r in COLLECTED if r.problem], sorted(r.uri for r in COLLECTED if not r.problem)


COLLECTED = []


def collect(reference):
    COLLECTED.append(reference)


def test_a_damaged_container_is_one_failed_image_and_the_job_goes_on(data):
    path = data / "photos/shard.tar"
    path.write_bytes(path.read_bytes()[:-9000])
    [problem], others = listed([data / "photos"])
    assert problem.uri == f"{path}#byte 1024" and "photos/shard.tar, byte 1024: cut off" in problem.problem
    assert f"{path}#h.jpg" in others and f"{data}/photos/a.jpg" in others
    with pytest.raises(Exception, match="Without --strict-inputs"):
        listed([data / "photos"], strict_inputs=True)


@pytest.mark.parametrize("name", ["bad.tar", "bad.tar.gz", "bad.tfrecord", "bad.tgz"])
def test_a_file_that_is_no_container_is_one_failed_image(data, name):
    (data / "photos" / name).write_bytes(b"no container")
    [problem], others = listed([data / "photos"])
    assert problem.uri == f"{data}/photos/{name}" and name in problem.problem and len(others) == 3
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        check_inputs([str(data / "photos" / name)])


def test_a_second_list_without_the_column_is_one_failed_image(data):
    (data / "l2.csv").write_text("url\na.jpg\n")
    [problem], others = listed([data / "l*.csv"])
    assert problem.uri == f"{data}/l2.csv" and "no column 'uri'" in problem.problem and others == ["s3://bucket/d.jpg"]


def test_what_stood_in_the_list_and_where_relative_entries_start(data):
    (data / "l.txt").write_text("photos/a.jpg\n  /x/b.jpg \nfile:///c.jpg\n")
    COLLECTED.clear()
    for prefix, start in ((None, f"{data}/"), ("/other/", "/other/"), ("s3://b/x-", "s3://b/x-")):
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            _ = pipeline | ListImages([str(data / "l.txt")], ListOptions(uri_prefix=prefix)) | beam.Map(collect)
        assert [(r.uri, r.listed_as) for r in COLLECTED] == [
            (f"{start}photos/a.jpg", "photos/a.jpg"),
            ("/x/b.jpg", "/x/b.jpg"),
            ("/c.jpg", "file:///c.jpg"),
        ]
        COLLECTED.clear()


def test_checking_stops_at_the_first_image(data):
    (data / "l.csv").write_text('uri\na.jpg\n"damaged')  # the pipeline will find that
    check_inputs([str(data / "l.csv")])
    [problem], others = listed([data / "l.csv"])
    assert "line 3: not valid CSV" in problem.problem and others == [f"{data}/a.jpg"]
