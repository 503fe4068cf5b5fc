"""Masks against the two references: TensorFlow's crop_and_resize for the pixels, pycocotools for the encoding."""

import io
import tracemalloc

import numpy as np
import pytest
from labelbeam.labelset.masks import decode_counts, decode_rle, encode_box_mask, encode_counts, png_bytes
from PIL import Image
from pycocotools import mask as coco


def reference_mask(mask, box_yxyx, height, width):
    """bool `[height, width]`, the way the Object Detection API pastes a mask."""
    import tensorflow as tf  # takes seconds: only where it's used

    box = tf.constant(box_yxyx, tf.float32)
    extent = tf.maximum(box[2:] - box[:2], 1e-4)
    image_in_box = tf.concat([(0.0 - box[:2]) / extent, (1.0 - box[:2]) / extent], axis=0)
    grid = mask[np.newaxis, :, :, np.newaxis]
    pasted = tf.image.crop_and_resize(grid, image_in_box[np.newaxis], [0], [height, width])
    return pasted.numpy()[0, :, :, 0] > 0.5


def pixel_box(pixels):
    if not pixels.any():
        return (0, 0, 0, 0)
    ys, xs = np.nonzero(pixels)
    return (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)


def assert_equals_reference(mask, box_yxyx, height, width):
    mask, box_yxyx = np.asarray(mask, np.float32), np.asarray(box_yxyx, np.float32)
    expected = reference_mask(mask, box_yxyx, height, width)
    encoded = encode_box_mask(mask, box_yxyx, height, width)
    assert encoded.counts.encode() == coco.encode(np.asfortranarray(expected))["counts"]
    assert encoded.area == expected.sum()
    assert (encoded.x, encoded.y, encoded.w, encoded.h) == pixel_box(expected)
    np.testing.assert_array_equal(decode_rle(encoded.counts, height, width), expected)
    return encoded


def ellipse(size_hw):
    y, x = np.ogrid[-1 : 1 : size_hw[0] * 1j, -1 : 1 : size_hw[1] * 1j]
    return 1 / (1 + np.exp(8 * (y**2 + x**2 - 0.7)))


MASKS = {
    "ellipse": lambda rng, size_hw: ellipse(size_hw),
    "noise": lambda rng, size_hw: rng.random(size_hw),
    "many values of exactly a half": lambda rng, size_hw: np.round(rng.random(size_hw) * 4) / 4,
    "all above": lambda rng, size_hw: 0.51 + 0.49 * rng.random(size_hw),
    "all below": lambda rng, size_hw: 0.5 * rng.random(size_hw),
    "exactly a half": lambda rng, size_hw: np.full(size_hw, 0.5),
}

BOXES = {
    "inside": lambda rng: np.sort(rng.random((2, 2)), axis=0).ravel(),
    "whole image": lambda rng: np.array([0, 0, 1, 1]),
    "touches the border": lambda rng: np.clip(np.sort(rng.random((2, 2)) * 1.6 - 0.3, axis=0), 0, 1).ravel(),
    "beyond the border": lambda rng: np.sort(rng.random((2, 2)) * 1.6 - 0.3, axis=0).ravel(),
    "tiny": lambda rng: np.tile(rng.random(2), 2) + [0, 0, *10.0 ** -rng.integers(2, 7, 2)],
    "zero area": lambda rng: np.tile(np.round(rng.random(2) * 10) / 10, 2),
    "inverted": lambda rng: -np.sort(-rng.random((2, 2)), axis=0).ravel(),
}

SIZES_HW = [(120, 90), (90, 120), (333, 500), (1, 70), (70, 1), (1, 1), (2, 2), (3, 40)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("mask", MASKS)
def test_pixels_and_encoding_equal_the_references(mask, box):
    rng = np.random.default_rng([list(MASKS).index(mask), list(BOXES).index(box)])
    for height, width in SIZES_HW:
        for mask_size_hw in [(33, 33), tuple(rng.integers(2, 50, 2))]:
            assert_equals_reference(MASKS[mask](rng, mask_size_hw), BOXES[box](rng), height, width)


def test_a_twelve_megapixel_image():
    assert assert_equals_reference(ellipse((33, 33)), [0.02, 0.1, 0.97, 1.0], 4000, 3000).area > 1_000_000


def test_a_box_over_the_full_height_is_one_run():
    encoded = assert_equals_reference(np.ones((33, 33)), [0, 0.25, 1, 0.75], 41, 81)
    np.testing.assert_array_equal(decode_counts(encoded.counts), [20 * 41, 41 * 41, 20 * 41])
    assert encoded[1:] == (41 * 41, 20, 0, 41, 41)


def test_a_full_image_has_no_background_behind():
    encoded = assert_equals_reference(np.ones((2, 2)), [0, 0, 1, 1], 5, 7)
    np.testing.assert_array_equal(decode_counts(encoded.counts), [0, 35])


def test_rounding_at_the_border_drops_the_last_row_as_the_reference_does():
    """Trap 19: the last sample of a box that ends at 1 may fall just outside the grid, then the row is empty."""
    tops = np.linspace(0, 0.9, 200, dtype=np.float32)
    lasts = [assert_equals_reference(np.ones((33, 33)), [top, 0, 1, 1], 64, 3) for top in tops]
    dropped = sum(e.y + e.h < 64 for e in lasts)
    assert 0 < dropped < len(tops)


@pytest.mark.parametrize("extent", [0, 2e-5, 9e-5])
def test_a_box_narrower_than_the_clamp_is_as_wide_as_the_clamp(extent):
    encoded = assert_equals_reference(np.ones((33, 33)), [0, 0.5, 1, 0.5 + extent], 2, 40_000)
    assert encoded.w in (3, 4, 5)  # 1e-4 of 40,000


def test_no_pixels():
    empty = encode_box_mask(np.ones((33, 33), np.float32), np.float32([1.5, 0, 2, 1]), 20, 30)
    assert empty == (coco.encode(np.zeros((20, 30), np.uint8, order="F"))["counts"].decode(), 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "mask, size_hw, message",
    [
        (np.ones((1, 33), np.float32), (5, 5), "at least 2 x 2 cells"),
        (np.ones(33, np.float32), (5, 5), "at least 2 x 2 cells"),
        (np.ones((33, 33), np.float32), (0, 5), "at least one pixel"),
    ],
)
def test_what_cannot_be_pasted(mask, size_hw, message):
    with pytest.raises(ValueError, match=message):
        encode_box_mask(mask, np.float32([0, 0, 1, 1]), *size_hw)


def test_memory_does_not_grow_with_the_area():
    tracemalloc.start()
    try:
        encode_box_mask(ellipse((33, 33)).astype(np.float32), np.float32([0, 0, 1, 1]), 10_000, 10_000)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 << 20  # the image has 100 million pixels


def test_counts_of_any_lengths_survive():
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = (2.0 ** rng.uniform(0, 31, rng.integers(1, 40))).astype(np.int64)
        encoded = encode_counts(counts)
        np.testing.assert_array_equal(decode_counts(encoded), counts)
        if counts.sum() < 2**32:  # pycocotools' own limit
            size = [int(counts.sum()), 1]
            assert coco.frPyObjects({"counts": counts.tolist(), "size": size}, *size)["counts"] == encoded.encode()


@pytest.mark.parametrize(
    "counts, message",
    [
        ("", "compressed run-length encoding"),
        ("0~", "compressed run-length encoding"),
        ("P", "compressed run-length encoding"),  # ends within a number
        ("5", "do not make an image of 2 x 3"),
    ],
)
def test_what_is_no_encoding(counts, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(counts, 2, 3)


@pytest.mark.parametrize("size_hw", [(40, 61), (61, 40), (1, 9), (9, 1)])
def test_png_holds_the_same_pixels_in_one_bit(size_hw):
    encoded = encode_box_mask(ellipse((33, 33)).astype(np.float32), np.float32([0.1, 0.2, 0.9, 0.7]), *size_hw)
    image = Image.open(io.BytesIO(png_bytes(encoded.counts, *size_hw)))
    assert image.mode == "1"
    np.testing.assert_array_equal(np.asarray(image), decode_rle(encoded.counts, *size_hw))
