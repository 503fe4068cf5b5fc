"""Twenty files of pages that try to break a job, among twenty good ones."""

import random
import struct
import zlib

import pytest
from labelbeam.pipeline.running.exit_codes import ExitCode
from labelbeam.transforms.sources.inputs import ListOptions
from PIL import Image

from tests.fakes.labels import Labels
from tests.pipeline.jobs.failures.forked_job import start
from tests.transforms.sources.paged_files import TiffWriter, cyclic_tiff, tiff_of_many, write_pages

PAGES = 3  # of each good file
OK, BAD = "ok", "bad_input"


def good_files(folder):
    options = {"tif": {"compression": "tiff_lzw"}, "tiff": {"big_tiff": True}, "webp": {"lossless": True}}
    for number in range(20):
        extension = ("tif", "tiff", "gif", "webp", "png")[number % 5]
        write_pages(folder / f"good-{number:02}.{extension}", PAGES, **options.get(extension, {}))


def tiff(*pages):
    writer = TiffWriter()
    for number, tags in enumerate(pages, start=1):
        writer.add(number, tags)
    return bytes(writer.data)


def places_of_pages(path):
    """Of each page of a TIFF file, where its directory and its pixels begin."""
    with Image.open(path) as image:
        return [(image.tag_v2.offset, image.tag_v2[273][0]) for page in range(image.n_frames) if not image.seek(page)]


def overwritten(data, place, length):
    return data[:place] + b"\xff" * length + data[place + length :]


def hostile_files(folder) -> dict[str, list[str]]:
    """Makes them; {entry of a list: what becomes of each row that it has, by URI}."""
    three = write_pages(folder / "three.tif", 3).read_bytes()
    places = places_of_pages(folder / "three.tif")
    packed = write_pages(folder / "packed.tif", 3, compression="tiff_lzw").read_bytes()
    [_, (_, second), _] = places_of_pages(folder / "packed.tif")
    gif, webp, png = (
        write_pages(folder / f"three.{name}", 3, **options).read_bytes()
        for name, options in [("gif", {}), ("webp", {"lossless": True}), ("png", {})]
    )
    huge = TiffWriter()
    huge.add(1)
    huge.add(2, tags={256: [60_000], 257: [60_000]})
    huge.add(3)
    last_gif_frame = gif.rindex(b"\x21\xf9\x04")
    second_png_frame = png.index(b"fdAT") + 8
    control = png.index(b"acTL")
    billions = b"acTL" + struct.pack(">II", 2**31 - 1, 0)
    billions += struct.pack(">I", zlib.crc32(billions))
    claims_billions = png[:control] + billions + png[control + len(billions) :]
    away = struct.pack("<I", 2**32 - 2)
    one = tiff({})
    [directory] = struct.unpack("<I", one[4:8])
    link = directory + 2 + 12 * struct.unpack("<H", one[directory : directory + 2])[0]
    contents = {
        "cycle.tif": (cyclic_tiff(2), [OK, OK, BAD]),
        "itself.tif": (cyclic_tiff(1), [OK, BAD]),
        "million.tif": (tiff_of_many(1_000_000), [BAD]),
        "70000-frames.gif": (gif[:last_gif_frame] + gif[last_gif_frame:-1] * 70_000 + b";", [BAD]),
        "claims-billions.png": (claims_billions, [OK, OK, OK, BAD]),
        "cut-in-page.tif": (three[: places[2][1] + 100], [OK, OK, "truncated"]),
        "cut-in-directory.tif": (three[: places[2][0] + 9], [OK, OK, BAD]),
        "next-beyond-the-end.tif": (one[:link] + away + one[link + 4 :], [OK, BAD]),
        "damaged-page.tif": (overwritten(packed, second, 40), [OK, "truncated", OK]),
        "huge-page.tif": (bytes(huge.data), [OK, "too_large", OK]),
        "thumbnails.tif": (tiff({254: [1]}, {254: [1]}), ["unsupported"]),
        "empty.tif": (b"", ["not_an_image"]),
        "header.tif": (three[:8], ["truncated"]),
        "garbage.tiff": (b"II*\0\x08\0\0\0" + random.Random(1).randbytes(5000), ["truncated"]),
        "text.gif": (b"no image at all\n" * 50, ["not_an_image"]),
        "cut.gif": (gif[: last_gif_frame + 24], [OK, OK, "truncated"]),
        "cut.webp": (webp[: webp.rindex(b"ANMF") + 30], [OK, OK, BAD]),
        "damaged.png": (overwritten(png, second_png_frame, 8), [OK, "truncated", "truncated"]),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    return {name: rows for name, (_, rows) in contents.items()} | {
        "good-00.tif#page=99": [BAD],
        "gone.tif#page=2": ["not_found"],
    }


@pytest.mark.heavy
def test_twenty_hostile_files_among_twenty_good_ones(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    good_files(folder)
    hostile = hostile_files(folder)
    assert len(hostile) == 20
    good = sorted(path.name for path in folder.glob("good-*"))
    (folder / "list.txt").write_text("\n".join([*good, *hostile]))
    log = tmp_path / "calls"
    process = start(folder / "list.txt", tmp_path / "out", log, seconds=0.0, listing=ListOptions(pages="all"))
    process.join(timeout=500)
    assert process.exitcode == ExitCode.DONE, (tmp_path / f"calls.{process.pid}").read_text()
    images = Labels(tmp_path / "out").frame("images")
    assert images.image_id.is_unique
    images["outcome"] = images.error_kind.fillna(OK)
    images["page"] = images.uri.str.extract(r"#page=(\d+)$")[0].astype(float).fillna(10**9)
    rows = images.sort_values(["page", "uri"]).groupby("listed_as").outcome.apply(list).to_dict()
    assert rows == {**dict.fromkeys(good, [OK] * PAGES), **hostile}
    messages = images.dropna(subset="error_message").groupby("listed_as").error_message.first()
    for name, words in [("million.tif", "more than 65,535 pages"), ("cycle.tif", "never end"), ("cut.webp", "cut off")]:
        assert name in messages[name] and words in messages[name]
