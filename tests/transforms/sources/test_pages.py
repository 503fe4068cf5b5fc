"""Pages of TIFF files and frames of animations: which are listed, and what is read of them."""

import hashlib
import random

import numpy as np
import pytest
from labelbeam.storage.read_options import ReadOptions
from labelbeam.transforms.decode.decoding import decode, open_image
from labelbeam.transforms.decode.frame import check_frame_size, decoded_frame
from labelbeam.transforms.elements import ImageError, ImageFacts
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.fetch.read_bytes import read_bytes
from labelbeam.transforms.fetch.read_frame import expect_frame, is_frame, read_frame
from labelbeam.transforms.sources.containers import close_containers
from labelbeam.transforms.sources.containers.pages import MAX_PAGES, read_pages
from labelbeam.transforms.sources.inputs import InputError
from PIL import Image

from tests.transforms.sources.paged_files import TiffWriter, cyclic_tiff, number_of, tiff_of_many, write_pages

ANIMATIONS = [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {}), ("a.png", {"default_image": True})]


@pytest.fixture(autouse=True)
def closed_containers():
    yield
    close_containers()


def listed(path):
    return list(read_pages(str(path)).listed())


def pixels_of(reference, **options):
    if is_frame(reference):
        return decoded_frame(read_frame(reference, ReadOptions(), ImageFacts()), DecodeOptions(**options)).pixels
    return decode(read_bytes(reference, ReadOptions(), ImageFacts()), DecodeOptions(**options))


def numbers(references):
    return [number_of(pixels_of(reference)) for reference in references]


def written(path, writer):
    path.write_bytes(bytes(writer.data))
    return path


@pytest.mark.parametrize(
    "name, options",
    [
        *ANIMATIONS,
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.tif", {"compression": "jpeg", "quality": 100, "subsampling": 0}),
        ("a.tif", {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}}),
        ("a.tif", {"big_tiff": True}),
    ],
)
def test_each_page_has_its_number_and_the_pixels_that_pillow_reads(tmp_path, name, options):
    path = write_pages(tmp_path / name, 20, **options)
    references = listed(path)
    assert [reference.uri for reference in references] == [f"{path}#page={i}" for i in range(1, 21)]
    with Image.open(path) as image:
        for number, reference in enumerate(references):
            image.seek(number)
            assert np.array_equal(pixels_of(reference), np.asarray(image.convert("RGB")))
    shuffled = random.Random(1).sample(range(20), 10)
    assert numbers([references[i] for i in shuffled]) == [i + 1 for i in shuffled]


@pytest.mark.parametrize("order, is_big", [("<", False), (">", False), ("<", True)])
def test_byte_orders_and_sizes_of_offsets(tmp_path, order, is_big):
    writer = TiffWriter(order, is_big)
    for number in (1, 2, 3):
        writer.add(number)
    assert numbers(listed(written(tmp_path / "a.tif", writer))) == [1, 2, 3]


def test_a_page_costs_what_it_takes(tmp_path):
    """And the same bytes come of it in every version, or the tables' hashes would no longer say that it is the same."""
    path = write_pages(tmp_path / "a.tif", 50)
    data = [read_bytes(reference, ReadOptions(), ImageFacts()) for reference in listed(path)]
    assert sum(map(len, data)) < 1.1 * path.stat().st_size
    writer = TiffWriter()
    writer.add(1)
    writer.add(2, {34665: [8], 274: [6], 315: b"somebody\0"})
    [_, second] = listed(written(tmp_path / "b.tif", writer))
    found = hashlib.sha256(read_bytes(second, ReadOptions(), ImageFacts())).hexdigest()
    assert found == "18ce33f6bc9d2840e8c79cfa33366e070f317dfb16e29adc4f6bbea7080dff2e"


def test_a_file_with_one_page_is_an_image_as_any_other(tmp_path):
    for name in ("a.tif", "a.gif", "a.webp", "a.png"):
        [reference] = listed(write_pages(tmp_path / name, 1))
        assert (reference.uri, reference.location) == (f"{tmp_path}/{name}", None)
        named = read_pages(f"{tmp_path}/{name}").named("page=1")
        assert named is not None and numbers([named]) == [1]
    (tmp_path / "b.png").write_bytes(b"no image")
    [reference] = listed(tmp_path / "b.png")
    assert (reference.uri, reference.location) == (f"{tmp_path}/b.png", None)


def test_thumbnails_and_masks_are_no_pages(tmp_path):
    writer = TiffWriter()
    for number, tags in enumerate([{254: [1]}, {}, {255: [2]}, {254: [2]}, {254: [4]}, {254: [9]}, {255: [3]}]):
        writer.add(number, tags)
    assert numbers(listed(written(tmp_path / "a.tif", writer))) == [1, 3, 6]
    writer = TiffWriter()
    writer.add(1, {254: [1]})
    writer.add(2)
    [only] = listed(written(tmp_path / "b.tif", writer))
    assert only.uri.endswith("b.tif#page=1") and numbers([only]) == [2]


def test_what_lies_below_a_page_is_none(tmp_path):
    """Smaller copies below an image are parts of it; a small image with a larger one below is a camera's raw file."""
    writer = TiffWriter()
    smaller, larger = (writer.directory({256: [side], 257: [side]}) for side in (9, 999))
    writer.add(1, {330: [smaller]})
    writer.add(2, {330: [smaller, larger]})
    writer.add(3, {330: [smaller, smaller, 10**9]})
    writer.add(4, {330: [smaller], 50706: [1]})
    assert numbers(listed(written(tmp_path / "a.tif", writer))) == [1, 3]


def test_each_page_is_turned_as_it_says(tmp_path):
    writer = TiffWriter()
    for turned in (1, 6, 3):
        writer.add(1, {274: [turned]})
    references = listed(written(tmp_path / "a.tif", writer))
    assert [pixels_of(reference).shape[:2] for reference in references] == [(32, 48), (48, 32), (32, 48)]
    stored = [pixels_of(reference, exif_orientation="ignore").shape[:2] for reference in references]
    assert stored == [(32, 48)] * 3


def test_each_page_has_its_own_exif_data(tmp_path):
    writer = TiffWriter()
    for hour in (1, 2):
        taken = writer.directory({0x9003: f"2024:05:06 0{hour}:00:00\0".encode()})
        writer.add(hour, {34665: [taken], 271: b"Make\0", 272: b"Model\0"})
    for hour, reference in enumerate(listed(written(tmp_path / "a.tif", writer)), start=1):
        data = read_bytes(reference, ReadOptions(), ImageFacts())
        exif = open_image(data, DecodeOptions(read_exif=True)).decode().exif
        assert (exif.captured_at, exif.camera) == (f"2024-05-06T0{hour}:00:00", "Make Model")


def test_odd_layouts_come_as_the_whole_file(tmp_path):
    writer = TiffWriter()
    writer.add(1)
    writer.add(2, left_out=[279], tags={278: [32], 273: [len(writer.data)]})
    path = written(tmp_path / "a.tif", writer)
    with Image.open(path) as image:
        image.seek(1)
        assert np.array_equal(pixels_of(listed(path)[1]), np.asarray(image))


@pytest.mark.parametrize("name", ["a.tif", "a.gif"])
def test_stretches_have_at_most_128_pages(tmp_path, name):
    references = listed(write_pages(tmp_path / name, 300))
    assert [reference.location.chunk for reference in references] == [0] * 128 + [1] * 128 + [2] * 44


def test_stretches_of_large_pages_are_shorter(tmp_path):
    writer = TiffWriter()
    for number in (1, 2, 3):
        writer.add(number, size_wh=(4000, 2000))
    references = listed(written(tmp_path / "a.tif", writer))
    assert [reference.location.chunk for reference in references] == [0, 0, 1]


@pytest.mark.parametrize("name, options", ANIMATIONS)
def test_threads_may_ask_for_the_frames_of_a_stretch_in_any_order(tmp_path, name, options):
    references = listed(write_pages(tmp_path / name, 12, **options))
    for reference in references:
        expect_frame(reference)
    order = [5, 6, 0, 1, 2, 3, 4, *range(7, 12)]
    assert numbers([references[i] for i in order]) == [i + 1 for i in order]


def test_frames_are_painted_over_each_other(tmp_path):
    first, second = Image.new("RGBA", (40, 40), (250, 10, 10, 255)), Image.new("RGBA", (40, 40))
    second.paste((10, 10, 250, 255), (0, 0, 20, 40))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second], blend=1)
    pixels = pixels_of(listed(tmp_path / "a.png")[1])
    assert pixels[5, 5].tolist() == [10, 10, 250] and pixels[5, 30].tolist() == [250, 10, 10]


def test_limits_are_those_of_each_page(tmp_path):
    writer = TiffWriter()
    for number, size_wh in enumerate([(30, 20), (300, 200), (30, 20)]):
        writer.add(number, size_wh=size_wh)
    small, large, _ = listed(written(tmp_path / "a.tif", writer))
    assert pixels_of(small, max_pixels=10_000).shape == (20, 30, 3)
    with pytest.raises(ImageError, match="max_pixels") as error:
        pixels_of(large, max_pixels=10_000)
    assert error.value.kind == "too_large"
    with pytest.raises(ImageError, match="max_bytes") as error:
        read_bytes(large, ReadOptions(max_bytes=100_000), ImageFacts())
    assert error.value.kind == "too_large"
    read_bytes(small, ReadOptions(max_bytes=100_000), ImageFacts())
    frame = listed(write_pages(tmp_path / "a.gif"))[3]
    assert check_frame_size(frame, DecodeOptions()) == 48 * 32 * 3
    with pytest.raises(ImageError, match="max_pixels"):
        check_frame_size(frame, DecodeOptions(max_pixels=1000))


def kinds(references):
    """Of each page its number, or why it has no pixels."""
    found = []
    for reference in references:
        try:
            found += ["bad_input"] if reference.problem else numbers([reference])
        except ImageError as error:
            found.append(error.kind)
    return found


def test_chains_of_directories_that_never_end(tmp_path):
    (tmp_path / "a.tif").write_bytes(cyclic_tiff())
    references = listed(tmp_path / "a.tif")
    assert references[-1].uri == f"{tmp_path}/a.tif#after page=3" and "would never end" in references[-1].problem
    assert kinds(references) == [1, 2, 3, "bad_input"]
    (tmp_path / "b.tif").write_bytes(cyclic_tiff(pages=1))
    assert [r.uri.rpartition("/")[2] for r in listed(tmp_path / "b.tif")] == ["b.tif", "b.tif#after page=1"]


@pytest.mark.heavy
def test_a_file_may_have_65535_pages(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of_many(MAX_PAGES))
    references = listed(tmp_path / "a.tif")
    assert len(references) == MAX_PAGES and pixels_of(references[-1]).shape == (1, 1, 3)
    (tmp_path / "a.tif").write_bytes(tiff_of_many(MAX_PAGES + 1))
    with pytest.raises(InputError, match="more than 65,535 pages"):
        read_pages(f"{tmp_path}/a.tif")


def test_directories_that_overlap_are_read_no_longer_than_the_file_is(tmp_path):
    """Each begins two bytes behind the last, and names 65,535 entries."""
    writer = TiffWriter()
    writer.add(1)
    data = bytes(writer.data) + bytes(range(256)) * 4000
    start = len(writer.data)
    data = bytearray(data)
    for number in range(1000):
        place = start + 2 * number
        data[place : place + 2] = b"\xff\xff"
    for number in range(1000):
        end = start + 2 * number + 2 + 65535 * 12
        data[end : end + 4] = (start + 2 * number + 2).to_bytes(4, "little")
    writer.link(start)
    data[: len(writer.data)] = writer.data
    (tmp_path / "a.tif").write_bytes(bytes(data))
    *_, last = listed(tmp_path / "a.tif")
    assert "overlap" in last.problem


def test_a_damaged_page_fails_alone(tmp_path):
    path = write_pages(tmp_path / "a.tif", 4, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(1)
        [place] = image.tag_v2[273]
    data[place : place + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    assert kinds(listed(path)) == [1, "truncated", 3, 4]


def test_tiffs_that_are_cut_off(tmp_path):
    path = write_pages(tmp_path / "a.tif", 4)
    data = path.read_bytes()
    with Image.open(path) as image:
        image.seek(2)
        [in_third], third = image.tag_v2[273], image.tag_v2.offset
    path.write_bytes(data[: in_third + 10])
    assert kinds(listed(path)) == [1, 2, "truncated", "bad_input"]
    path.write_bytes(data[: third + 5])
    *_, last = references = listed(path)
    assert kinds(references) == [1, 2, "bad_input"] and "cut off" in last.problem


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("a.gif", {}, [1, 2, 3, "truncated"]),
        ("a.webp", {"lossless": True}, [1, 2, 3, "bad_input"]),
        ("a.png", {}, [1, 2, 3, "truncated", "bad_input"]),
    ],
)
def test_animations_that_are_cut_off(tmp_path, name, options, expected):
    path = write_pages(tmp_path / name, 6, **options)
    data = path.read_bytes()
    frame = {"a.gif": b"\x21\xf9\x04", "a.webp": b"ANMF", "a.png": b"fdAT"}[name]
    place = 0
    for _ in range(4 if name == "a.webp" else 3):
        place = data.index(frame, place + 1)
    path.write_bytes(data[: place + 30])
    assert kinds(listed(path)) == expected


def test_what_follows_a_damaged_frame_is_painted_over_it(tmp_path):
    path = write_pages(tmp_path / "a.png", 5)
    data = bytearray(path.read_bytes())
    place = data.index(b"fdAT", data.index(b"fdAT") + 1) + 8
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    assert kinds(listed(path)) == [1, 2, "truncated", "truncated", "truncated"]


def test_a_file_that_has_changed_since_it_was_listed(tmp_path):
    path = write_pages(tmp_path / "a.tif")
    references = listed(path)
    path.write_bytes(path.read_bytes()[:1000])
    assert kinds(references[-1:]) == ["truncated"]
    path.write_bytes(b"other")
    assert kinds(references[:1]) == ["truncated"]
    path.unlink()
    assert kinds(references[:1]) == ["not_found"]


def test_pages_that_are_not_there(tmp_path):
    pages = read_pages(str(write_pages(tmp_path / "a.tif", 3)))
    assert pages.named("page=0") is None and pages.named("page=4") is None
    assert "no page at #page=99; the last is #page=3" in pages.why_not("page=99")
