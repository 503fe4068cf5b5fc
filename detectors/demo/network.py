"""The demo detector's network: a small fully convolutional instance segmenter in Keras, 0.8 million parameters.

A narrow ResNet (arXiv:1512.03385) with a feature pyramid (arXiv:1612.03144). At each cell of one map, a quarter of
the input's resolution, it says what box it would expect to find for an object of each class with its middle there
(quality focal loss, arXiv:2006.04388: the score is the expected IoU), how far away the box's edges are (FCOS,
arXiv:1904.01355), and how to mix a few mask prototypes into the object's mask (YOLACT, arXiv:1904.02689).
"""

import keras
from keras import layers, ops

STRIDE = 4
"""Input pixels a cell of the feature map."""
PROTOTYPE_STRIDE = 2
"""Input pixels a cell of the mask prototypes."""
NUM_PROTOTYPES = 16
_WIDTHS = (16, 24, 40, 64, 96)  # channels at strides 2, 4, 8, 16, 32
_BLOCKS = (1, 2, 2, 2)  # residual blocks at strides 4, 8, 16, 32
_NECK_WIDTH = 48


def build_network(num_classes: int) -> keras.Model:
    """Builds the network, freshly initialised.

    Args:
      num_classes: C.

    Returns:
      A model from float32 `[B, H, W, 3]` in [-1, 1], H and W multiples of 32, to a dict of float32:
        `class_logits` `[B, H/4, W/4, C]`, `edges` `[B, H/4, W/4, 4]`: distances from the cell's middle to the box's
        top, left, bottom and right, in input pixels, `coefficients` `[B, H/4, W/4, 16]` and `prototypes` `[B, H/2,
        W/2, 16]`: their product is a mask's logit.
    """
    image = keras.Input((None, None, 3), name="image")
    levels = _backbone(image)
    pyramid = _pyramid(levels)
    features = _unit(pyramid, 64, "features")
    # Objects are rare: starting from a probability of 1 % keeps the first steps calm (arXiv:1708.02002, section 3.3).
    class_logits = layers.Conv2D(
        num_classes, 1, name="class_logits", bias_initializer=keras.initializers.Constant(-4.6)
    )(_unit(_unit(features, _NECK_WIDTH, "classes_1"), _NECK_WIDTH, "classes_2"))
    geometry = _unit(features, _NECK_WIDTH, "geometry")
    edges = layers.Conv2D(4, 1, name="edge_logs", bias_initializer=keras.initializers.Constant(2.0))(geometry)
    edges = ops.exp(ops.clip(edges, -4.0, 5.0)) * STRIDE
    coefficients = layers.Conv2D(NUM_PROTOTYPES, 1, activation="tanh", name="coefficients")(geometry)
    return keras.Model(
        image,
        {
            "class_logits": class_logits,
            "edges": edges,
            "coefficients": coefficients,
            "prototypes": _prototypes(pyramid, levels[0]),
        },
        name="demo_detector",
    )


def _backbone(image):
    """Features at strides 2, 4, 8, 16 and 32."""
    levels = [_unit(image, _WIDTHS[0], "stem", stride=2)]
    for width, blocks in zip(_WIDTHS[1:], _BLOCKS, strict=True):
        x = _unit(levels[-1], width, f"down_{width}", stride=2)
        for block in range(blocks):
            x = _residual(x, width, f"block_{width}_{block}")
        levels.append(x)
    return levels


def _pyramid(levels):
    """Features at stride 4 that know of everything up to stride 32."""
    top = _unit(levels[-1], _NECK_WIDTH, "neck_32", kernel=1)
    for level, stride in zip(levels[-2:0:-1], (16, 8, 4), strict=True):
        lateral = _unit(level, _NECK_WIDTH, f"lateral_{stride}", kernel=1)
        top = _unit(layers.UpSampling2D(interpolation="bilinear")(top) + lateral, _NECK_WIDTH, f"neck_{stride}")
    return top


def _prototypes(pyramid, stem):
    """Mask prototypes at stride 2: the pyramid's features beside the stem's, which know the exact outlines."""
    coarse = layers.UpSampling2D(interpolation="bilinear")(_unit(pyramid, 24, "mask_features", kernel=1))
    fine = _unit(layers.Concatenate()([coarse, stem]), 24, "mask_fine")
    return layers.Conv2D(NUM_PROTOTYPES, 1, name="prototypes")(fine)


def _unit(x, width: int, name: str, *, stride: int = 1, kernel: int = 3):
    return layers.ReLU(name=f"{name}_relu")(_convolution(x, width, name, stride, kernel))


def _residual(x, width: int, name: str):
    return layers.ReLU(name=f"{name}_relu")(x + _convolution(_unit(x, width, f"{name}_1"), width, f"{name}_2", 1, 3))


def _convolution(x, width: int, name: str, stride: int, kernel: int):
    convolution = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")
    return layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=norm_name(convolution.name))(convolution(x))


def norm_name(convolution_name: str) -> str:
    """The name of the batch normalisation behind a convolution that has no bias."""
    return convolution_name.removesuffix("_conv") + "_bn"
