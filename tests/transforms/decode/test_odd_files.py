"""Files that are damaged, hostile, or no images at all."""

import random
import struct
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelbeam.transforms.decode import identify
from labelbeam.transforms.decode.decoding import decode, open_image
from labelbeam.transforms.decode.signatures import image_format_not_decoded, kind_of_bytes
from labelbeam.transforms.decode.sizes import size_before_opening, size_inside
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.fetch.options import DecodeOptions, ModelInput
from PIL import AvifImagePlugin, Image

from tests.transforms.decode.image_files import OPTIONS, UPRIGHT, kind_of, message_of, png, saved, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


NOT_DECODED = ["SVG", "HEIC", "JPEG XL", "JPEG XR", "OpenEXR", "Radiance HDR", "GIMP", "BPG", "FLIF"]
NOT_DECODED += ["Photoshop's large", "camera raw"]


class TestNotAnImage:
    @pytest.mark.parametrize(
        "data, words",
        [
            (b"", "the file is empty"),
            (b"<!DOCTYPE html>\n<title>Sign in</title>", "an HTML page"),
            (b'{"error": "expired"}', "JSON"),
            (b"root:x:0:0:root:/root:/bin/bash", "text"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
            (b"\0\0\0\x18ftypisom\0\0\2\0", "a video"),
            (bytes(1000), "nothing but zero bytes"),
            (b"\x1f\x8b\x08" + bytes(range(100, 200)), "gzip"),
            (b"\xef\xbb\xbf<html>", "an HTML page"),
            ("password".encode("utf-16"), "text in UTF-16"),
            (bytes(128) + b"DICM" + bytes(9), "a DICOM file"),
        ],
    )
    def test_says_what_it_is_instead(self, data, words):
        assert kind_of(data) == "not_an_image"
        assert words in message_of(data)

    def test_what_it_says_gives_nothing_of_the_content_away(self):
        assert "secret" not in message_of(b"secret: hunter2") and "hunter2" not in message_of(b"\0secret: hunter2")

    @pytest.mark.parametrize("length", range(1, 20))
    def test_a_few_bytes(self, length):
        assert kind_of(bytes(range(length))) == "not_an_image"

    def test_no_size(self):
        assert kind_of(png((0, 0), 8, 2, b"")) == "not_an_image"


class TestUnsupported:
    @pytest.mark.parametrize(
        "data, name",
        [
            (b"\xff\x0a\xfa\x7f\x01", "JPEG XL"),
            (b"\x76\x2f\x31\x01\x02\0\0\0", "OpenEXR"),
            (b"II\xbc\x01" + bytes(50), "JPEG XR"),
            (b"II\x1a\0\0\0HEAPCCDR" + bytes(50), "camera raw"),
            (b"\0MRM" + bytes(50), "camera raw"),
            (b"8BPS\0\2" + bytes(50), "Photoshop's large"),
            (b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
            (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        ],
    )
    def test_formats_that_pillow_does_not_decode_are_named(self, data, name):
        assert kind_of(data) == "unsupported"
        assert name in message_of(data)

    def test_heic_without_its_extra(self, monkeypatch):
        monkeypatch.setattr(identify, "plugins", lambda: ("JPEG", "PNG"))
        assert "pip install 'pillow-heif>=" in message_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")

    def test_damaged_heic(self):
        pytest.importorskip("pillow_heif")
        identify.plugins()
        assert kind_of(saved(UPRIGHT, "HEIF")[:300]) == "truncated"

    def test_format_without_its_codec(self, monkeypatch):
        data = saved(UPRIGHT, "AVIF")
        monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
        assert kind_of(data) == "unsupported"
        assert "AVIF support not installed" in message_of(data)

    def test_postscript_is_never_run(self):
        assert kind_of(saved(UPRIGHT, "EPS")) == "unsupported"

    def test_unknown_compression(self):
        assert kind_of(tiff(np.zeros((4, 4), np.uint8), compression=34712)) == "unsupported"

    def test_unknown_pixel_format(self):
        assert kind_of(tiff(np.zeros((4, 4), np.float64), sample_format=3)) == "unsupported"


class TestTruncated:
    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9])
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"])
    def test_cut_short(self, format, share):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = saved(noise, format)
        assert kind_of(data[: max(20, int(len(data) * share))]) == "truncated"

    def test_directory_at_the_end_of_a_tiff_is_missing(self):
        data = tiff(np.zeros((8, 8), np.uint8))
        assert {kind_of(data[:length]) for length in range(16, len(data) - 60)} == {"truncated"}

    def test_damaged_in_the_middle(self):
        data = bytearray(saved(UPRIGHT, "PNG"))
        data[len(data) // 2] ^= 0xFF
        assert kind_of(bytes(data)) == "truncated"


class TestLimits:
    def test_bomb_is_refused_from_its_header(self):
        bomb = png((20_000, 20_000), 1, 0, bytes(20_000 * 2_501))
        assert len(bomb) < 100_000
        assert kind_of(bomb) == "too_large"
        assert message_of(bomb) == (
            "PNG file of 20000×20000 pixels, 400,000,000 in all: the limit is 200,000,000 (max_pixels)"
        )

    def test_limit_is_inclusive(self):
        data = saved(UPRIGHT, "PNG")
        num_pixels = UPRIGHT.shape[0] * UPRIGHT.shape[1]
        assert decode(data, DecodeOptions(max_pixels=num_pixels)).shape == UPRIGHT.shape
        assert kind_of(data, DecodeOptions(max_pixels=num_pixels - 1)) == "too_large"

    HIDDEN = png((2000, 2000), 1, 0, bytes(2000 * 251))

    @pytest.mark.parametrize(
        "data",
        [
            struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(HIDDEN), 22) + HIDDEN,
            b"icns" + struct.pack(">I4sI", len(HIDDEN) + 16, b"ic09", len(HIDDEN) + 8) + HIDDEN,
            saved(Image.new("RGB", (2000, 2000)), "WEBP"),
            saved(Image.new("RGB", (2000, 2000)), "WEBP", lossless=True),
            saved(
                Image.new("RGBA", (2000, 2000)),
                "WEBP",
                save_all=True,
                append_images=[Image.new("RGBA", (2000, 2000), (9, 9, 9, 9))],
            ),
        ],
        ids=["ico", "icns", "webp", "lossless webp", "animated webp"],
    )
    def test_formats_that_decode_while_they_open_are_opened_within_the_limit(self, data, monkeypatch):
        decoded = []
        monkeypatch.setattr(Image.Image, "load", decoded.append)
        with pytest.raises(ImageError) as caught:
            open_image(data, DecodeOptions(max_pixels=3_999_999))
        assert caught.value.kind == "too_large" and "2000×2000 pixels" in caught.value.message
        opened = open_image(data, DecodeOptions(max_pixels=4_000_000))
        assert opened.num_bytes_decoded == 12_000_000 and not decoded

    def test_max_pixels_decides_for_tiff_too(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)  # Pillow refuses twice as many
        data = saved(Image.new("1", (2000, 1200)), "TIFF", compression="group4")
        assert decode(data, DecodeOptions(max_pixels=2_400_000)).shape == (1200, 2000, 3)
        assert kind_of(data, DecodeOptions(max_pixels=2_399_999)) == "too_large"

    def test_max_pixels_decides_for_long_rows_too(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)
        data = saved(Image.new("1", (500_000, 5)), "PNG")
        assert decode(data, OPTIONS).shape == (5, 500_000, 3)

    @pytest.mark.parametrize("size", [(500_001, 1), (1, 60_000_000)])
    def test_no_side_is_endless(self, size):
        assert kind_of(png(size, 8, 0, b"")) == "too_large"
        assert "500,000" in message_of(png(size, 8, 0, b""))

    def test_pillows_own_limit_plays_no_part(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_500_000)
        data = png((2000, 2000), 1, 0, bytes(2000 * 251))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode(data, OPTIONS).shape == (2000, 2000, 3)
        assert Image.MAX_IMAGE_PIXELS == 1_500_000

    def test_size_is_known_before_decoding(self):
        opened = open_image(saved(UPRIGHT, "JPEG"), OPTIONS)
        assert opened.num_bytes_decoded == UPRIGHT.nbytes

    def test_option_is_checked(self):
        with pytest.raises(ValueError, match="max_pixels"):
            DecodeOptions(max_pixels=0)


def test_damaged_files_give_a_image_or_an_image_error():
    """Nothing else may leave the decoder, whatever it is fed."""
    rng = random.Random(0)
    small = Image.fromarray(UPRIGHT)
    options = DecodeOptions(max_pixels=1_000_000)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "ICO", "ICNS", "JPEG2000", "AVIF", "DDS"):
        data = saved(small, format)
        for _ in range(40):
            damaged = bytearray(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
            for _ in range(rng.choice([1, 4, 16])):
                damaged[rng.randrange(min(len(damaged), rng.choice([40, 10_000])))] = rng.randrange(256)
            try:
                pixels = decode(bytes(damaged), options)
            except ImageError as error:
                assert error.kind in ("not_an_image", "unsupported", "truncated", "too_large")
            else:
                assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


class TestJpegWithoutItsEnd:
    LETTERBOX = DecodeOptions(reduce_for=ModelInput((100, 100), "letterbox"))

    @pytest.mark.parametrize("options", [OPTIONS, LETTERBOX], ids=["exact", "fast"])
    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize("missing", [1, 2])
    def test_all_pixels_are_there(self, options, progressive, missing):
        noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        data = saved(noise, "JPEG", progressive=progressive)
        assert np.array_equal(decode(data[:-missing], options), decode(data, options))

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_of_other_modes(self, mode):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = saved(Image.fromarray(noise).convert(mode), "JPEG")
        assert np.array_equal(decode(data[:-2], OPTIONS), decode(data, OPTIONS))
        assert kind_of(data[:-40]) == "truncated"

    @pytest.mark.parametrize("options", [OPTIONS, LETTERBOX], ids=["exact", "fast"])
    @pytest.mark.parametrize("missing", [40, 1000])
    def test_some_pixels_are_not(self, options, missing):
        noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        assert kind_of(saved(noise, "JPEG")[:-missing], options) == "truncated"


def directory(*tags):
    """A TIFF of one small strip, with further tags."""
    entries = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 4), (279, 16), *tags]
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries))
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + struct.pack("<H", len(entries)) + packed + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        directory((254, 1), (330, 8)),
        directory((255, 2)),
        directory((50706, 1025), (330, 8)),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + b"\0\0",
    ],
    ids=["NEF", "old subfile type", "DNG", "CR2"],
)
def test_camera_raw_files_are_not_labelled_as_their_thumbnails(data):
    assert kind_of(data) in ("unsupported", "truncated")
    if data.startswith(b"II*\0\x18"):
        assert kind_of(data) == "unsupported" and "camera raw" in message_of(data)


def test_an_ordinary_tiff_of_the_same_make_is_read():
    assert decode(directory((254, 0)), OPTIONS).shape == (4, 4, 3)


@pytest.mark.parametrize("side, read", [(3, True), (4000, False)])
def test_an_image_with_a_larger_one_below_it_is_its_thumbnail(side, read):
    data = directory((330, len(directory((330, 0)))))
    data += struct.pack("<H", 2) + b"".join(struct.pack("<HHII", tag, 4, 1, side) for tag in (256, 257)) + bytes(4)
    if read:
        assert decode(data, OPTIONS).shape == (4, 4, 3)
    else:
        assert kind_of(data) == "unsupported" and "4×4" in message_of(data)


class TestSniffersAreLinear:
    """A pattern that goes back and forth over its input would stop the whole process, since it holds Python's lock."""

    @settings(max_examples=300, deadline=200)
    @given(
        st.lists(
            st.sampled_from([b"<!--", b"-->", b"<?xml", b">", b"<!DOCTYPE svg", b"<svg", b" ", b"\0", b"RIFF", b"WEBP"])
            | st.binary(max_size=20),
            max_size=200,
        ).map(b"".join)
    )
    def test_of_any_bytes(self, data):
        assert image_format_not_decoded(data) in {None, *NOT_DECODED}
        assert kind_of_bytes(data)
        for head in (b"", b"\0\0\1\0", b"RIFF\0\0\0\0WEBPVP8X", b"icns"):
            for size in (size_before_opening(head + data), size_inside(head + data)):
                assert size is None or min(size) >= 0

    @pytest.mark.parametrize("piece", [b"<!---->", b"<?xml >", b" ", b"\n<!-- -->"])
    def test_of_what_once_took_forever(self, piece):
        started = time.monotonic()
        assert kind_of(piece * (1_000_000 // len(piece))) == "not_an_image"
        assert time.monotonic() - started < 1


@settings(max_examples=200, deadline=1000)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "ICO", "ICNS", "JPEG2000", "AVIF", "CUR"]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12),
    st.floats(0.1, 1),
)
def test_any_damage_is_an_image_or_an_image_error(file_format, changes, share):
    data = bytearray(SMALL[file_format])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        assert decode(bytes(data[: int(len(data) * share)]), DecodeOptions(max_pixels=1_000_000)).dtype == np.uint8
    except ImageError as error:
        assert error.kind in ("not_an_image", "unsupported", "truncated", "too_large")


SMALL = {
    name: saved(Image.fromarray(UPRIGHT), name)
    for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "ICO", "ICNS", "JPEG2000", "AVIF")
}
SMALL["CUR"] = b"\0\0\2\0" + saved(UPRIGHT, "ICO", bitmap_format="bmp")[4:]
