"""Folding, and each rearrangement that saves work: equal to the plain way of computing the same."""

import keras
import numpy as np
import pytest
from keras import ops
from labelbeam.detectors.keras.centernet.heads import PeakHead
from labelbeam.detectors.keras.layers import BatchNorm, Conv, ConvTranspose, PreActivation
from labelbeam.detectors.keras.mask_rcnn.crop_and_resize import crop_and_resize
from labelbeam.detectors.keras.mask_rcnn.inception_resnet_v2 import Mixed7aActivation, Mixed7aReductions, unit_names
from labelbeam.detectors.keras.mask_rcnn.mask_head import ClassConv, EnlargedConv

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def random_variables(layer):
    """Random values of every published variable that the layer is made of."""
    return {
        name: np.abs(random(*shape)) + np.float32(0.5) if name.endswith("moving_variance") else random(*shape)
        for name, shape in layer.sources().items()
    }


def batch_norm(x, variables, source, epsilon):
    """As published: subtract, divide, multiply, add."""
    value = {name.split("/")[-1]: v for name, v in variables.items() if name.startswith(source + "/")}
    normalised = (x - value["moving_mean"]) / np.sqrt(value["moving_variance"] + epsilon)
    return normalised * value.get("gamma", 1) + value["beta"]


@pytest.mark.parametrize("gamma", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_a_folded_convolution_equals_convolution_and_batch_norm(gamma, biased):
    layer = Conv(
        6,
        3,
        strides=2,
        name="conv",
        activation="relu",
        biased=biased,
        output_scale=0.5,
        batch_norm=BatchNorm("bn", 1e-3, gamma=gamma),
    )
    layer.build((None, 9, 9, 4))
    variables = random_variables(layer)
    layer.fill(variables)
    x = random(2, 9, 9, 4)
    plain = np.asarray(ops.conv(x, variables["conv/kernel"], strides=2, padding="same")) + variables.get("conv/bias", 0)
    expected = np.maximum(batch_norm(plain, variables, "bn", 1e-3) * 0.5, 0)
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


def test_a_folded_transposed_convolution_scales_its_output_channels():
    layer = ConvTranspose(4, 3, strides=2, name="up", biased=True, batch_norm=BatchNorm("bn", 1e-3))
    layer.build((None, 5, 5, 4))
    variables = random_variables(layer)
    layer.fill(variables)
    x, kernel = random(1, 5, 5, 4), variables["up/kernel"]
    full = np.zeros((1, 11, 11, 4), np.float32)
    for i, j, k, m in np.ndindex(5, 5, 3, 3):
        full[0, 2 * i + k, 2 * j + m] += kernel[k, m] @ x[0, i, j]  # [out, in] @ [in]
    expected = batch_norm(full[:, :10, :10] + variables["up/bias"], variables, "bn", 1e-3)
    np.testing.assert_allclose(layer(x), expected, atol=5e-5)


def test_pre_activation():
    layer = PreActivation(BatchNorm("bn", 1.001e-5))
    layer.build((None, 4, 4, 3))
    variables = random_variables(layer)
    layer.fill(variables)
    x = random(2, 4, 4, 3)
    np.testing.assert_allclose(layer(x), np.maximum(batch_norm(x, variables, "bn", 1.001e-5), 0), atol=1e-5)


def test_a_head_at_the_peaks_equals_the_whole_map():
    head = PeakHead(("hidden", "last"))
    head.build((None, 6, 7, 5))
    variables = random_variables(head)
    head.fill(variables)
    features = random(2, 6, 7, 5)
    hidden = ops.relu(ops.conv(features, variables["hidden/kernel"], padding="same") + variables["hidden/bias"])
    whole = np.asarray(ops.conv(hidden, variables["last/kernel"]) + variables["last/bias"]).reshape(2, 42, 2)
    cells = np.stack([np.arange(42), RNG.permutation(42)]).astype(np.int32)  # borders and corners too
    expected = np.take_along_axis(whole, cells[..., None], axis=1)
    np.testing.assert_allclose(head(features, cells), expected, atol=1e-4)


def test_enlarging_after_the_taps_equals_enlarging_before_the_convolution():
    layer = EnlargedConv(4, (33, 33), "conv")
    layer.build((None, 9, 9, 6))
    variables = random_variables(layer)
    layer.fill(variables)
    x = random(3, 9, 9, 6)
    at = np.arange(33) / 4  # aligned corners: 8 / 32 a cell
    low, t = np.floor(at).astype(int), (at % 1).astype(np.float32)
    high = np.minimum(low + 1, 8)
    rows = x[:, low] * (1 - t)[:, None, None] + x[:, high] * t[:, None, None]
    large = rows[:, :, low] * (1 - t)[:, None] + rows[:, :, high] * t[:, None]
    expected = ops.relu(ops.conv(large, variables["conv/kernel"], padding="same") + variables["conv/bias"])
    np.testing.assert_allclose(layer(x), expected, atol=5e-5)


def test_one_class_of_the_last_convolution_equals_that_channel_of_all():
    layer = ClassConv(7, "conv")
    layer.build((None, 5, 6, 4))
    layer.fill(random_variables(layer))
    x, classes = random(3, 5, 6, 4), np.int32([6, 0, 3])
    every = np.asarray(layer(x))
    assert every.shape == (3, 5, 6, 7)
    np.testing.assert_allclose(layer(x, classes), every[np.arange(3), :, :, classes], atol=1e-5)


def test_mixed_7a_convolutions_before_the_crop_equal_those_after_it():
    reductions, activation = Mixed7aReductions(), Mixed7aActivation()
    reductions.build((None, 64, 64, 6))
    activation.build((None, 17, 17, 768))
    variables = random_variables(reductions)
    reductions.fill(variables)
    activation.fill(variables)
    features, boxes = random(1, 64, 64, 6), np.float32([[0.1, 0.2, 0.5, 0.9], [0.011, 0, 1, 1], [-0.3, 0.5, 0.4, 1.4]])
    crops = np.asarray(crop_and_resize(features, boxes, np.zeros(3, np.int32), (17, 17)))
    expected = [
        np.maximum(batch_norm(crops @ variables[f"{conv}/kernel"][0, 0], variables, bn, 1e-3), 0)
        for conv, bn in map(unit_names, (156, 158, 160))
    ]
    first = activation(crop_and_resize(reductions(features), boxes, np.zeros(3, np.int32), (17, 17)))
    np.testing.assert_allclose(first, np.concatenate(expected, axis=-1), atol=2e-5)


def test_bfloat16_layers_hold_bfloat16_weights():
    layer = Conv(4, 3, name="conv", dtype="bfloat16")
    layer.build((None, 5, 5, 3))
    layer.fill(random_variables(layer))
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer(random(1, 5, 5, 3)).dtype) == "bfloat16"
