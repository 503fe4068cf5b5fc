import os
import re

import pytest
from labelbeam.storage.uris import absolute, resolve
from labelbeam.transforms.sources.find_files import find_files
from labelbeam.transforms.sources.inputs import InputError, container_of, format_of, image_extensions


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.jpg", "image"),
        ("A.JPEG", "image"),
        ("a.webp", "image"),
        ("a.tif", "image"),
        ("a.avif", "image"),
        ("l.txt", "txt"),
        ("l.CSV", "csv"),
        ("l.csv.gz", "csv"),
        ("l.jsonl.xz", "jsonl"),
        ("x.parquet", "parquet"),
        ("x.tar", "tar"),
        ("x.tar.gz", "compressed"),
        ("x.tgz", "compressed"),
        ("x.tar.zst", "compressed"),
        ("x.txt.zst", "txt"),
        ("x.jsonl.zst", "jsonl"),
        ("x.TSV.gz", "tsv"),
        ("x.ndjson", "jsonl"),
        ("x.tfrecord.gz", "compressed"),
        ("x.tfrecord", "tfrecord"),
        ("x.tfrecords", "tfrecord"),
        ("x.record", "tfrecord"),
        ("x.tfrecord-00000-of-00010", "tfrecord"),
        ("coco_train.record-00003-of-00100", "tfrecord"),
        ("a", None),
        ("a.json", None),
        ("a.gz", None),
        ("a.mpg", None),
        ("a.h5", None),
        ("csv", None),
        ("a.jpg.gz", None),
        ("https://host/x.csv?token=a.jpg", "csv"),
        ("https://host/image?name=x.csv", None),
        ("/tmp/a?b/x.csv", "csv"),
    ],
)
def test_a_files_name_tells_what_it_is(name, expected):
    assert format_of(name) == expected


def test_formats_that_pillow_only_identifies_are_no_images():
    assert {".jpg", ".png", ".bmp", ".gif", ".jp2"} <= image_extensions()
    assert not {".pdf", ".mpeg", ".h5", ".grib", ".bufr"} & image_extensions()


@pytest.mark.parametrize(
    "entry, list_uri, expected",
    [
        ("/data/a.jpg", "/lists/l.txt", "/data/a.jpg"),
        ("a b#1%20.jpg", "/lists/l.txt", "/lists/a b#1%20.jpg"),
        ("../images/./a.jpg", "/data/lists/l.txt", "/data/images/a.jpg"),
        ("gs://b/k", "/lists/l.txt", "gs://b/k"),
        ("file:///data/a%20b.jpg", "/lists/l.txt", "/data/a b.jpg"),
        ("file:/data/a%20b.jpg", "/lists/l.txt", "/data/a b.jpg"),
        ("file:/data/a.jpg", "https://host/lists/l.txt", "/data/a.jpg"),
        ("file:/data/\udc80%FF.jpg", "/lists/l.txt", "/data/\udc80\udcff.jpg"),
        ("FILE:///data/a.jpg", "/lists/l.txt", "/data/a.jpg"),
        ("file://LOCALHOST/data/a.jpg", "/lists/l.txt", "/data/a.jpg"),
        ("file://elsewhere/a.jpg", "/lists/l.txt", "file://elsewhere/a.jpg"),
        ("a.jpg", "gs://bucket/lists/l.txt", "gs://bucket/lists/a.jpg"),
        ("a//b.jpg", "gs://bucket//l.txt", "gs://bucket//a//b.jpg"),
        ("../../../a.jpg", "s3://bucket/lists/l.txt", "s3://bucket/a.jpg"),
        ("../a.jpg", "s3://bucket/l.txt", "s3://bucket/a.jpg"),
        ("../img/a.jpg", "https://host/lists/l.txt?x=1", "https://host/img/a.jpg"),
        ("/img/a.jpg?size=2", "https://host/lists/l.txt", "https://host/img/a.jpg?size=2"),
        ("//cdn/a.jpg", "https://host/lists/l.txt", "https://cdn/a.jpg"),
        ("//[", "https://host/lists/l.txt", "//["),
    ],
)
def test_a_relative_entry_starts_at_the_folder_of_its_list(entry, list_uri, expected):
    assert resolve(entry, list_uri) == expected


def test_local_inputs_become_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("a/../b.jpg") == os.path.join(os.getcwd(), "b.jpg")
    assert absolute("file:///x/%C3%A9.jpg") == absolute("file:/x/%C3%A9.jpg") == "/x/é.jpg"
    assert absolute("s3://bucket/./a") == "s3://bucket/./a"
    assert absolute("//x/a.jpg") == absolute("FILE:/x/a.jpg") == "/x/a.jpg"


@pytest.mark.parametrize(
    "uri, named",
    [
        ("s3a://bucket/a.jpg", "write s3://bucket/a.jpg"),
        ("S3N://bucket/folder/", "write s3://bucket/folder/"),
        ("gcs://bucket/*.jpg", "write gs://bucket/"),
        ("s3:///a.jpg", "no bucket"),
        ("s3://", "no bucket"),
        ("file://nas/a.jpg", "names another host"),
        ("wasbs://container@account/a.jpg", "no filesystem for wasbs://"),
    ],
)
def test_inputs_that_other_tools_write_otherwise(uri, named):
    with pytest.raises(InputError, match=re.escape(named)):
        list(find_files(uri))


@pytest.mark.parametrize(
    "uri, container",
    [
        ("/x/shard.tar#a.jpg", "/x/shard.tar"),
        ("/a#b/shard.tar#c#d.jpg", "/a#b/shard.tar"),
        ("s3://b/x.parquet#7", "s3://b/x.parquet"),
        ("/a#b/c.jpg", None),
        ("/x/shard.tar", None),
        ("https://host/a.jpg#part", None),
        ("/a#b/scan.TIF#page=3", "/a#b/scan.TIF"),
        ("https://host/a.gif?x=1#page=3", "https://host/a.gif?x=1"),
        ("/x/photo.jpg#page=3", None),
        ("/x/scan.tif#page=three", None),
    ],
)
def test_the_container_of_a_member_by_its_uri(uri, container):
    assert container_of(uri) == container
