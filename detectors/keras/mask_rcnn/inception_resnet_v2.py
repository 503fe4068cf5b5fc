"""Inception-ResNet-v2 (arXiv:1602.07261), cut in two where Mask R-CNN crops: stride 16, and the tower on the crops.

Convolutions with a batch norm are numbered in the order of construction, across both parts: number i is published as
`conv2d_i` and `freezable_batch_norm_i`. All padding is "same".
"""

import keras
from keras import layers

from ..layers import BatchNorm, Conv
from ..ops import ops

EPSILON = 1e-3
BLOCK35_SCALE, BLOCK17_SCALE, BLOCK8_SCALE = 0.17, 0.1, 0.2
FIRST_BLOCK35_UNIT, FIRST_BLOCK17_UNIT, FIRST_BLOCK8_UNIT = 12, 76, 163
MIXED_7A_REDUCTIONS = (156, 158, 160)  # the three 1x1 convolutions at its start, 256 filters each
REDUCTION_FILTERS = 256


def unit_names(number: int) -> tuple[str, str]:
    """Published names of a unit's convolution and batch norm."""
    suffix = f"_{number}" if number else ""
    return f"conv2d{suffix}", f"freezable_batch_norm{suffix}"


def unit_batch_norm(number: int) -> BatchNorm:
    """The batch norm of a unit: without gamma."""
    return BatchNorm(unit_names(number)[1], EPSILON, gamma=False)


class _Builder:
    """Writes the paper's diagrams as code: `unit(number, x, kernel, filters)` is conv, batch norm and ReLU."""

    def __init__(self, dtype: str):
        self.dtype = dtype

    def unit(self, number, x, kernel_size, filters, strides=1):
        return Conv(
            filters,
            kernel_size,
            strides=strides,
            name=unit_names(number)[0],
            activation="relu",
            batch_norm=unit_batch_norm(number),
            dtype=self.dtype,
        )(x)

    def max_pool(self, x, name):
        return layers.MaxPooling2D(3, strides=2, padding="same", name=name, dtype=self.dtype)(x)

    def concat(self, branches, name):
        return layers.Concatenate(name=name, dtype=self.dtype)(branches)

    def residual(self, x, branches, name, scale, relu=True):
        """`x + scale * up(branches)`; the scale is folded into the convolution `up`, which has no batch norm."""
        up = Conv(x.shape[-1], 1, name=f"{name}_conv", output_scale=scale, dtype=self.dtype)(
            self.concat(branches, f"{name}_mixed")
        )
        x = layers.Add(name=f"{name}_sum", dtype=self.dtype)([x, up])
        return layers.ReLU(name=f"{name}_ac", dtype=self.dtype)(x) if relu else x


def first_stage(size_hw: tuple[int, int], dtype: str) -> keras.Model:
    """From pixels `[B, H, W, 3]` in [-1, 1] to features `[B, H/16, W/16, 1088]`, the output of block17_20."""
    b = _Builder(dtype)
    pixels = layers.Input((*size_hw, 3), name="pixels", dtype=dtype)

    x = b.unit(0, pixels, 3, 32, strides=2)
    x = b.unit(1, x, 3, 32)
    x = b.unit(2, x, 3, 64)
    x = b.max_pool(x, "max_pooling2d")
    x = b.unit(3, x, 1, 80)
    x = b.unit(4, x, 3, 192)
    x = b.max_pool(x, "max_pooling2d_1")

    pooled = layers.AveragePooling2D(3, strides=1, padding="same", name="average_pooling2d", dtype=dtype)(x)
    x = b.concat(
        [
            b.unit(5, x, 1, 96),
            b.unit(7, b.unit(6, x, 1, 48), 5, 64),
            b.unit(10, b.unit(9, b.unit(8, x, 1, 64), 3, 96), 3, 96),
            b.unit(11, pooled, 1, 64),
        ],
        "mixed_5b",
    )
    for n in range(10):
        x = block35(b, x, n + 1, FIRST_BLOCK35_UNIT + 6 * n)
    x = b.concat(
        [
            b.unit(72, x, 3, 384, strides=2),
            b.unit(75, b.unit(74, b.unit(73, x, 1, 256), 3, 256), 3, 384, strides=2),
            b.max_pool(x, "max_pooling2d_2"),
        ],
        "mixed_6a",
    )
    for n in range(20):
        x = block17(b, x, n + 1, FIRST_BLOCK17_UNIT + 4 * n)
    return keras.Model(pixels, x, name="first_stage")


def block35(b: _Builder, x, n: int, c: int):
    """Inception-ResNet-A; `c` is the number of its first unit."""
    branches = [
        b.unit(c, x, 1, 32),
        b.unit(c + 2, b.unit(c + 1, x, 1, 32), 3, 32),
        b.unit(c + 5, b.unit(c + 4, b.unit(c + 3, x, 1, 32), 3, 48), 3, 64),
    ]
    return b.residual(x, branches, f"block35_{n}", BLOCK35_SCALE)


def block17(b: _Builder, x, n: int, c: int):
    """Inception-ResNet-B."""
    branches = [b.unit(c, x, 1, 192), b.unit(c + 3, b.unit(c + 2, b.unit(c + 1, x, 1, 128), (1, 7), 160), (7, 1), 192)]
    return b.residual(x, branches, f"block17_{n}", BLOCK17_SCALE)


def block8(b: _Builder, x, n: int, c: int):
    """Inception-ResNet-C. The last one isn't scaled and has no ReLU."""
    branches = [b.unit(c, x, 1, 192), b.unit(c + 3, b.unit(c + 2, b.unit(c + 1, x, 1, 192), (1, 3), 224), (3, 1), 256)]
    last = n == 10
    return b.residual(x, branches, f"block8_{n}", 1.0 if last else BLOCK8_SCALE, relu=not last)


class Mixed7aReductions(keras.layers.Layer):
    """The three 1x1 convolutions at the start of mixed_7a, without what the batch norms add: `[…, C]` -> `[…, 768]`.

    Linear and the same in each cell, they commute with cropping: done once on the feature map instead of on 300
    overlapping crops, they cost a twentieth. What follows the crop is `Mixed7aActivation`.
    """

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(input_shape[-1], REDUCTION_FILTERS * len(MIXED_7A_REDUCTIONS)), initializer="zeros", name="kernel"
        )

    def call(self, inputs):
        return ops.matmul(inputs, self.kernel)

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        found = {}
        for number in MIXED_7A_REDUCTIONS:
            found[f"{unit_names(number)[0]}/kernel"] = (1, 1, self.kernel.shape[0], REDUCTION_FILTERS)
            found |= unit_batch_norm(number).sources(REDUCTION_FILTERS)
        return found

    def fill(self, variables) -> None:
        """See `Conv.fill`."""
        kernels = [
            variables[f"{unit_names(number)[0]}/kernel"][0, 0].astype("float64")
            * unit_batch_norm(number).scale_and_offset(variables)[0]
            for number in MIXED_7A_REDUCTIONS
        ]
        self.kernel.assign(ops.concatenate([k.astype("float32") for k in kernels], axis=-1))


class Mixed7aActivation(keras.layers.Layer):
    """What the batch norms of `Mixed7aReductions` add, and the ReLU."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs):
        return ops.relu(inputs + self.bias)

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        found = {}
        for number in MIXED_7A_REDUCTIONS:
            found |= unit_batch_norm(number).sources(REDUCTION_FILTERS)
        return found

    def fill(self, variables) -> None:
        """See `Conv.fill`."""
        offsets = [unit_batch_norm(number).scale_and_offset(variables)[1] for number in MIXED_7A_REDUCTIONS]
        self.bias.assign(ops.concatenate([o.astype("float32") for o in offsets], axis=-1))


def tower(crop_hw: tuple[int, int], channels: int, dtype: str) -> keras.Model:
    """The part that runs on crops: mixed_7a, block8 and conv_7b.

    Inputs are crops `[N, h, w, channels]` of the features and crops `[N, h, w, 768]` of their `Mixed7aReductions`; the
    output is `[N, ceil(h/2), ceil(w/2), 1536]`.
    """
    b = _Builder(dtype)
    crops = layers.Input((*crop_hw, channels), name="crops", dtype=dtype)
    num_reduced = REDUCTION_FILTERS * len(MIXED_7A_REDUCTIONS)
    reduced_crops = layers.Input((*crop_hw, num_reduced), name="reduced_crops", dtype=dtype)

    reduced = Mixed7aActivation(name="mixed_7a_activation", dtype=dtype)(reduced_crops)
    unit_156, unit_158, unit_160 = ops.split(reduced, 3, axis=-1)
    x = b.concat(
        [
            b.unit(157, unit_156, 3, 384, strides=2),
            b.unit(159, unit_158, 3, 288, strides=2),
            b.unit(162, b.unit(161, unit_160, 3, 288), 3, 320, strides=2),
            b.max_pool(crops, "max_pooling2d_3"),
        ],
        "mixed_7a",
    )
    for n in range(10):
        x = block8(b, x, n + 1, FIRST_BLOCK8_UNIT + 4 * n)
    x = Conv(
        1536,
        1,
        name="conv_7b",
        activation="relu",
        dtype=dtype,
        batch_norm=BatchNorm("conv_7b_bn", EPSILON, gamma=False),
    )(x)
    return keras.Model([crops, reduced_crops], x, name="tower")
