"""Videos and files of several pages that inputs and lists name."""

import importlib.util

import apache_beam as beam
import pytest
from labelbeam.storage.installation import install_hint
from labelbeam.storage.read_options import ReadOptions
from labelbeam.transforms.elements import ImageFacts, ImageReference
from labelbeam.transforms.fetch.read_bytes import read_bytes
from labelbeam.transforms.fetch.read_frame import read_frame
from labelbeam.transforms.list_images import ListImages
from labelbeam.transforms.sources.check_inputs import check_inputs
from labelbeam.transforms.sources.containers import close_containers, index_members
from labelbeam.transforms.sources.find_files import find_files
from labelbeam.transforms.sources.inputs import InputError, ListOptions
from labelbeam.transforms.sources.list_frames import frames_named

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.store_servers import new_bucket, s3_filesystem, s3_options
from tests.fakes.videos import number_of, write_video
from tests.transforms.sources.paged_files import write_pages

LISTED = []


def collect(reference):
    LISTED.append(reference)


def list_all(*inputs, read=ReadOptions(), **options):
    LISTED.clear()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        references = pipeline | ListImages([str(uri) for uri in inputs], ListOptions(**options), read=read)
        _ = references | beam.Map(collect)
    return list(LISTED)


@pytest.fixture
def folder(tmp_path):
    write_video(tmp_path / "a.mp4")
    write_video(tmp_path / "deep.MKV", rate=10)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    return tmp_path


def below(folder, references):
    return sorted(reference.uri.removeprefix(f"{folder}/") for reference in references)


A = ["a.mp4#t=0.000", "a.mp4#t=1.000", "a.mp4#t=2.000"]
DEEP = [f"deep.MKV#t={time}.000" for time in range(6)]


@pytest.mark.parametrize(
    "inputs, expected",
    [
        (["."], [*A, *DEEP, "photo.jpg"]),
        (["*.mp4"], A),
        (["deep.MKV"], DEEP),
        (["a.mp4#t=0.480"], ["a.mp4#t=0.480"]),
    ],
)
def test_folders_globs_and_names(folder, inputs, expected):
    inputs = [f"{folder}/{name}" for name in inputs]
    check_inputs(inputs)
    assert below(folder, list_all(*inputs)) == sorted(expected)


def test_entries_of_lists(folder):
    entries = ["a.mp4", "a.mp4#t=0.48", "photo.jpg", "a.mp4#t=0.481", "gone.mp4", "gone.mp4#t=1"]
    (folder / "list.csv").write_text("\n".join(["uri,site", *(f"{entry},north" for entry in entries)]))
    found = list_all(folder / "list.csv", carry=["site"])
    sound = {r.uri.removeprefix(f"{folder}/"): r.listed_as for r in found if not r.problem}
    assert sound == {
        **dict.fromkeys(A, "a.mp4"),
        "a.mp4#t=0.480": "a.mp4#t=0.48",
        "photo.jpg": "photo.jpg",
        "gone.mp4": "gone.mp4",
        "gone.mp4#t=1": "gone.mp4#t=1",
    }
    assert {r.carried for r in found} == {("north",)}
    problems = {r.listed_as: r.problem for r in found if r.problem}
    assert "no frame at #t=0.481; the last is #t=2.360" in problems.pop("a.mp4#t=0.481")
    assert problems == {}


@pytest.fixture
def web():
    with MisbehavingServer({}) as server:
        yield server


def test_videos_on_servers_are_read_once_a_process(folder, web):
    web.files["a.mp4"] = (folder / "a.mp4").read_bytes()
    web.files["garbage.mp4"] = b"garbage"
    url = web.url("/files/a.mp4")
    entries = [url, f"{url}#t=0.480", web.url("/files/gone.mp4"), web.url("/files/garbage.mp4")]
    (folder / "list.txt").write_text("\n".join(entries))
    check_inputs([f"{folder}/list.txt", url])
    found = list_all(folder / "list.txt", url)
    frames = {r.uri: r for r in found if r.location is not None}
    assert set(frames) == {f"{url}#t={time}" for time in ("0.000", "0.480", "1.000", "2.000")}
    assert {r.uri for r in found if r.location is None and not r.problem} == {web.url("/files/gone.mp4")}
    assert ["no video" in r.problem for r in found if r.problem] == [True]
    facts = ImageFacts()
    frame = read_frame(frames[f"{url}#t=0.480"], ReadOptions(), facts)
    assert number_of(frame.to_ndarray(format="rgb24")) == 12 and facts.version.etag
    assert web.count("/files/a.mp4") == 1
    close_containers()


@pytest.mark.heavy
def test_videos_in_stores(folder, s3_port, use_store_options):
    films = new_bucket()
    filesystem = s3_filesystem(s3_port, films)
    for name in ("a.mp4", "deep.MKV"):
        with filesystem.open_output_stream(f"{films}/{name}") as file:
            file.write((folder / name).read_bytes())
    use_store_options(s3_options(s3_port))
    files = [file.uri for file in find_files(f"s3://{films}/")]
    references = [reference for uri in files for reference in index_members(uri)]
    assert sorted(r.uri for r in references) == [f"s3://{films}/{name}" for name in A + DEEP]
    for number, reference in enumerate(sorted(references, key=lambda r: r.uri)[:3]):
        facts = ImageFacts()
        frame = read_frame(reference, ReadOptions(), facts)
        assert number_of(frame.to_ndarray(format="rgb24")) == 25 * number and facts.version.etag
    close_containers()


def test_lists_open_no_videos_that_may_not_be_read(folder):
    (folder / "list.txt").write_text("a.mp4\n")
    [reference] = list_all(folder / "list.txt", read=ReadOptions(allow_schemes=frozenset({"https"})))
    assert (reference.uri, reference.location) == (f"{folder}/a.mp4", None)  # which reading refuses


def test_a_file_that_is_called_like_a_frame_is_itself(folder):
    (folder / "a.mp4").rename(folder / "b.mp4#t=1.5")
    (folder / "list.txt").write_text("b.mp4#t=1.5")
    assert below(folder, list_all(folder / "list.txt", folder / "b.mp4#t=1.5")) == ["b.mp4#t=1.5"] * 2


def test_without_pyav_a_video_is_refused_with_what_installs_it(folder, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else real(name, *rest))
    for inputs, options in [(["a.mp4"], {}), (["list.txt"], {}), (["."], {"frames_every": "10f"})]:
        (folder / "list.txt").write_text("a.mp4")
        with pytest.raises(InputError, match="PyAV, which isn't installed") as error:
            check_inputs([f"{folder}/{name}" for name in inputs], ListOptions(**options))
        assert install_hint("video") in str(error.value)
    (folder / "list.txt").unlink()
    check_inputs([f"{folder}/"])
    assert below(folder, list_all(folder)) == ["photo.jpg"]


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write_pages(folder / "a.tif", 3)
    write_pages(folder / "b.GIF", 2)
    write_pages(folder / "one.png", 1)
    write_pages(folder / "one.tiff", 1)
    (folder / "photo.jpg").write_bytes(b"x")
    return folder


PAGES = ["a.tif#page=1", "a.tif#page=2", "a.tif#page=3", "b.GIF#page=1", "b.GIF#page=2"]
ONES = ["one.png", "one.tiff", "photo.jpg"]


@pytest.mark.parametrize(
    "inputs, pages, expected",
    [
        (["."], "first", ["a.tif", "b.GIF", *ONES]),
        (["."], "all", [*PAGES, *ONES]),
        (["*.tif"], "all", PAGES[:3]),
        (["b.GIF"], "all", PAGES[3:]),
        (["a.tif#page=2", "one.png#page=1"], "first", ["a.tif#page=2", "one.png#page=1"]),
    ],
)
def test_pages_in_folders_globs_and_names(scans, inputs, pages, expected):
    inputs = [f"{scans}/{name}" for name in inputs]
    check_inputs(inputs, ListOptions(pages=pages))
    assert below(scans, list_all(*inputs, pages=pages)) == sorted(expected)


def test_pages_in_lists(scans):
    entries = ["a.tif", "a.tif#page=2", "photo.jpg", "a.tif#page=99", "gone.tif", "gone.tif#page=1", "photo.jpg#page=1"]
    (scans / "list.csv").write_text("\n".join(["uri,site", *(f"{entry},north" for entry in entries)]))
    for pages, of_a in [("first", ["a.tif"]), ("all", PAGES[:3])]:
        found = list_all(scans / "list.csv", carry=["site"], pages=pages)
        assert {r.carried for r in found} == {("north",)}
        [missing] = [r for r in found if r.problem]
        assert missing.listed_as == "a.tif#page=99" and "the last is #page=3" in missing.problem
        sound = sorted((r.uri.removeprefix(f"{scans}/"), r.listed_as) for r in found if not r.problem)
        others = ["a.tif#page=2", "photo.jpg", "gone.tif", "gone.tif#page=1", "photo.jpg#page=1"]
        assert sound == sorted([*((uri, "a.tif") for uri in of_a), *((uri, uri) for uri in others)])


def test_a_page_that_is_not_there_is_refused_before_the_job(scans):
    with pytest.raises(InputError, match="no page at #page=7; the last is #page=3"):
        check_inputs([f"{scans}/a.tif#page=7"])
    with pytest.raises(InputError, match="expected first or all"):
        ListOptions(pages="last")


def test_a_file_that_is_called_like_a_page_is_itself(scans):
    (scans / "a.tif").rename(scans / "c.tif#page=2")
    (scans / "list.txt").write_text("c.tif#page=2")
    assert below(scans, list_all(scans / "list.txt", scans / "c.tif#page=2")) == ["c.tif#page=2"] * 2


def test_pages_on_servers_are_read_once_a_process(scans, web):
    for name in ("a.tif", "b.GIF", "one.png"):
        web.files[name] = (scans / name).read_bytes()
    urls = [web.url(f"/files/{name}") for name in ("a.tif", "b.GIF", "one.png", "gone.tif")]
    (scans / "list.txt").write_text("\n".join([*urls, f"{urls[0]}#page=3"]))
    check_inputs([f"{scans}/list.txt", f"{urls[0]}#page=3"])
    found = {r.uri: r for r in list_all(scans / "list.txt", f"{urls[0]}#page=2", pages="all")}
    assert sorted(found) == sorted([*(web.url(f"/files/{name}") for name in PAGES), urls[2], urls[3]])
    facts = ImageFacts()
    data = read_bytes(found[f"{urls[0]}#page=2"], ReadOptions(), facts)
    assert data.startswith(b"II*") and facts.version.etag
    close_containers()
    before = web.count("/files/b.GIF")
    assert [read_frame(r, ReadOptions(), facts).size for r in list_all(urls[1], pages="all")] == [(48, 32)] * 2
    assert web.count("/files/b.GIF") <= before + 1
    close_containers()


@pytest.mark.heavy
def test_pages_in_stores(s3_port, scans, use_store_options):
    bucket = new_bucket()
    filesystem = s3_filesystem(s3_port, bucket)
    for name in ("a.tif", "b.GIF", "one.png"):
        with filesystem.open_output_stream(f"{bucket}/{name}") as file:
            file.write((scans / name).read_bytes())
    use_store_options(s3_options(s3_port))
    entries = [*(file.uri for file in find_files(f"s3://{bucket}/")), f"s3://{bucket}/a.tif#page=2"]
    listed = [frames_named(ImageReference(uri), ListOptions(pages="all"), ReadOptions()) for uri in entries]
    found = {r.uri: r for references in listed for r in references}
    assert sorted(found) == sorted(f"s3://{bucket}/{name}" for name in [*PAGES, "one.png"])
    assert [file.format for file in find_files(f"s3://{bucket}/a.tif#page=2")] == ["image"]
    for name in PAGES[:3]:
        facts = ImageFacts()
        data = read_bytes(found[f"s3://{bucket}/{name}"], ReadOptions(), facts)
        assert data.startswith(b"II*") and facts.version.etag
    assert read_frame(found[f"s3://{bucket}/b.GIF#page=2"], ReadOptions(), ImageFacts()).size == (48, 32)
    close_containers()
