"""`labelbeam export` whatever the format: what is refused, what becomes of images, how memory behaves."""

import json
import sys
import tarfile
import tracemalloc

import pytest
from labelbeam.labelset.part_files import DamagedPartError
from labelbeam.results.export import FORMATS, writer_class
from labelbeam.results.export.names import Names, common_folder
from labelbeam.results.export.run import ExportOptions, export
from PIL import Image
from pycocotools.coco import COCO

from tests.fakes import output_folders
from tests.fakes.http_server import MisbehavingServer
from tests.fakes.images import save_image
from tests.fakes.output_folders import detections, failed, labelled, write_part
from tests.results.export.outputs import make_output, run_export, save_label_set


def test_a_jobs_labels_are_written_with_their_images(label, image_folder, tmp_path):
    code, _, labels = label(image_folder)
    assert code == 0
    for format in FORMATS:
        assert run_export(labels.folder, format, tmp_path / format, "--copy-images") == 0
        copies = [path.read_bytes() for path in (tmp_path / format / writer_class(format).images_folder).rglob("*.jpg")]
        assert sorted(copies) == sorted(path.read_bytes() for path in image_folder.iterdir())


@pytest.mark.parametrize("format", FORMATS)
class TestEveryFormat:
    def test_a_folder_that_is_no_label_set_is_refused(self, format, tmp_path, capsys):
        assert run_export(tmp_path, format, tmp_path / "to") == 2
        assert "not the output folder of a label set" in capsys.readouterr().err and not (tmp_path / "to").exists()

    def test_an_empty_label_set_is_refused(self, format, tmp_path, capsys):
        save_label_set(tmp_path / "out")
        assert run_export(tmp_path / "out", format, tmp_path / "to") == 2
        assert (
            "no labelled images; no job has finished a part yet" in capsys.readouterr().err
            and not (tmp_path / "to").exists()
        )

    def test_one_where_everything_failed_is_refused(self, format, tmp_path, capsys):
        save_label_set(tmp_path / "out")
        write_part(tmp_path / "out", [failed("a.png"), failed("b.png")], tables=("detections", "images"))
        assert run_export(tmp_path / "out", format, tmp_path / "to") == 2
        assert "all 2 images of this label set failed (2 truncated)" in capsys.readouterr().err

    def test_one_without_masks_is_boxes_or_refused(self, format, tmp_path, capsys):
        needs_masks = writer_class(format).needs_masks
        assert run_export(make_output(tmp_path, "none"), format, tmp_path / "to") == (2 if needs_masks else 0)
        assert (tmp_path / "to").exists() != needs_masks

    def test_one_without_detections_is_written(self, format, tmp_path):
        save_label_set(tmp_path / "out")
        write_part(tmp_path / "out", [labelled("/p/a.png", (30, 40), detections([]))])
        assert run_export(tmp_path / "out", format, tmp_path / "to") == 0
        assert any(path.is_file() for path in (tmp_path / "to").rglob("*"))

    def test_nothing_is_written_over(self, format, tmp_path, capsys):
        output = make_output(tmp_path)
        (tmp_path / "to").mkdir()
        assert run_export(output, format, tmp_path / "to") == 0  # an empty folder is as good as none
        before = {path: path.read_bytes() for path in (tmp_path / "to").rglob("*") if path.is_file()}
        assert run_export(output, format, tmp_path / "to") == 2
        assert "exists already" in capsys.readouterr().err
        assert before == {path: path.read_bytes() for path in (tmp_path / "to").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options, named",
    [
        (["--min-score", "1.5"], "--min-score 1.5: expected a number from 0 to 1"),
        (["--classes", "bal", "box"], "--classes bal: no such class in this label set. It has: ball, box, class_7"),
        (["--polygon-tolerance-px", "-1"], "expected pixels, 0 or more"),
        (["--copy-images"], "with --copy-images expected a folder"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, options, named, capsys):
    assert run_export(make_output(tmp_path), "coco", tmp_path / "labels.json", *options) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "labels.json").exists()


def test_targets_on_a_store_are_refused(tmp_path, capsys):
    assert run_export(make_output(tmp_path), "coco", "gs://bucket/labels.json") == 2
    assert "expected a path on this machine" in capsys.readouterr().err


def test_links_need_local_files(tmp_path, capsys):
    save_label_set(tmp_path / "out")
    write_part(tmp_path / "out", [labelled("https://example.org/a.jpg", (30, 40), detections([0.5]))])
    assert run_export(tmp_path / "out", "yolo", tmp_path / "to", "--link-images") == 2
    assert "https://example.org/a.jpg isn't a file on this machine; give --copy-images" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["--copy-images", "--link-images"])
def test_images_that_are_gone_are_left_out_and_named(tmp_path, way, capsys):
    output = make_output(tmp_path)
    (tmp_path / "images" / "b" / "1.png").unlink()
    assert run_export(output, "coco", tmp_path / "to", way) == 1
    said = capsys.readouterr().out
    assert "3 images with 4 detections" in said and "1 image: gone, or not what was labelled" in said
    assert "b/1.png: " in said
    coco = COCO(str(tmp_path / "to" / "annotations" / "instances_default.json"))
    names = {image["file_name"] for image in coco.dataset["images"]}
    assert (
        names
        == {
            path.relative_to(tmp_path / "to" / "images").as_posix()
            for path in (tmp_path / "to" / "images").rglob("*.*")
        }
        and len(names) == 3
    )
    assert [image["id"] for image in coco.dataset["images"]] == [1, 2, 3]


def test_an_error_leaves_nothing_behind(tmp_path):
    output = make_output(tmp_path, "png")
    next((output / "masks_png").rglob("*.png")).unlink()
    with pytest.raises(DamagedPartError, match=r"masks_png/.*: damaged .no such file.*repair .*out` takes"):
        export(str(output), ExportOptions("coco", str(tmp_path / "to")))
    assert {path.name for path in tmp_path.iterdir()} == {"out", "images"}


def test_images_of_servers_and_containers_are_copied(tmp_path):
    paths = [save_image(tmp_path / "served" / name, seed) for seed, name in enumerate(["a.jpg", "b.jpg"])]
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for path in paths:
            archive.add(path, f"in/{path.name}")
    with MisbehavingServer({"a.jpg": paths[0].read_bytes()}) as server:
        url = server.url("/files/a.jpg")
        uris = [f"{url}?size=1", f"{url}?size=2", f"{tmp_path}/shard.tar#in/a.jpg", f"{tmp_path}/shard.tar#in/b.jpg"]
        write_part(tmp_path / "out", [labelled(uri, (48, 64), detections([0.5])) for uri in uris])
        save_label_set(tmp_path / "out")
        assert run_export(tmp_path / "out", "coco", tmp_path / "to", "--copy-images") == 0
    images = COCO(str(tmp_path / "to" / "annotations" / "instances_default.json")).dataset["images"]
    copies = {image["uri"]: (tmp_path / "to" / "images" / image["file_name"]).read_bytes() for image in images}
    assert copies == dict(zip(uris, [paths[0].read_bytes()] * 3 + [paths[1].read_bytes()]))


@pytest.mark.parametrize(
    "folder_uris, folder",
    [
        (["/p/a.jpg", "/p/b.jpg"], "/p/"),
        (["/p/x/a.jpg", "/p/xy/b.jpg"], "/p/"),
        (["/p/a.jpg"], "/p/"),
        (["a.jpg", "b.jpg"], ""),
        (["http://a/1", "http://b/1"], "http://"),
        (["/p/ab", "/p/ab/c"], "/p/"),
    ],
)
def test_names_start_at_the_folder_that_all_have_in_common(folder_uris, folder):
    assert common_folder(min(folder_uris), max(folder_uris)) == folder


def test_names_are_harmless_and_never_given_twice():
    hostile = [
        "/p/a.jpg",
        "/p/A.jpg",
        "/p/a.png",
        "/p/b/a.jpg",
        "/p/b__a.jpg",
        "/p/../../etc/passwd",
        "/p//x.jpg",
        "/p/x?.jpg",
        "/p/x_.jpg",
        "/p/..",
        "/p/" + "long" * 200 + ".jpg",
        "/p/" + "long" * 200 + "x.jpg",
        "/p/\x00.jpg",
        "/p/é.jpg",
        "/p/" + "/".join(["deep" * 20] * 10) + "/a.jpg",
        "/p/.hidden",
        "/p/C:\\x.jpg",
    ]
    for flat in (False, True):
        names = Names("/p/", flat)
        given = [names.name(uri, f"{i:032x}") for i, uri in enumerate(hostile)]
        assert len({name.casefold() for name in given}) == len(hostile)
        for name in given:
            assert (
                not {"", ".", ".."} & set(name.split("/"))
                and "\\" not in name
                and ":" not in name
                and "\x00" not in name
            )
            assert all(len(segment.encode()) < 255 for segment in name.split("/")) and not (flat and "/" in name)
        assert given[0] == "a.jpg" and given[3] == ("b__a.jpg" if flat else "b/a.jpg") and "é.jpg" in given
        if flat:
            stems = {name.rpartition(".")[0].casefold() for name in given[:5]}
            assert len(stems) == 5


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_parts(tmp_path):
    def peak(parts):
        output = tmp_path / f"out{parts}"
        for part in range(parts):
            images = [labelled(f"/p/{part}/{i}.jpg", (60, 80), detections([0.5] * 10)) for i in range(20)]
            write_part(output, images, stem=f"part-{part:04d}")
        save_label_set(output)
        tracemalloc.start()
        try:
            export(str(output), ExportOptions("coco", str(tmp_path / f"{parts}.json")))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports
    assert peak(12) < 2 * peak(2)
    assert len(json.loads((tmp_path / "12.json").read_text())["annotations"]) == 2400


def test_a_missing_extra_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert run_export(make_output(tmp_path), "yolo-seg", tmp_path / "to") == 2
    assert "pip install 'scikit-image>=" in capsys.readouterr().err and not (tmp_path / "to").exists()


def test_odd_names_of_images_and_classes_do_no_harm(tmp_path, monkeypatch):
    monkeypatch.setitem(output_folders.NAMES, 1, 'cup: "a" & <b> #é')
    odd = 'a "b" <c> & é, д.png'
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / odd)
    write_part(tmp_path / "out", [labelled(tmp_path / "images" / odd, (30, 40), detections([0.5]))])
    save_label_set(tmp_path / "out")
    for format in FORMATS:
        assert run_export(tmp_path / "out", format, tmp_path / format, "--copy-images") == 0
