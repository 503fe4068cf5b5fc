import numpy as np
import pytest
from labelbeam.detectors.keras.mask_rcnn import crop_and_resize as module

from tests.detectors.keras.support import formulas

ZERO_LAST_ROW = (0.011, 0.025, 0.039, 0.053, 0.066, 0.08)  # ymin of boxes to 1 whose last sample falls outside


@pytest.fixture(params=["crop_and_resize", "crop_by_gathering"])
def crop(request):
    """Both ways, where the backend has a kernel of its own."""
    function = getattr(module, request.param)

    def crop(features, boxes, image_indices=None, size_hw=(17, 17)):
        return function(
            features, boxes, np.zeros(len(boxes), np.int32) if image_indices is None else image_indices, size_hw
        )

    return crop


@pytest.mark.parametrize("grid_hw", [(64, 64), (9, 12)])
def test_equals_the_definition(crop, grid_hw):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((3, *grid_hw, 5), dtype=np.float32)
    boxes = np.sort(rng.uniform(-0.2, 1.2, (12, 2, 2)).astype(np.float32), axis=1).reshape(12, 4)
    boxes[0], boxes[1], boxes[2] = 0, (0, 0, 1, 1), (0.9, 0.8, 0.2, 0.1)  # padding, the whole map, upside down
    image_indices = rng.integers(0, 3, 12).astype(np.int32)
    expected = [formulas.crop_and_resize(features[i], b, (17, 17)) for i, b in zip(image_indices, boxes, strict=True)]
    np.testing.assert_allclose(crop(features, boxes, image_indices), expected, atol=2e-5)
    np.testing.assert_array_equal(np.equal(crop(features, boxes, image_indices), 0), np.equal(expected, 0))


def test_equals_tensorflow(crop):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    features = rng.standard_normal((1, 64, 64, 4), dtype=np.float32)
    boxes = np.sort(rng.uniform(0, 1, (200, 2, 2)).astype(np.float32), axis=1).reshape(200, 4)
    boxes[::3, 2] = boxes[1::3, 3] = 1
    expected = tf.image.crop_and_resize(features, boxes, np.zeros(200, np.int32), (17, 17)).numpy()
    np.testing.assert_allclose(crop(features, boxes), expected, atol=2e-5)
    np.testing.assert_array_equal(np.equal(crop(features, boxes), 0), expected == 0)


@pytest.mark.parametrize("ymin, zero", [(y, True) for y in ZERO_LAST_ROW] + [(0.1, False), (0.3, False)])
def test_rounding_at_the_border_decides_as_in_the_reference(crop, ymin, zero):
    crops = np.asarray(crop(np.ones((1, 64, 64, 1), np.float32), np.float32([[ymin, 0, 1, 0.5]])))
    assert (crops[0, -1] == 0).all() == zero
    assert (crops[0, :-1] == 1).all()


def test_bfloat16_features_keep_their_dtype_and_the_grid_stays_exact(crop):
    from keras import ops

    features = ops.cast(np.broadcast_to(np.float32(np.arange(64))[None, :, None, None], (1, 64, 64, 1)), "bfloat16")
    crops = crop(features, np.float32([[0, 0, 1, 1]]), size_hw=(64, 64))
    assert crops.dtype == features.dtype
    assert ops.convert_to_numpy(ops.cast(crops, "float32"))[0, :, 0, 0].tolist() == list(range(64))
