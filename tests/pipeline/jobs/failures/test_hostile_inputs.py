"""Fifty inputs that try to break a job, among fifty good ones: each gets its row and the right word for what is
wrong.
"""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.images import save_image
from tests.fakes.labels import Labels

OK = None
DEADLINE_S = 4


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def image(seed: int, size_hw=(40, 56)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, all black, whose file is a thousandth of what it claims to be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compressobj()
    data = b"".join(rows.compress(b"\0" * (1 + width // 8)) for _ in range(height)) + rows.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def hostile_files(folder) -> dict[str, str | None]:
    """Makes the local ones; {path: error kind, or None where the image is odd but good}."""
    folder.mkdir()
    jpeg, png = encoded(image(1), "JPEG"), encoded(image(1), "PNG")
    sixteen_bit = Image.fromarray(np.arange(40 * 56, dtype=np.uint16).reshape(40, 56) * 29)
    frames = [image(i) for i in range(3)]
    contents = {
        "empty.jpg": (b"", "not_an_image"),
        "text.jpg": (b"this is no image\n" * 50, "not_an_image"),
        "page.png": (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
        "zeros.jpg": (bytes(5000), "not_an_image"),
        "archive.jpg": (b"PK\x03\x04" + bytes(200), "not_an_image"),
        "cut-in-the-middle.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut-near-the-end.jpg": (jpeg[:-200], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "cut.gif": (encoded(image(2), "GIF")[:900], "truncated"),
        "cut.webp": (encoded(image(2), "WEBP")[:600], "truncated"),
        "bomb.png": (png_bomb(20000, 20000), "too_large"),
        "one-pixel.png": (encoded(image(3, (1, 1)), "PNG"), OK),
        "one-row.png": (encoded(image(3, (1, 300)), "PNG"), OK),
        "cmyk.jpg": (encoded(image(4).convert("CMYK"), "JPEG"), OK),
        "sixteen-bit.png": (encoded(sixteen_bit, "PNG"), OK),
        "sixteen-bit.tif": (encoded(sixteen_bit, "TIFF"), OK),
        "palette.gif": (encoded(image(5).convert("P"), "GIF"), OK),
        "transparent.png": (encoded(image(6).convert("RGBA"), "PNG"), OK),
        "grey-alpha.png": (encoded(image(6).convert("LA"), "PNG"), OK),
        "one-bit.png": (encoded(image(6).convert("1"), "PNG"), OK),
        "animated.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), OK),
        "animated.webp": (encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]), OK),
        "pages.tif": (encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]), OK),
        "unreadable.jpg": (jpeg, "forbidden"),
        "bild mit leerzeichen und ümläuten 画像.jpg": (jpeg, OK),
        f"{'long-' * 49}name.jpg": (jpeg, OK),
        "really-a-png.jpg": (png, OK),
        "percent%20sign#hash.jpg": (jpeg, OK),
        **{f"exif-{o}.jpg": (encoded(image(7), "JPEG", exif=exif(o)), OK) for o in range(1, 9)},
    }
    expected = {}
    for name, (data, kind) in contents.items():
        (folder / name).write_bytes(data)
        expected[str(folder / name)] = kind
    (folder / "unreadable.jpg").chmod(0)
    (folder / "folder.jpg").mkdir()
    expected[str(folder / "folder.jpg")] = "not_an_image"
    expected[str(folder / "missing.jpg")] = "not_found"
    expected[str(folder / ("x" * 300 + ".jpg"))] = "not_found"
    return expected


def hostile_urls(server) -> dict[str, str | None]:
    kinds = {
        "/status/404": "not_found",
        "/status/403": "forbidden",
        "/status/500": "unreachable",
        "/hang": "timeout",
        "/drip/photo.jpg": "timeout",
        "/loop": "unreachable",
        "/declares-more/photo.jpg": "truncated",
        "/declares-less/photo.jpg": "truncated",
        "/declares-huge": "too_large",
        "/reset": "unreachable",
        "/flaky/500/1/photo.jpg": OK,
    }
    return {server.url(path): kind for path, kind in kinds.items()}


def label(inputs, out, detector) -> Labels:
    command = [
        sys.executable,
        "-m",
        "labelbeam.pipeline.cli",
        "label",
        "--input",
        str(inputs),
        "--output",
        str(out),
        "--detector",
        detector,
        "--deadline-s",
        str(DEADLINE_S),
        "--allow-schemes",
        "file",
        "http",
    ]
    if os.geteuid() == 0:  # root may read everything, unless it gives that right away
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Labels(out)


@pytest.fixture
def good(tmp_path):
    return [str(save_image(tmp_path / "good" / f"{i}.jpg", 1000 + i, (20 + i, 70 - i))) for i in range(50)]


@pytest.mark.heavy
def test_fifty_hostile_inputs_among_fifty_good_ones(tmp_path, good, fake_detector):
    with MisbehavingServer({"photo.jpg": encoded(image(9, (200, 200)), "JPEG")}) as server:
        hostile = {**hostile_files(tmp_path / "hostile"), **hostile_urls(server)}
        assert len(hostile) == 50
        mixed = [uri for pair in zip(good, hostile) for uri in pair]
        (tmp_path / "list.txt").write_text("\n".join(mixed), encoding="utf-8")
        labels = label(tmp_path / "list.txt", tmp_path / "out", fake_detector)

    rows = labels.table("images").to_pylist()
    images = {row["uri"]: row for row in rows}
    assert len(rows) == len(images) == 100
    wrong = {
        uri: (kind, images[uri]["error_kind"], images[uri]["error_message"])
        for uri, kind in hostile.items()
        if images[uri]["error_kind"] != kind
    }
    assert not wrong
    assert all((row["status"] == "ok") == (row["error_kind"] is None) for row in rows)
    assert all(images[uri]["status"] == "ok" for uri in good)
    for orientation in range(1, 9):
        row = images[str(tmp_path / "hostile" / f"exif-{orientation}.jpg")]
        assert (row["height"], row["width"]) == ((40, 56) if orientation < 5 else (56, 40))

    (tmp_path / "good.txt").write_text("\n".join(good), encoding="utf-8")
    alone = label(tmp_path / "good.txt", tmp_path / "alone", fake_detector)
    for table in ("detections", "masks"):
        among = labels.frame(table)
        among = among[among["image_id"].isin([images[uri]["image_id"] for uri in good])]
        key = "detection_id"
        assert (
            among.sort_values(key)
            .reset_index(drop=True)
            .equals(alone.frame(table).sort_values(key).reset_index(drop=True))
        )
