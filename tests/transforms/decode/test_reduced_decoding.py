"""JPEGs decoded at a part of their size, and JPEGs decoded past Pillow: where everything is, and that nothing else
differs.
"""

import io

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.transforms.decode import jpeg
from labelbeam.transforms.decode.decoding import decode, open_image
from labelbeam.transforms.decode.image_area import WHOLE
from labelbeam.transforms.detect import Detect, DetectorHandler
from labelbeam.transforms.elements import BoxPrompts, ImageError, ImageReference
from labelbeam.transforms.fetch.options import DecodeOptions, ModelInput
from labelbeam.transforms.fetch_images import FetchImages
from PIL import Image

from tests.fakes.detectors import FakeBoxClassifierLoader
from tests.transforms.decode.test_decoding import as_stored, saved

LETTERBOX, STRETCH = ModelInput((100, 100), "letterbox"), ModelInput((100, 100), "stretch")


def reduced(data, model_input, **options):
    return open_image(data, DecodeOptions(reduce_for=model_input, **options)).decode()


def bright_spots(size_hw, centres_yx, radius=24):
    """Grey discs on black, each with its own brightness."""
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    image = np.zeros((*size_hw, 3), np.uint8)
    for number, (cy, cx) in enumerate(centres_yx):
        image[(y + 0.5 - cy) ** 2 + (x + 0.5 - cx) ** 2 <= radius**2] = 255 - 40 * number
    return image


def centre_of_brightness(pixels, top, left, bottom, right):
    """(y, x) of the light within these rows and columns."""
    light = pixels[top:bottom, left:right, 0].astype(float)
    light[light < 16] = 0  # the codec's ringing
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    return (light * y).sum() / light.sum(), (light * x).sum() / light.sum()


def turned_jpeg(upright, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(as_stored(upright, orientation), "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("model_input, factor", [(LETTERBOX, 8), (ModelInput((150, 150), "stretch"), 4)])
def test_places_are_those_of_the_full_image(model_input, factor, orientation):
    size_hw, centres = (843, 1021), [(101.0, 203.0), (700.0, 911.0), (420.0, 55.0)]  # neither side a multiple of 2
    image = reduced(turned_jpeg(bright_spots(size_hw, centres), orientation), model_input)
    assert image.size_hw == size_hw
    assert image.pixels.shape == (-(-843 // factor), -(-1021 // factor), 3)
    height, width = image.pixels.shape[:2]
    for cy, cx in centres:
        near = [int((c + side) / factor) for c, side in ((cy, -54), (cx, -54), (cy, 54), (cx, 54))]
        y, x = centre_of_brightness(image.pixels, *np.maximum(near, 0))
        point = np.float32([[y / height, x / width] * 2])
        found = image.area.to_image(point)[0, :2] * np.array(size_hw)
        np.testing.assert_allclose(found, [cy, cx], atol=0.2)
        np.testing.assert_allclose(image.area.from_image(image.area.to_image(point)), point, atol=1e-6)


def test_an_ignored_orientation_leaves_the_rows_as_they_are_stored():
    image = reduced(turned_jpeg(bright_spots((843, 1021), [(101, 203)]), 6), LETTERBOX, exif_orientation="ignore")
    assert image.size_hw == (1021, 843) and image.pixels.shape[:2] == (128, 106)


@pytest.mark.parametrize(
    "size_hw, model_input, expected_hw",
    [
        ((3000, 4000), ModelInput((512, 512), "letterbox"), (750, 1000)),  # an eighth would be 500 wide
        ((3000, 4000), ModelInput((1024, 1024), "stretch"), (1500, 2000)),  # a quarter would be 750 high
        ((3000, 4000), ModelInput((1024, 1024), "letterbox"), (1500, 2000)),
        ((3072, 4096), ModelInput((512, 512), "letterbox"), (384, 512)),  # just what's needed
        ((3072, 4095), ModelInput((512, 512), "letterbox"), (768, 1024)),
        ((1023, 700), ModelInput((512, 512), "letterbox"), (1023, 700)),
        ((64, 2000), ModelInput((100, 100), "stretch"), (64, 2000)),  # the short side is made larger
        ((6, 3000), ModelInput((100, 100), "letterbox"), (2, 750)),  # no side may vanish
    ],
)
def test_never_below_what_the_detector_needs(size_hw, model_input, expected_hw):
    data = saved(np.zeros((*size_hw, 3), np.uint8), "JPEG")
    opened = open_image(data, DecodeOptions(reduce_for=model_input))
    assert opened.num_bytes_decoded == expected_hw[0] * expected_hw[1] * 3
    image = opened.decode()
    assert image.pixels.shape == (*expected_hw, 3) and image.size_hw == size_hw


def test_a_detector_that_is_not_square_sees_turned_images_as_they_are_shown():
    wide = ModelInput((50, 400), "stretch")
    upright = np.zeros((400, 800, 3), np.uint8)
    assert reduced(turned_jpeg(upright, 1), wide).pixels.shape[:2] == (200, 400)
    assert reduced(turned_jpeg(upright, 6), wide).pixels.shape[:2] == (200, 400)


def test_other_formats_and_small_jpegs_decode_as_always():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (230, 310, 3), dtype=np.uint8)
    for data, model_input in (
        (saved(noise, "PNG"), LETTERBOX),
        (saved(noise, "WEBP"), LETTERBOX),
        (saved(noise, "JPEG"), ModelInput((230, 310), "stretch")),
    ):
        image = reduced(data, model_input)
        np.testing.assert_array_equal(image.pixels, decode(data, DecodeOptions()))
        assert image.area == WHOLE and image.size_hw == (230, 310)


@pytest.mark.parametrize(
    "mode, options",
    [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"keep_rgb": True}), ("RGB", {"subsampling": 0})],
)
def test_every_kind_of_jpeg_can_be_reduced(mode, options):
    upright = Image.fromarray(bright_spots((800, 1200), [(300, 500)], radius=200)).convert(mode)
    data = saved(upright, "JPEG", **options)
    expected = decode(data, DecodeOptions())[4::8, 4::8].astype(int)
    image = reduced(data, LETTERBOX)
    assert np.abs(image.pixels - expected).mean() < 3


def test_the_first_image_of_several_in_a_file():
    images = [Image.fromarray(np.full((800, 800, 3), level, np.uint8)) for level in (200, 50)]
    data = saved(images[0], "MPO", save_all=True, append_images=images[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert decode(data, DecodeOptions()).mean() == 200
    image = reduced(data, LETTERBOX)
    assert image.pixels.shape == (100, 100, 3) and image.pixels.mean() == 200


def test_limits_are_those_of_the_full_image():
    data = saved(np.zeros((1000, 1000, 3), np.uint8), "JPEG")
    with pytest.raises(ImageError) as caught:
        reduced(data, LETTERBOX, max_pixels=999_999)
    assert caught.value.kind == "too_large" and "1000×1000" in caught.value.message
    with pytest.raises(ImageError) as caught:
        reduced(data[: len(data) // 2], LETTERBOX)
    assert caught.value.kind == "truncated" and "1000×1000" in caught.value.message


@pytest.mark.parametrize("unit", ["pixels", "normalised"])
def test_box_prompts_and_what_is_found_in_them_are_in_the_full_image(tmp_path, unit):
    """There and back through the area that the image takes: the detector gives back the boxes that it was given."""
    path = tmp_path / "turned.jpg"
    path.write_bytes(turned_jpeg(np.zeros((843, 1021, 3), np.uint8), 6))
    boxes = np.float32([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.25, 0.9, 0.5, 1]])
    given = boxes * np.float32([843, 1021, 843, 1021]) if unit == "pixels" else boxes

    def check(images):
        [image] = images
        assert (image.facts.height, image.facts.width) == (843, 1021)
        np.testing.assert_allclose(image.detections.boxes_yxyx, boxes, atol=1e-6)

    with beam.Pipeline(runner="FnApiRunner") as p:
        found = (
            p
            | beam.Create([ImageReference(str(path), boxes=BoxPrompts(given.tobytes(), unit))])
            | FetchImages(decode=DecodeOptions(reduce_for=LETTERBOX))
            | Detect(DetectorHandler(FakeBoxClassifierLoader(), 1))
            | beam.FlatMap(lambda batch: batch)
        )
        assert_that(found, check)


class TestPastPillow:
    """simplejpeg and Pillow carry a libjpeg-turbo each: equal pixels are what lets either of them do the work."""

    def assert_same_without(self, monkeypatch, data, options=DecodeOptions()):
        pixels = decode(data, options)
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "simplejpeg", None)
            np.testing.assert_array_equal(decode(data, options), pixels)
        return pixels

    @pytest.fixture(autouse=True)
    def installed(self):
        if jpeg.simplejpeg is None:
            pytest.skip("simplejpeg isn't installed: there's nothing beside Pillow")

    @pytest.mark.parametrize("size_hw", [(1, 1), (7, 9), (61, 97), (480, 640)])
    @pytest.mark.parametrize(
        "options",
        [
            {"subsampling": 0},
            {"subsampling": 1},
            {"subsampling": 2},
            {"progressive": True},
            {"keep_rgb": True},
            {"restart_marker_rows": 1},
            {"quality": 30},
        ],
    )
    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_same_pixels(self, monkeypatch, mode, options, size_hw):
        rng = np.random.default_rng(size_hw)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        image = coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC).convert(mode)
        if mode == "L" or ("keep_rgb" in options and mode != "RGB"):
            options = {name: value for name, value in options.items() if name not in ("keep_rgb", "subsampling")}
        pixels = self.assert_same_without(monkeypatch, saved(image, "JPEG", **options))
        assert pixels.shape == (*size_hw, 3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned(self, monkeypatch, orientation):
        upright = bright_spots((61, 97), [(20, 30)])
        data = turned_jpeg(upright, orientation)
        assert self.assert_same_without(monkeypatch, data).shape == upright.shape
        self.assert_same_without(monkeypatch, data, DecodeOptions(exif_orientation="ignore"))

    def test_damage_is_told_by_pillow(self, monkeypatch):
        noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
        data = saved(noise, "JPEG")
        damaged = data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :]
        assert self.assert_same_without(monkeypatch, damaged).shape == noise.shape
        assert self.assert_same_without(monkeypatch, data + b"more").shape == noise.shape
        with pytest.raises(ImageError, match="cut short or damaged: image file is truncated"):
            decode(data[: len(data) // 2], DecodeOptions())
