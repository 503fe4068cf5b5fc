import numpy as np
import pytest
from labelbeam.results.polygons import joined_ring, mask_polygons
from PIL import Image, ImageDraw
from skimage.draw import polygon2mask

from tests.results.export.outputs import ring_and_pieces


def filled(polygons, height, width):
    """Pixels whose centres lie inside, pieces less holes."""
    mask = np.zeros((height, width), bool)
    for polygon in polygons:
        piece = polygon2mask((height, width), polygon.exterior[:, ::-1] - 0.5)
        for hole in polygon.holes:
            piece &= ~polygon2mask((height, width), hole[:, ::-1] - 0.5)
        assert not (mask & piece).any()
        mask |= piece
    return mask


RNG = np.random.default_rng(0)
MASKS = [
    *(RNG.random((23, 17)) < density for density in (0.02, 0.3, 0.5, 0.7, 0.98)),
    np.ones((5, 7), bool),
    ring_and_pieces(30, 40),
]


@pytest.mark.parametrize("mask", MASKS)
def test_filled_polygons_are_the_mask_bit_for_bit(mask):
    np.testing.assert_array_equal(filled(mask_polygons(mask), *mask.shape), mask)


@pytest.mark.parametrize("mask", MASKS)
def test_one_joined_ring_filled_even_odd_is_the_mask(mask):
    ring = joined_ring(mask_polygons(mask))
    np.testing.assert_array_equal(polygon2mask(mask.shape, ring[:, ::-1] - 0.5), mask)


def test_pieces_holes_and_islands_are_told_apart():
    polygons = mask_polygons(ring_and_pieces(30, 40))
    assert [len(polygon.holes) for polygon in polygons] == [1, 0, 0, 0, 0]
    island = next(
        polygon
        for polygon in polygons
        if (polygon.exterior.min(axis=0) >= [9, 6]).all() and (polygon.exterior.max(axis=0) <= [12, 8]).all()
    )
    assert not island.holes


def test_a_tolerance_leaves_fewer_points_near_the_outline():
    image = Image.new("1", (200, 150))
    ImageDraw.Draw(image).ellipse((10, 20, 180, 130), fill=1)
    mask = np.asarray(image)
    (exact,), (rough,) = mask_polygons(mask), mask_polygons(mask, tolerance_px=1)
    assert len(rough.exterior) < len(exact.exterior) / 5
    again = filled([rough], *mask.shape)
    assert (again & mask).sum() / (again | mask).sum() > 0.98
    (pixel,) = mask_polygons(np.eye(1, dtype=bool), tolerance_px=5)
    assert len(pixel.exterior) >= 3


def test_an_empty_mask_has_no_polygons():
    assert mask_polygons(np.zeros((4, 5), bool)) == []
