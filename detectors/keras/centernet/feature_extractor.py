"""CenterNet's feature extractor: ResNet50-v2 (Identity Mappings in Deep Residual Networks, arXiv:1603.05027), a neck.

The neck (Objects as Points, arXiv:1904.07850, section 5) brings the backbone's stride of 32 back to 4. Layers bear the
published names.
"""

import keras
from keras import layers

from ..layers import BatchNorm, Conv, ConvTranspose, PreActivation

BACKBONE_EPSILON = 1.001e-5
NECK_EPSILON = 1e-3
STACKS = (  # name, filters, blocks, stride of the last block
    ("conv2", 64, 3, 2),
    ("conv3", 128, 4, 2),
    ("conv4", 256, 6, 2),
    ("conv5", 512, 3, 1),
)
NECK_FILTERS = (256, 128, 64)


def feature_extractor(size_hw: tuple[int, int], dtype: str) -> keras.Model:
    """Backbone and neck: pixels `[B, H, W, 3]` in [-1, 1] -> features `[B, H/4, W/4, 64]`.

    Args:
      size_hw: of the input, multiples of 32.
      dtype: of weights and computation, `float32` or `bfloat16`.
    """
    pixels = layers.Input((*size_hw, 3), name="pixels", dtype=dtype)
    return keras.Model(pixels, neck(resnet50v2(pixels, dtype), dtype), name="feature_extractor")


def resnet50v2(pixels, dtype: str):
    """ResNet50-v2 without its last batch norm. It differs from the paper's: a stack strides in its *last* block."""
    x = layers.ZeroPadding2D(3, name="conv1_pad", dtype=dtype)(pixels)
    x = Conv(64, 7, strides=2, padding="valid", name="conv1_conv", dtype=dtype)(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad", dtype=dtype)(x)  # zeros, though the values may be negative
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool", dtype=dtype)(x)
    for stack, filters, blocks, stride in STACKS:
        for block in range(1, blocks + 1):
            x = residual_block(
                x,
                f"{stack}_block{block}",
                filters,
                stride=stride if block == blocks else 1,
                convolve_shortcut=block == 1,
                dtype=dtype,
            )
    return x


def residual_block(x, name: str, filters: int, stride: int, convolve_shortcut: bool, dtype: str):
    """Bottleneck block with pre-activation."""

    def conv_bn_relu(x, part, kernel_size, **kwargs):
        return Conv(
            filters,
            kernel_size,
            name=f"{name}_{part}_conv",
            activation="relu",
            dtype=dtype,
            batch_norm=BatchNorm(f"{name}_{part}_bn", BACKBONE_EPSILON),
            **kwargs,
        )(x)

    preact = PreActivation(BatchNorm(f"{name}_preact_bn", BACKBONE_EPSILON), dtype=dtype)(x)
    if convolve_shortcut:
        shortcut = Conv(4 * filters, 1, name=f"{name}_0_conv", dtype=dtype)(preact)
    elif stride > 1:
        # Of x, not of preact.
        shortcut = layers.MaxPooling2D(1, strides=stride, name=f"{name}_subsample", dtype=dtype)(x)
    else:
        shortcut = x
    y = conv_bn_relu(preact, 1, 1)
    # One cell of zeros on every side: with stride 2, "same" would pad at the end only.
    y = layers.ZeroPadding2D(1, name=f"{name}_2_pad", dtype=dtype)(y)
    y = conv_bn_relu(y, 2, 3, strides=stride, padding="valid")
    y = Conv(4 * filters, 1, name=f"{name}_3_conv", dtype=dtype)(y)
    return layers.Add(name=f"{name}_out", dtype=dtype)([shortcut, y])


def neck(x, dtype: str):
    """Three times: a convolution, then a transposed one that doubles the resolution."""
    for i, filters in enumerate(NECK_FILTERS):
        first, second = (BatchNorm(numbered("batch_normalization", 2 * i + k), NECK_EPSILON) for k in (0, 1))
        x = Conv(filters, 3, name=numbered("conv2d", i), activation="relu", biased=True, batch_norm=first, dtype=dtype)(
            x
        )
        x = ConvTranspose(
            filters,
            3,
            strides=2,
            name=numbered("conv2d_transpose", i),
            activation="relu",
            biased=True,
            batch_norm=second,
            dtype=dtype,
        )(x)
    return x


def numbered(name: str, i: int) -> str:
    """Keras' automatic names: `conv2d`, `conv2d_1`, `conv2d_2`, …"""
    return f"{name}_{i}" if i else name
