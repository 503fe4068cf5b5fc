import numpy as np
import pytest
from labelbeam.detectors.keras.centernet import preprocess as centernet
from labelbeam.detectors.keras.mask_rcnn import preprocess as mask_rcnn
from labelbeam.detectors.keras.resize import legacy_bilinear_resize
from labelbeam.detectors.protocol import InvalidDetections


def resize_cell_by_cell(image, size_hw):
    """The definition, one output cell at a time, in scalar float32."""
    f = np.float32
    out = np.empty((*size_hw, image.shape[2]), f)
    for i in range(size_hw[0]):
        y = f(i) * (f(image.shape[0]) / f(size_hw[0]))
        y0 = int(y)
        y1, ty = min(y0 + 1, image.shape[0] - 1), f(y - f(y0))
        for j in range(size_hw[1]):
            x = f(j) * (f(image.shape[1]) / f(size_hw[1]))
            x0 = int(x)
            x1, tx = min(x0 + 1, image.shape[1] - 1), f(x - f(x0))
            tl, tr, bl, br = (image[a, b].astype(f) for a, b in ((y0, x0), (y0, x1), (y1, x0), (y1, x1)))
            top, bottom = tl + (tr - tl) * tx, bl + (br - bl) * tx
            out[i, j] = top + (bottom - top) * ty
    return out


@pytest.mark.parametrize(
    "size_hw, new_hw",
    [((5, 7), (12, 9)), ((40, 30), (11, 13)), ((1, 6), (4, 4)), ((9, 9), (9, 9)), ((57, 31), (33, 64))],
)
def test_equals_the_definition_bit_by_bit(size_hw, new_hw):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    np.testing.assert_array_equal(legacy_bilinear_resize(image, new_hw), resize_cell_by_cell(image, new_hw))


@pytest.mark.parametrize(
    "size_hw, new_hw", [((300, 451), (341, 512)), ((1411, 1411), (512, 512)), ((33, 40), (1024, 1024))]
)
def test_equals_tensorflow_bit_by_bit(size_hw, new_hw):
    import tensorflow as tf

    image = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    reference = tf.compat.v1.image.resize_bilinear(image[None].astype(np.float32), new_hw)[0].numpy()
    np.testing.assert_array_equal(legacy_bilinear_resize(image, new_hw), reference)


@pytest.mark.parametrize(
    "size_hw, scaled_hw",
    [
        ((400, 600), (341, 512)),
        ((401, 1024), (200, 512)),
        ((403, 1024), (202, 512)),
        ((512, 512), (512, 512)),
        ((33, 40), (422, 512)),
        ((1024, 400), (512, 200)),
        ((1, 1023), (1, 512)),
    ],
)
def test_centernet_scales_the_longer_side_to_512(size_hw, scaled_hw):
    assert centernet.scaled_size_hw(size_hw) == scaled_hw


def test_centernet_refuses_a_image_whose_short_side_vanishes():
    with pytest.raises(InvalidDetections, match=r"1x1024 .* too narrow"):
        centernet.scaled_size_hw((1, 1024))


def test_centernet_pads_with_minus_one_at_the_bottom_and_the_right():
    pixels, true_size_hw = centernet.preprocess(np.full((100, 50, 3), 255, np.uint8))
    assert true_size_hw.tolist() == [512, 256]
    np.testing.assert_allclose(pixels[:, :256], 1, atol=1e-6)
    assert (pixels[:, 256:] == -1).all()


def test_mask_rcnn_stretches():
    image = np.random.default_rng(2).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    pixels, true_size_hw = mask_rcnn.preprocess(image)
    assert true_size_hw.tolist() == [1024, 1024]
    expected = resize_cell_by_cell(image, (1024, 4))[:, 0] * np.float32(2 / 255) - 1
    np.testing.assert_array_equal(pixels[:, 0], expected)


@pytest.mark.parametrize("network", [centernet, mask_rcnn])
@pytest.mark.parametrize("size_hw", [(100, 50), (50, 100), (64, 64)])
def test_pixels_in_a_part_of_a_used_batch_are_those_of_an_image_alone(network, size_hw):
    image = np.random.default_rng(3).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    batch = np.full((2, *network.INPUT_SIZE_HW, 3), np.nan, np.float32)
    pixels, true_size_hw = network.preprocess(image, batch[1])
    alone, true_size_hw_alone = network.preprocess(image)
    np.testing.assert_array_equal(batch[1], alone)
    assert pixels.base is batch and np.isnan(batch[0]).all()
    assert true_size_hw.tolist() == true_size_hw_alone.tolist()
