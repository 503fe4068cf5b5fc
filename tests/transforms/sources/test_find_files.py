import os
from collections import defaultdict

import pytest
from apache_beam.io.filesystem import FileSystem
from apache_beam.io.localfilesystem import LocalFileSystem
from labelbeam.transforms.sources.find_files import REASONS, find_files
from labelbeam.transforms.sources.inputs import InputError

from tests.fakes.filesystems import Hdfs, ObjectStore, rooted

FILES = [
    "a.jpg",
    "caption.txt",
    "meta.parquet",
    "shard.tar",
    "x.record-00001-of-00002",
    "noextension",
    "._a.jpg",
    ".git/b.jpg",
    "sub/b.PNG",
    "sub/list.csv",
    "sub/deep/c.webp",
    "sub/deep/d e#%.jpg",
    "other/f.jpg",
]


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


@pytest.fixture(params=["local", ObjectStore, Hdfs], ids=["local", "object store", "hdfs"])
def place(request, folder):
    """The same folder, as each kind of storage lists it."""
    if request.param == "local":
        yield str(folder)
    else:
        with rooted(request.param, folder.parent) as root:
            yield f"{root}/photos"


def below(place, uri):
    return sorted((file.uri.removeprefix(place).lstrip("/"), file.format) for file in find_files(uri))


IN_FOLDER = [
    ("a.jpg", "image"),
    ("other/f.jpg", "image"),
    ("shard.tar", "tar"),
    ("sub/b.PNG", "image"),
    ("sub/deep/c.webp", "image"),
    ("sub/deep/d e#%.jpg", "image"),
    ("x.record-00001-of-00002", "tfrecord"),
]


@pytest.mark.parametrize("ending", ["", "/", "/**"])
def test_a_folder_offers_images_and_containers_at_any_depth(place, ending):
    assert below(place, place + ending) == IN_FOLDER


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("*.jpg", ["a.jpg"]),
        ("*", ["a.jpg", "shard.tar", "x.record-00001-of-00002"]),
        ("**/*.jpg", ["a.jpg", "other/f.jpg", "sub/deep/d e#%.jpg"]),
        ("**/deep/**/*.webp", ["sub/deep/c.webp"]),
        ("*/*", ["other/f.jpg", "sub/b.PNG"]),
        ("s*/deep/?.webp", ["sub/deep/c.webp"]),
        ("sub/[a-b].[Pp][Nn][Gg]", ["sub/b.PNG"]),
        ("**/*.csv", ["sub/list.csv"]),
        ("*.parquet", ["meta.parquet"]),
        ("x.record-*-of-*", ["x.record-00001-of-00002"]),
        ("noext*", []),
        ("*.gif", []),
        ("nofolder/**/*.jpg", []),
    ],
)
def test_globs(place, pattern, expected):
    assert [name for name, _ in below(place, f"{place}/{pattern}")] == expected


@pytest.mark.parametrize(
    "name, file_format",
    [
        ("a.jpg", "image"),
        ("caption.txt", "txt"),
        ("noextension", "image"),
        ("._a.jpg", "image"),
        ("sub/deep/d e#%.jpg", "image"),
    ],
)
def test_a_file_that_is_named_is_what_its_extension_says_else_an_image(place, name, file_format):
    assert below(place, f"{place}/{name}") == [(name, file_format)]


def test_what_is_missing_matches_nothing(place):
    assert below(place, f"{place}/missing.jpg") == below(place, f"{place}/missing/") == []


def test_names_with_wildcard_characters_are_found_as_they_are_written(place, folder):
    (folder / "set[1]").mkdir()
    (folder / "set[1]" / "what?*.jpg").write_bytes(b"x")
    assert below(place, f"{place}/set[1]/what?*.jpg") == [("set[1]/what?*.jpg", "image")]


def test_a_compressed_container_is_refused_not_overlooked(place, folder):
    (folder / "other" / "shard.tar.gz").write_bytes(b"x")
    assert ("other/shard.tar.gz", "compressed") in below(place, place)
    with pytest.raises(InputError, match=r"other/shard\.tar\.gz: .* decompress it"):
        below(place, f"{place}/other/shard.tar.gz")


def test_an_object_store_is_asked_for_the_longest_prefix(folder, monkeypatch):
    monkeypatch.setattr(ObjectStore, "listed", 0)
    with rooted(ObjectStore, folder.parent) as root:
        assert len(below(root, f"{root}/photos/sub/de*/*.webp")) == 1
        assert ObjectStore.listed == 2  # those that begin with photos/sub/de
        assert len(below(root, "objects://photos")) == len(IN_FOLDER)


def test_looking_for_the_first_file_lists_no_more(folder, monkeypatch):
    monkeypatch.setattr(ObjectStore, "listed", 0)
    with rooted(ObjectStore, folder.parent) as root:
        next(find_files(f"{root}/photos/sub"))
    assert ObjectStore.listed == 1


def test_a_local_folder_that_cannot_be_read_is_an_error_not_a_gap(folder, monkeypatch):
    scandir = os.scandir

    def forbid_sub(path):
        if str(path).endswith("/sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid_sub)  # root may read every folder
    with pytest.raises(PermissionError, match="photos/sub"):
        below(str(folder), str(folder))


def test_a_remote_folder_that_cannot_be_read_is_an_error_not_a_gap(folder):
    (folder / "sub" / ".forbidden").write_bytes(b"x")
    with rooted(Hdfs, folder.parent) as root, pytest.raises(OSError, match="Permission denied"):
        below(root, f"{root}/photos")


def test_an_empty_remote_file_is_not_taken_for_a_folder(folder):
    (folder / "other" / "empty.jpg").write_bytes(b"")
    with rooted(Hdfs, folder.parent) as root:
        names = [name for name, _ in below(root, f"{root}/photos/other")]
    assert names == ["photos/other/empty.jpg", "photos/other/f.jpg"]


def passed_over(place, uri, exclude=()):
    """What is passed over, by reason, and what is found."""
    reasons = defaultdict(list)
    found = list(find_files(uri, exclude, lambda reason, uri: reasons[reason].append(uri.removeprefix(f"{place}/"))))
    assert set(reasons) <= set(REASONS)
    return {reason: sorted(uris) for reason, uris in reasons.items()}, len(found)


def test_what_a_folder_passes_over_is_told_with_the_reason(place, folder):
    for name in ("IMG.NEF", "@eaDir/a.jpg", "__MACOSX/x/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    reasons, found = passed_over(place, place)
    assert found == len(IN_FOLDER)
    assert reasons == {
        "hidden": ["._a.jpg", ".git"],
        "system_folder": ["@eaDir", "__MACOSX"],
        "not_named": ["caption.txt", "meta.parquet", "sub/list.csv"],
        "format_not_read": ["IMG.NEF"],
        "unknown_extension": ["noextension"],
    }


def test_label_sets_are_no_inputs(place, folder):
    for name in ("out/_label_set.json", "out/masks_png/ab/m.png", "out/contact_sheet.png", "outer/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    reasons, found = passed_over(place, place)
    assert reasons["label_set"] == ["out"] and found == len(IN_FOLDER) + 1
    if place == str(folder):
        for inside in ("out", "out/masks_png", "out/masks_png/**/*.png"):
            assert passed_over(place, f"{place}/{inside}") == ({"label_set": [inside.split("/**")[0] + "/"]}, 0)


@pytest.mark.parametrize(
    "exclude, left_out",
    [
        (["*.PNG"], ["sub/b.PNG"]),
        (["deep"], ["sub/deep"]),
        (["sub/deep"], ["sub/deep"]),
        (["sub/*.PNG", "ot*"], ["other", "sub/b.PNG"]),
        (["**/c.*"], ["sub/deep/c.webp"]),
        (["sub/**"], ["sub"]),
        (["c.webp/deep", "ub"], []),
    ],
)
def test_exclude(place, exclude, left_out):
    reasons, found = passed_over(place, place, exclude)
    assert reasons.get("excluded", []) == left_out
    assert found == sum(not any(name.startswith(x) for x in left_out) for name, _ in IN_FOLDER)


def test_no_regular_files_are_passed_over_and_links_to_folders_not_followed(folder):
    os.symlink(folder, folder / "other" / "loop")
    os.symlink(folder / "gone", folder / "other" / "broken.jpg")
    os.mkfifo(folder / "pipe.tar")
    reasons, found = passed_over(str(folder), str(folder))
    assert found == len(IN_FOLDER)
    assert reasons["linked_folder"] == ["other/loop"] and reasons["special_file"] == ["other/broken.jpg", "pipe.tar"]
    with pytest.raises(InputError, match=r"pipe\.tar: no regular file"):
        list(find_files(str(folder / "pipe.tar")))


def test_a_glob_below_a_folder_with_wildcard_characters_in_its_name(folder):
    (folder / "set [1]").mkdir()
    (folder / "set [1]" / "a.jpg").write_bytes(b"x")
    assert below(str(folder), f"{folder}/set [1]/*.jpg") == [("set [1]/a.jpg", "image")]
    assert below(str(folder), f"{folder}/*/set [1]/*.jpg") == []


@pytest.mark.parametrize(
    "uri, message",
    [
        (
            "ftp://host/a.jpg",
            r"ftp://host/a\.jpg: no filesystem for ftp://; expected a path, or one of .*gs://.*https://",
        ),
        (
            "hdfs://host/a.jpg",
            r"hdfs://host/a\.jpg: no filesystem for hdfs://; .* `pip install 'apache-beam\[hadoop\]'`",
        ),
    ],
)
def test_a_scheme_that_nothing_here_can_read_is_named(uri, message, monkeypatch):
    monkeypatch.setattr(FileSystem, "get_all_subclasses", lambda: [LocalFileSystem])
    with pytest.raises(InputError, match=message):
        list(find_files(uri))


@pytest.mark.parametrize("uri", ["https://host/x.tar", "http://host/x.tfrecord?a=b"])
def test_containers_are_not_read_over_http(uri):
    with pytest.raises(InputError, match="not read over HTTP"):
        list(find_files(uri))
