"""`--relabel-changed`: images whose files were replaced are labelled again, wherever they lie."""

import hashlib
import io
import os
import tarfile

import pytest
from PIL import Image

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.images import save_image

AGAIN = ["--relabel-changed"]


def replace_image(path, seed, size_hw=(48, 64)):
    """Another image in the same place, a moment later, however coarse the disk's clock is."""
    before = path.stat().st_mtime_ns
    save_image(path, seed, size_hw)
    os.utime(path, ns=(before + 7_000, before + 7_000))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sums_of(labels):
    return labels.frame("images").set_index("uri").sha256.to_dict()


@pytest.mark.heavy
def test_replaced_files_are_labelled_again_on_request(label, image_folder):
    _, _, labels = label(image_folder)
    before = sums_of(labels)
    path = image_folder / "2.jpg"
    sha256 = replace_image(path, 77, size_hw=(30, 40))
    code, printed, labels = label(image_folder)
    assert code == 0 and "Nothing to do" in printed and sums_of(labels) == before
    code, printed, _ = label(image_folder, options=[*AGAIN, "--dry-run"])
    assert code == 0 and "1 image would be labelled; 5 of 6 have rows already" in printed
    code, printed, labels = label(image_folder, options=AGAIN)
    assert code == 0 and "Labelled 1 of 6 images" in printed and "changed     1 were labelled earlier" in printed
    assert sums_of(labels) == {**before, str(path): sha256}
    images, detections = labels.frame("images"), labels.frame("detections")
    assert images.image_id.is_unique and detections.detection_id.is_unique
    [image] = images[images.uri == str(path)].itertuples()
    assert (image.width, image.height, image.modified_at.value) == (40, 30, path.stat().st_mtime_ns // 1000 * 1000)
    code, printed, _ = label(image_folder, options=AGAIN)
    assert code == 0 and "Nothing to do: 6 images, labelled already" in printed


@pytest.mark.heavy
def test_a_file_that_is_broken_now_has_a_failed_row_and_no_labels(label, image_folder):
    label(image_folder)
    (image_folder / "2.jpg").write_bytes(b"no image")
    code, _, labels = label(image_folder, options=AGAIN)
    images = labels.frame("images")
    assert len(images) == 6 and images.set_index("uri").error_kind.dropna().to_dict() == {
        str(image_folder / "2.jpg"): "not_an_image"
    }
    assert set(labels.frame("detections").uri) == set(images.uri[images.status == "ok"])
    save_image(image_folder / "2.jpg", 5)
    code, _, labels = label(image_folder, options=AGAIN)
    assert code == 0 and (labels.frame("images").status == "ok").all()


@pytest.mark.heavy
def test_images_of_servers_are_asked_for_with_head_requests(label, tmp_path, image_folder):
    images = {path.name: path.read_bytes() for path in sorted(image_folder.iterdir())}
    with MisbehavingServer(images) as server:
        routes = ["files/0.jpg", "files/1.jpg", "silent/2.jpg", "no-head/3.jpg"]
        urls = [server.url(f"/{route}") for route in routes]
        (tmp_path / "list.txt").write_text("\n".join(urls))
        label(tmp_path / "list.txt")
        server.files["1.jpg"] = images["4.jpg"]
        code, printed, labels = label(tmp_path / "list.txt", options=AGAIN)
        assert code == 0 and "Labelled 1 of 4 images" in printed
        assert "unknown     2 labelled earlier; whether their files have changed couldn't be told" in printed
        assert sums_of(labels)[urls[1]] == hashlib.sha256(images["4.jpg"]).hexdigest()
        assert labels.frame("images").etag.isna().tolist().count(True) == 1  # /silent


def put_tar(path, names):
    with tarfile.open(path, "w") as archive:
        for seed, name in enumerate(names):
            buffer = io.BytesIO()
            Image.new("RGB", (40 + seed, 30)).save(buffer, "JPEG")
            member = tarfile.TarInfo(name)
            member.size = len(buffer.getvalue())
            archive.addfile(member, io.BytesIO(buffer.getvalue()))


@pytest.mark.heavy
def test_a_replaced_container_s_images_are_all_labelled_again(label, tmp_path):
    put_tar(tmp_path / "a.tar", ["x.jpg", "y.jpg"])
    put_tar(tmp_path / "b.tar", ["x.jpg"])
    label(tmp_path / "a.tar", tmp_path / "b.tar")
    put_tar(tmp_path / "a.tar", ["y.jpg", "x.jpg"])
    os.utime(tmp_path / "a.tar", ns=(0, 10**18))
    code, printed, labels = label(tmp_path / "a.tar", tmp_path / "b.tar", options=AGAIN)
    assert code == 0 and "Labelled 2 of 3 images" in printed
    assert labels.frame("images").set_index("uri").width.to_dict() == {
        f"{tmp_path}/a.tar#y.jpg": 40,
        f"{tmp_path}/a.tar#x.jpg": 41,
        f"{tmp_path}/b.tar#x.jpg": 40,
    }


def test_masks_as_files_would_be_overwritten(label, image_folder):
    code, printed, _ = label(image_folder, options=[*AGAIN, "--mask-format", "png"])
    assert code == 2 and "--relabel-changed: masks that are PNG files would be overwritten" in printed
