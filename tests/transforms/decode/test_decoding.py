import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from labelbeam.transforms.decode.decoding import decode, open_image
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.fetch.options import DecodeOptions
from PIL import AvifImagePlugin, Image
from skimage.util import img_as_ubyte

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged files

OPTIONS = DecodeOptions()
# Blocks of flat colour survive JPEG almost unchanged; no two sides of the image are alike.
UPRIGHT = np.kron(
    np.array(
        [[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[250, 250, 10], [10, 250, 250], [120, 120, 120]]], np.uint8
    ),
    np.ones((16, 16, 1), np.uint8),
)


def saved(image, format, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def png(size_wh, bits, colour_type, raw, *chunks):
    """A PNG file byte by byte: `raw` with its filter bytes, `chunks` before it."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size_wh, bits, colour_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(*c) for c in chunks),
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(samples, photometric=1, sample_format=1, bits=None, byte_order="<", compression=1):
    """A TIFF file of one strip, byte by byte; `samples` `[height, width]` of the file's type, or packed bytes."""
    height, width = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits or samples.dtype.itemsize * 8),
        (259, compression),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(data)),
        (339, sample_format),
    ]
    entries = b"".join(struct.pack(byte_order + "HHII", tag, 4, 1, value) for tag, value in tags)
    header = (b"II" if byte_order == "<" else b"MM") + struct.pack(byte_order + "HI", 42, 8 + len(data))
    return header + data + struct.pack(byte_order + "H", len(tags)) + entries + bytes(4)


def grey(data):
    """The grey levels of a decoded image of one row."""
    pixels = decode(data, OPTIONS)
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def kind_of(data, options=OPTIONS):
    with pytest.raises(ImageError) as caught:
        decode(data, options)
    return caught.value.kind


def message_of(data, options=OPTIONS):
    with pytest.raises(ImageError) as caught:
        decode(data, options)
    return caught.value.message


class TestFormats:
    @pytest.mark.parametrize(
        "format, options",
        [
            ("PNG", {}),
            ("BMP", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_deflate"}),
            ("PPM", {}),
            ("TGA", {}),
            ("TGA", {"compression": "tga_rle"}),
            ("WEBP", {"lossless": True}),
            ("JPEG2000", {}),
            ("PCX", {}),
            ("SGI", {}),
            ("QOI", {}),
            ("DDS", {}),
            ("DIB", {}),
            ("IM", {}),
            ("GIF", {}),
            ("ICO", {"sizes": [(48, 32)]}),
        ],
    )
    def test_lossless(self, format, options):
        assert np.array_equal(decode(saved(UPRIGHT, format, **options), OPTIONS), UPRIGHT)

    @pytest.mark.parametrize(
        "format, options",
        [
            ("JPEG", {"quality": 95}),
            ("JPEG", {"quality": 95, "progressive": True}),
            ("WEBP", {"quality": 95}),
            ("AVIF", {"quality": 95}),
            ("JPEG2000", {"irreversible": True}),
            ("MPO", {"quality": 95}),
        ],
    )
    def test_lossy(self, format, options):
        decoded = decode(saved(UPRIGHT, format, **options), OPTIONS)
        assert decoded.shape == UPRIGHT.shape
        centres = np.s_[8::16, 8::16]
        np.testing.assert_allclose(decoded[centres].astype(int), UPRIGHT[centres], atol=6)

    def test_array_is_its_own(self):
        pixels = decode(saved(UPRIGHT, "PNG"), OPTIONS)
        flags = pixels.flags
        assert pixels.dtype == np.uint8 and flags.c_contiguous and flags.owndata and flags.writeable

    def test_one_pixel(self):
        assert decode(saved(np.full((1, 1, 3), 7, np.uint8), "PNG"), OPTIONS).tolist() == [[[7, 7, 7]]]

    def test_taller_than_one_strip(self):
        tall = np.random.default_rng(0).integers(0, 256, (1500, 1100, 3), dtype=np.uint8)
        assert np.array_equal(decode(saved(tall, "BMP"), OPTIONS), tall)

    @pytest.mark.parametrize(
        "format, options",
        [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {"quality": 95})],
    )
    def test_first_frame_of_an_animation(self, format, options):
        other = Image.fromarray(255 - UPRIGHT)
        data = saved(UPRIGHT, format, save_all=True, append_images=[other, other], **options)
        np.testing.assert_allclose(decode(data, OPTIONS)[8::16, 8::16].astype(int), UPRIGHT[8::16, 8::16], atol=6)

    def test_largest_image_of_an_icon(self):
        data = saved(Image.new("RGB", (64, 64), (9, 8, 7)), "ICO", sizes=[(16, 16), (64, 64), (32, 32)])
        assert decode(data, OPTIONS).shape == (64, 64, 3)


class TestModes:
    @pytest.mark.parametrize(
        "bits, packed, levels",
        [(1, 0b01010000, [0, 255, 0, 255]), (2, 0b00011011, [0, 85, 170, 255]), (8, None, [0, 1, 128, 255])],
    )
    def test_grey(self, bits, packed, levels):
        raw = bytes([0, 0, 1, 128, 255]) if packed is None else bytes([0, packed])
        assert grey(png((4, 1), bits, 0, raw)) == levels

    def test_palette(self):
        palette = (b"PLTE", bytes([1, 2, 3, 40, 50, 60]))
        assert decode(png((2, 1), 8, 3, b"\0\1\0", palette), OPTIONS).tolist() == [[[40, 50, 60], [1, 2, 3]]]

    @pytest.mark.parametrize(
        "cmyk, rgb",
        [
            ((0, 0, 0, 0), (255, 255, 255)),
            ((255, 0, 0, 0), (0, 255, 255)),
            ((0, 0, 0, 255), (0, 0, 0)),
            ((0, 128, 255, 100), (155, 77, 0)),
        ],
    )
    @pytest.mark.parametrize("format", ["JPEG", "TIFF"])
    def test_cmyk(self, cmyk, rgb, format):
        data = saved(Image.new("CMYK", (16, 16), cmyk), format)
        if format == "JPEG":
            assert b"Adobe" in data[:100], "the case that matters: such files hold inverted values"
        np.testing.assert_allclose(decode(data, OPTIONS)[8, 8].astype(int), rgb, atol=3)

    def test_lab(self):
        data = saved(Image.new("LAB", (4, 4), (128, 128, 128)), "TIFF")
        np.testing.assert_allclose(decode(data, OPTIONS)[0, 0].astype(int), (119, 119, 119), atol=2)

    def test_ycbcr_tiff(self):
        data = saved(Image.fromarray(UPRIGHT), "TIFF", compression="jpeg")
        np.testing.assert_allclose(decode(data, OPTIONS)[8, 8].astype(int), UPRIGHT[8, 8], atol=8)


class TestWideSamples:
    LEVELS = np.array([[0, 128, 129, 255, 256, 257, 32768, 65407, 65535]], np.uint16)
    EXPECTED = [0, 0, 1, 1, 1, 1, 128, 255, 255]  # round(level / 257)

    @pytest.mark.parametrize("byte_order", ["<", ">"])
    def test_16_bit_grey_tiff_is_scaled_not_clipped(self, byte_order):
        assert grey(tiff(self.LEVELS, byte_order=byte_order)) == self.EXPECTED

    def test_16_bit_grey_of_other_formats(self):
        assert grey(png((9, 1), 16, 0, b"\0" + self.LEVELS.astype(">u2").tobytes())) == self.EXPECTED
        assert grey(b"P5 9 1 65535\n" + self.LEVELS.astype(">u2").tobytes()) == self.EXPECTED
        assert grey(saved(np.repeat(self.LEVELS, 4, 0), "JPEG2000")) == self.EXPECTED

    def test_as_scikit_image_has_it(self):
        levels = np.arange(65536, dtype=np.uint16)[np.newaxis]
        difference = np.array(grey(tiff(levels))) - img_as_ubyte(levels)[0]
        assert np.abs(difference).max() <= 1  # it cuts off where this rounds

    @pytest.mark.parametrize("colour_type, channels", [(2, 3), (6, 4)])
    def test_16_bit_colour(self, colour_type, channels):
        samples = np.full((1, 2, channels), 65535, ">u2")
        samples[0, :, :3] = [[0, 32768, 65535], [1000, 257 * 99, 257 * 100]]
        decoded = decode(png((2, 1), 16, colour_type, b"\0" + samples.tobytes()), OPTIONS)
        np.testing.assert_allclose(decoded[0].astype(int), samples[0, :, :3] / 257, atol=1)

    def test_12_bit_tiff(self):
        packed = np.frombuffer(bytes([0x00, 0x08, 0x00, 0xFF, 0xFF, 0xFF]), np.uint8)[np.newaxis]
        data = tiff(packed, bits=12).replace(struct.pack("<HHII", 256, 4, 1, 6), struct.pack("<HHII", 256, 4, 1, 4))
        assert grey(data) == [0, round(0x800 / 4095 * 255), 255, 255]

    def test_white_is_zero(self):
        assert grey(tiff(self.LEVELS, photometric=0)) == [255 - level for level in self.EXPECTED]

    def test_signed_and_32_bit_samples_have_the_range_of_their_type(self):
        assert grey(tiff(np.array([[-32768, -1, 0, 16384, 32767]], np.int16), sample_format=2)) == [0, 0, 0, 128, 255]
        assert grey(tiff(np.array([[-5, 0, 2**30, 2**31 - 1]], np.int32), sample_format=2)) == [0, 0, 128, 255]
        assert grey(tiff(np.array([[0, 2**31, 2**32 - 1]], np.uint32))) == [0, 128, 255]

    def test_equal_values_are_equally_bright_in_all_images(self):
        dark, bright = np.array([[0, 300]], np.uint16), np.array([[60000, 300]], np.uint16)
        assert grey(tiff(dark))[1] == grey(tiff(bright))[1]

    def test_float_from_0_to_1(self):
        assert grey(tiff(np.array([[0, 0.25, 0.5, 1]], np.float32), sample_format=3)) == [0, 64, 128, 255]

    @pytest.mark.parametrize("value", [255.0, -0.1, np.nan])
    def test_float_beyond_is_refused_with_its_range(self, value):
        data = tiff(np.array([[0.5, value]], np.float32), sample_format=3)
        assert kind_of(data) == "unsupported"
        assert f"{value:g}" in message_of(data)


class TestTransparency:
    OPTIONS = DecodeOptions(background_rgb=(10, 20, 30))

    def decoded(self, data):
        return decode(data, self.OPTIONS)[0].tolist()

    def test_background_is_white_unless_told(self):
        assert decode(saved(Image.new("RGBA", (1, 1), (5, 5, 5, 0)), "PNG"), OPTIONS).tolist() == [[[255, 255, 255]]]

    @pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
    def test_rgba(self, format):
        pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        half = [round((level * 128 + ground * 127) / 255) for level, ground in ((200, 10), (100, 20), (50, 30))]
        assert self.decoded(saved(pixels, format, **options)) == [[200, 100, 50], [10, 20, 30], half]

    def test_grey_with_alpha(self):
        assert self.decoded(png((2, 1), 8, 4, bytes([0, 77, 255, 77, 0]))) == [[77, 77, 77], [10, 20, 30]]

    def test_palette_with_alpha(self):
        chunks = (b"PLTE", bytes([1, 2, 3, 4, 5, 6])), (b"tRNS", bytes([0, 255]))
        assert self.decoded(png((2, 1), 8, 3, b"\0\0\1", *chunks)) == [[10, 20, 30], [4, 5, 6]]

    def test_palette_with_alpha_in_tiff(self):
        image = Image.new("PA", (1, 1))
        image.putpalette([9, 9, 9])
        assert self.decoded(saved(image, "TIFF")) == [[10, 20, 30]]

    @pytest.mark.parametrize(
        "colour_type, raw, key", [(0, [7, 8], [0, 7]), (2, [7, 7, 7, 8, 8, 8], [0, 7, 0, 7, 0, 7])]
    )
    def test_transparent_colour(self, colour_type, raw, key):
        data = png((2, 1), 8, colour_type, bytes([0, *raw]), (b"tRNS", bytes(key)))
        assert self.decoded(data) == [[10, 20, 30], [8, 8, 8]]

    def test_transparent_colour_of_a_gif(self):
        image = Image.new("P", (2, 1))
        image.putpalette([1, 2, 3, 4, 5, 6])
        image.putpixel((1, 0), 1)
        assert self.decoded(saved(image, "GIF", transparency=0)) == [[10, 20, 30], [4, 5, 6]]

    @pytest.mark.parametrize("colour", [(1, 2), (1, 2, 256), (1, 2, -1), (1.5, 2, 3)])
    def test_background_is_checked(self, colour):
        with pytest.raises(ValueError, match="background_rgb"):
            DecodeOptions(background_rgb=colour)


# EXIF 2.32: where the stored row 0 and column 0 are in the upright image.
STORED_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def as_stored(upright, orientation):
    first_row, first_column = STORED_SIDES[orientation]
    stored = upright if first_row in ("top", "bottom") else upright.transpose(1, 0, 2)
    if first_row in ("bottom", "right"):
        stored = stored[::-1]
    if first_column in ("bottom", "right"):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


class TestOrientation:
    def file(self, format, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"JPEG": {"quality": 95}, "AVIF": {"quality": 95}, "WEBP": {"lossless": True}}.get(format, {})
        return saved(as_stored(UPRIGHT, orientation), format, exif=exif, **options)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_applied(self, format, orientation):
        decoded = decode(self.file(format, orientation), OPTIONS)
        assert decoded.shape == UPRIGHT.shape
        np.testing.assert_allclose(decoded[8::16, 8::16].astype(int), UPRIGHT[8::16, 8::16], atol=6)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_ignored(self, format, orientation):
        decoded = decode(self.file(format, orientation), DecodeOptions(exif_orientation="ignore"))
        stored = as_stored(UPRIGHT, orientation)
        assert decoded.shape == stored.shape
        np.testing.assert_allclose(decoded[8::16, 8::16].astype(int), stored[8::16, 8::16], atol=6)

    def test_damaged_or_senseless_metadata_are_ignored(self):
        damaged = saved(UPRIGHT, "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        assert np.array_equal(decode(damaged, OPTIONS), UPRIGHT)
        exif = Image.Exif()
        exif[0x0112] = 9
        assert np.array_equal(decode(saved(UPRIGHT, "PNG", exif=exif), OPTIONS), UPRIGHT)

    def test_option_is_checked(self):
        with pytest.raises(ValueError, match="'apply' or 'ignore', got 'yes'"):
            DecodeOptions(exif_orientation="yes")


class TestNotAnImage:
    @pytest.mark.parametrize(
        "data, words",
        [
            (b"", "the file is empty"),
            (b"<!DOCTYPE html>\n<title>Sign in</title>", r"starts with '<!DOCTYPE html>\n<title>"),
            (b'{"error": "expired"}', 'starts with \'{"error": "expired"}\''),
            (bytes(1000), "starts with the bytes 00 00 00"),
            (b"\x1f\x8b\x08" + bytes(range(100, 200)), "starts with the bytes 1f 8b 08"),
        ],
    )
    def test_says_what_it_is_instead(self, data, words):
        assert kind_of(data) == "not_an_image"
        assert words in message_of(data)

    @pytest.mark.parametrize("length", range(1, 20))
    def test_a_few_bytes(self, length):
        assert kind_of(bytes(range(length))) == "not_an_image"

    def test_no_size(self):
        assert kind_of(png((0, 0), 8, 2, b"")) == "not_an_image"


class TestUnsupported:
    @pytest.mark.parametrize(
        "data, name",
        [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\xff\x0a\xfa\x7f\x01", "JPEG XL"),
            (b"\x76\x2f\x31\x01\x02\0\0\0", "OpenEXR"),
            (b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
            (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        ],
    )
    def test_formats_that_pillow_does_not_decode_are_named(self, data, name):
        assert kind_of(data) == "unsupported"
        assert name in message_of(data)

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

    def test_icon_that_hides_a_larger_image(self):
        hidden = png((2000, 2000), 1, 0, bytes(2000 * 251))
        icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(hidden), 22) + hidden
        assert kind_of(icon, DecodeOptions(max_pixels=1_000_000)) == "too_large"

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
