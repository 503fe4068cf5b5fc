import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.storage.errors import UsageError
from labelbeam.transforms.sources.check_inputs import check_inputs
from labelbeam.transforms.sources.inputs import InputError, ListOptions

from tests.fakes.filesystems import ObjectStore, rooted
from tests.fakes.http_server import MisbehavingServer


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.jpg", r"missing\.jpg: no such file"),
        ("missing/*.jpg", r"\*\.jpg: matches no image"),
        ("empty", r"empty: .*folder without images"),
        ("lists", r"lists: .*as in folder/\*\.csv"),
        ("comments.txt", r"comments\.txt: matches no image; .*comments\.txt is a list without URIs"),
        ("header.csv", r"header\.csv: .*is a list without URIs"),
        ("nulls.parquet", r"nulls\.parquet: .*is a list without URIs"),
        ("*.csv", r"\*\.csv: matches no image; .*header\.csv is a list without URIs"),
        ("nothing.tar", r"nothing\.tar: .*is a container without images"),
        ("nothing.tfrecord", r"nothing\.tfrecord: .*is a container without images"),
        ("lists/urls.csv", r"urls\.csv: no column 'uri'; found 'url', 'caption'"),
        ("neither.parquet", r"neither\.parquet: expected a column 'uri'.*found n \(int64\)"),
        ("x.tar.gz", r"x\.tar\.gz: .*decompress it"),
        ("broken.tar", r"broken\.tar: not a tar archive"),
        ("broken.parquet", r"broken\.parquet: not a Parquet file"),
    ],
)
def test_inputs_that_cannot_be_used_are_named_before_the_job(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/urls.csv").write_text("url,caption\na.jpg,x\n")
    (tmp_path / "comments.txt").write_text("# nothing\n\n")
    (tmp_path / "header.csv").write_text("uri\n\n")
    pq.write_table(pa.table({"uri": pa.array([None], pa.string())}), tmp_path / "nulls.parquet")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "neither.parquet")
    tarfile.open(tmp_path / "nothing.tar", "w").close()
    (tmp_path / "nothing.tfrecord").write_bytes(b"")
    for broken in ["x.tar.gz", "broken.tar", "broken.parquet"]:
        (tmp_path / broken).write_bytes(b"broken")
    with pytest.raises(InputError, match=message):
        check_inputs([str(tmp_path / "header.csv").replace("header.csv", name)])


@pytest.mark.parametrize(
    "inputs, message",
    [
        ([], "no inputs"),
        ([""], "empty"),
        (["ftp://host/a.jpg"], "no filesystem for ftp://"),
        (["https://host/shard.tar"], "not read over HTTP"),
    ],
)
def test_inputs_that_cannot_be_used_by_their_names(inputs, message):
    with pytest.raises(InputError, match=message):
        check_inputs(inputs)


@pytest.mark.parametrize(
    "name, message",
    [("missing.txt", "HTTP status 404"), ("missing.parquet", "HTTP status 404"), ("l.csv", "no column 'url'")],
)
def test_http_lists_that_cannot_be_used(name, message):
    with MisbehavingServer({"l.csv": b"uri\na.jpg\n"}) as server:
        url = server.url(f"/files/{name}")
        with pytest.raises(InputError, match=f"{url}: .*{message}"):
            check_inputs([url], ListOptions(uri_column="url"))


def test_the_second_of_several_inputs_is_checked_too(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match="missing"):
        check_inputs([str(tmp_path), str(tmp_path / "missing")])


def test_what_a_client_raises_becomes_an_input_error(monkeypatch, tmp_path):
    def refuse(self, path):
        raise RuntimeError("credentials expired")

    monkeypatch.setattr(ObjectStore, "exists", refuse)
    with rooted(ObjectStore, tmp_path) as root:
        with pytest.raises(InputError, match=r"objects://b/a\.jpg: can't be read \(RuntimeError: credentials expired"):
            check_inputs([f"{root}/b/a.jpg"])


def test_an_input_error_is_a_usage_error():
    assert issubclass(InputError, UsageError) and issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    "name, text",
    [("l.json", '{"images": []}'), ("l.geojson", "{}"), ("l.lst", "a.jpg"), ("list", "<html>"), ("l.md", "x")],
)
def test_text_without_the_extension_of_a_list_is_refused_not_labelled(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"\. Lists of URIs are \.txt, \.csv"):
        check_inputs([str(tmp_path / name)])
