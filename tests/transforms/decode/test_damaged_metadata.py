"""Files whose metadata are damaged, which says nothing of their pixels."""

import struct
import zlib

import numpy as np
import pytest
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.fetch.options import DecodeOptions, ModelInput
from PIL import Image

from tests.transforms.decode.image_files import OPTIONS, UPRIGHT, kind_of, message_of, saved, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
EXIF = Image.Exif()
EXIF[0x0112] = 3
TURNED = Image.fromarray(UPRIGHT[::-1, ::-1])


def with_chunk(data, name, body, wrong_crc=False):
    """A PNG with another chunk behind its header."""
    crc = zlib.crc32(name + body) ^ wrong_crc
    return data[:33] + struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc) + data[33:]


class TestPng:
    PNG = saved(UPRIGHT, "PNG")

    @pytest.mark.parametrize("name", [b"iCCP", b"pHYs", b"tIME", b"iTXt", b"eXIf", b"prVt"])
    def test_wrong_checksums_of_metadata(self, name):
        assert np.array_equal(decode(with_chunk(self.PNG, name, b"\0" * 9, wrong_crc=True), OPTIONS), UPRIGHT)

    @pytest.mark.parametrize(
        "name, head", [(b"zTXt", b"key\0\0"), (b"iTXt", b"key\0\1\0\0\0"), (b"iCCP", b"profile\0\0")]
    )
    def test_metadata_that_unpack_to_megabytes(self, name, head):
        large = head + zlib.compress(bytes(3_000_000))
        assert np.array_equal(decode(with_chunk(self.PNG, name, large), OPTIONS), UPRIGHT)
        end = self.PNG.index(b"IEND") - 4
        behind = self.PNG[:33] + with_chunk(bytes(33), name, large)[33:]
        assert np.array_equal(decode(behind[:33] + self.PNG[33:end] + behind[33:] + self.PNG[end:], OPTIONS), UPRIGHT)

    def test_the_orientation_is_kept(self):
        data = with_chunk(saved(TURNED, "PNG", exif=EXIF), b"tIME", b"\0" * 7, wrong_crc=True)
        assert np.array_equal(decode(data, OPTIONS), UPRIGHT)

    @pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
    def test_a_wrong_checksum_of_the_pixels(self, name):
        data = bytearray(self.PNG)
        at = data.index(name)
        data[at + 4 + struct.unpack(">I", data[at - 4 : at])[0]] ^= 255
        assert kind_of(bytes(data)) == "truncated"
        assert name.decode() in message_of(bytes(data))

    @pytest.mark.parametrize("missing", [1, 10, 500])
    def test_a_file_cut_short_behind_its_pixels(self, missing):
        end = self.PNG.index(b"IEND") - 4
        data = self.PNG[:end] + with_chunk(bytes(33), b"tEXt", b"key\0" + bytes(600))[33:]
        assert np.array_equal(decode(data[:-missing], OPTIONS), UPRIGHT)

    @pytest.mark.parametrize("missing", [6, 20])
    def test_a_file_cut_short_in_its_pixels(self, missing):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = saved(noise, "PNG")
        text = with_chunk(bytes(33), b"tEXt", b"key\0")[33:]
        end = data.index(b"IEND") - 4
        assert kind_of(data[: end - 4 - missing]) == "truncated"
        assert kind_of(data[:33] + text + data[33 : end - 4 - missing]) == "truncated"

    def test_a_wrong_checksum_of_its_end(self):
        assert np.array_equal(decode(self.PNG[:-1] + b"\0", OPTIONS), UPRIGHT)


class TestWebp:
    FILES = [
        saved(TURNED, "WEBP", lossless=True, exif=EXIF, xmp=b"<x/>" * 30),
        saved(
            TURNED, "WEBP", lossless=True, exif=EXIF, xmp=b"<x/>" * 30, save_all=True, append_images=[TURNED.rotate(9)]
        ),
    ]

    @pytest.mark.parametrize("data", FILES, ids=["still", "animated"])
    def test_a_file_cut_short_behind_its_pixels(self, data):
        for end in (len(data) - 1, data.index(b"XMP ") + 6, data.index(b"XMP ")):
            assert np.array_equal(decode(data[:end], OPTIONS), UPRIGHT)
        cut_in_exif = decode(data[: data.index(b"EXIF") + 12], OPTIONS)
        assert np.array_equal(cut_in_exif, UPRIGHT[::-1, ::-1])  # nothing says how it is turned

    @pytest.mark.parametrize("place, value", [(b"RIFF", 0), (b"RIFF", 1 << 31), (b"XMP ", 1 << 31), (b"XMP ", 1)])
    def test_wrong_lengths(self, place, value):
        data = bytearray(self.FILES[0])
        at = data.index(place) + 4
        data[at : at + 4] = struct.pack("<I", value)
        assert np.array_equal(decode(bytes(data), OPTIONS), UPRIGHT)

    @pytest.mark.parametrize("options", [{}, {"lossless": True}, {"xmp": b"<x/>"}])
    def test_pixels_cut_short(self, options):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = saved(noise, "WEBP", **options)
        assert kind_of(data[: len(data) - 200]) == "truncated"


def segment(marker, body, length=None):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


class TestJpeg:
    DATA = saved(TURNED, "JPEG", quality=95, exif=EXIF)

    @pytest.mark.parametrize(
        "odd",
        [
            segment(0xE2, b"ICC_PROFILE\0"),
            segment(0xE2, b"ICC_PROFILE\0\1"),
            segment(0xE0, b"JFIF\0"),
            segment(0xEE, b"Adobe\0"),
            segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03"),
            segment(0xE2, b"ICC_PROFILE\0") + b"\xff\xff" + segment(0xFE, b"\xff\0"),
        ],
        ids=["profile", "part of a profile", "JFIF", "Adobe", "Photoshop", "filled"],
    )
    @pytest.mark.parametrize("fast", [None, ModelInput((8, 8), "letterbox")], ids=["exact", "fast"])
    def test_segments_cut_short(self, odd, fast):
        options = DecodeOptions(reduce_for=fast)
        whole = decode(self.DATA, options)
        assert np.array_equal(decode(self.DATA[:2] + odd + self.DATA[2:], options), whole)
        without_end = self.DATA[:2] + odd + self.DATA[2:-2]
        assert np.array_equal(decode(without_end, options), whole)

    @pytest.mark.parametrize("odd", [b"", segment(0xE2, b"ICC_PROFILE\0")])
    def test_pixels_cut_short(self, odd):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = saved(noise, "JPEG")
        assert kind_of(data[:2] + odd + data[2:-300]) == "truncated"


class TestTiff:
    @pytest.mark.parametrize("byte_order", ["<", ">"])
    @pytest.mark.parametrize(
        "entry",
        [(270, 2, 40, 1 << 30), (271, 2, 40, 1 << 30), (700, 2, 4, 0x3C3F), (33723, 4, 9, 1 << 30), (34665, 4, 1, 9)],
        ids=["description", "make", "XMP as text", "IPTC", "EXIF"],
    )
    def test_tags_that_hold_nonsense(self, byte_order, entry):
        grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
        data = with_tag(tiff(grey, byte_order=byte_order), entry, byte_order)
        assert np.array_equal(decode(data, OPTIONS)[..., 0], grey)

    def test_the_orientation_is_kept(self):
        grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
        data = with_tag(with_tag(tiff(grey), (274, 3, 1, 3)), (270, 2, 40, 1 << 30))
        assert np.array_equal(decode(data, OPTIONS)[..., 0], grey[::-1, ::-1])

    def test_a_thumbnail_stays_one(self):
        data = with_tag(with_tag(tiff(np.zeros((3, 4), np.uint8)), (254, 4, 1, 1)), (270, 2, 40, 1 << 30))
        assert kind_of(data) == "unsupported"

    def test_pixels_cut_short(self):
        data = with_tag(tiff(np.zeros((3, 4), np.uint8)), (270, 2, 40, 1 << 30))
        beyond = data.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, len(data) - 5))
        assert kind_of(beyond) == "truncated"


def with_tag(data, entry, byte_order="<"):
    """A TIFF of `tiff` with another entry in its directory, which is its end."""
    (start,) = struct.unpack_from(byte_order + "I", data, 4)
    (count,) = struct.unpack_from(byte_order + "H", data, start)
    packed = [data[start + 2 + 12 * number :][:12] for number in range(count)]
    packed.append(struct.pack(byte_order + "HHII", *entry))
    packed.sort(key=lambda each: struct.unpack_from(byte_order + "H", each))
    return data[:start] + struct.pack(byte_order + "H", count + 1) + b"".join(packed) + bytes(4)
