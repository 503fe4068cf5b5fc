import struct

import numpy as np
import pytest
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.decode.identify import plugins
from labelbeam.transforms.fetch.options import DecodeOptions
from PIL import Image
from skimage.util import img_as_ubyte

from tests.transforms.decode.image_files import OPTIONS, UPRIGHT, grey, kind_of, message_of, png, saved, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged files


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

    def test_heic(self):
        pytest.importorskip("pillow_heif")
        plugins()
        decoded = decode(saved(UPRIGHT, "HEIF", quality=95), OPTIONS)
        centres = np.s_[8::16, 8::16]
        np.testing.assert_allclose(decoded[centres].astype(int), UPRIGHT[centres], atol=8)

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
