import numpy as np
from labelbeam.detectors.tiling.reduce import factor_for, reduced


def test_means_of_blocks_in_bands():
    pixels = np.random.default_rng(1).integers(0, 256, (601, 1003, 3), np.uint8)
    small = reduced(pixels[:, 2:], 4, band_pixels=10_000)
    assert small.shape == (151, 251, 3)
    means = pixels[:600, 2:1002].reshape(150, 4, 250, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small[:150, :250], means, atol=0.51)
    np.testing.assert_allclose(small[150, :250], pixels[600, 2:1002].reshape(250, 4, 3).mean(axis=1), atol=0.51)


def test_nothing_is_done_to_tiles():
    pixels = np.zeros((10, 10, 3), np.uint8)
    assert reduced(pixels, 1) is pixels


def test_never_smaller_than_a_tile():
    assert factor_for((384, 384), (384, 384)) == 1
    assert factor_for((767, 2000), (384, 384)) == 1
    assert factor_for((768, 2000), (384, 384)) == 2
    assert factor_for((10_000, 20_000), (384, 384)) == 26
    assert factor_for((100, 100), (384, 384)) == 1
