"""The demo detector's network: 0.56 million parameters, a picture of 320 x 320 in, dense predictions out.

A narrow ResNet (He et al. 2016, arXiv:1512.03385) with a feature pyramid (Lin et al. 2017, arXiv:1612.03144). One head cell for every
8 x 8 pixels says which classes have their middle here, as in CenterNet (Zhou et al. 2019, arXiv:1904.07850), how far away the box's sides
are, as in FCOS (Tian et al. 2019, arXiv:1904.01355), how well that box will fit, as in IoU-aware RetinaNet (Wu et al. 2020, arXiv:1912.05992),
and the weights of a tiny network that draws the object's mask from shared maps, as in CondInst (Tian et al. 2020, arXiv:2003.05664).

The topology is written once, over a `conv` that the caller supplies: `build_network` supplies Keras layers with batch normalisation for
training, `export` supplies plain convolutions into which that normalisation has been folded. It is sized for two CPU cores and seven
kinds of toys; for photographs use one of the published detectors.
"""
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers, ops

from .examples import CANVAS, MASK_SIDE
from .shapes import CLASS_NAMES

STRIDE = 8
"""Canvas pixels per head cell."""
PROTOTYPE_STRIDE = 4
"""Canvas pixels per cell of the maps that masks are drawn from."""
PROTOTYPES = 8
_MASK_LAYERS = ((PROTOTYPES + 2, 8), (8, 8), (8, 1))
MASK_WEIGHTS = sum(fan_in * fan_out + fan_out for fan_in, fan_out in _MASK_LAYERS)
NORM_EPSILON = 1e-3

Conv = Callable[..., object]
"""`conv(x, name, filters, size=3, stride=1, relu=True, norm=True)`: SAME convolution, then batch norm or bias, then ReLU."""


def topology(x, conv: Conv) -> dict:
    """The whole network on a canvas scaled to [-1, 1].

    Args:
        x: float32 [B, CANVAS, CANVAS, 3].
        conv: makes one convolution; called once per name, always in the same order.

    Returns:
        `class_logits` [B, 40, 40, 7]; `sides` [B, 40, 40, 4], the logarithm of the distance in cells from the cell's middle up, left, down and right;
        `fit_logit` [B, 40, 40, 1]; `mask_weights` [B, 40, 40, MASK_WEIGHTS]; `prototypes` [B, 80, 80, PROTOTYPES].
    """

    def block(x, name, filters):
        y = conv(x, f"{name}_1", filters)
        return ops.relu(x + conv(y, f"{name}_2", filters, relu=False))

    def twice(x):
        return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)

    x = conv(x, "stem", 16, stride=2)
    c2 = block(conv(x, "down2", 24, stride=2), "block2", 24)
    c3 = block(block(conv(c2, "down3", 48, stride=2), "block3a", 48), "block3b", 48)
    c4 = block(block(conv(c3, "down4", 72, stride=2), "block4a", 72), "block4b", 72)
    c5 = conv(conv(c4, "down5", 72, stride=2), "top5", 72)

    p4 = conv(c4, "lateral4", 64, size=1, relu=False) + twice(conv(c5, "lateral5", 64, size=1, relu=False))
    p3 = conv(c3, "lateral3", 64, size=1, relu=False) + twice(ops.relu(p4))
    p3 = conv(ops.relu(p3), "merge3", 64)
    p2 = conv(c2, "lateral2", 24, size=1, relu=False) + twice(conv(p3, "reduce3", 24, size=1, relu=False))
    p2 = conv(ops.relu(p2), "merge2", 24)

    of_class, of_object = conv(p3, "class_tower", 64), conv(p3, "object_tower", 64)
    plain = {"size": 1, "relu": False, "norm": False}
    return {
        "class_logits": conv(of_class, "class_logits", len(CLASS_NAMES), **plain),
        "sides": conv(of_object, "sides", 4, **plain),
        "fit_logit": conv(of_object, "fit_logit", 1, **plain),
        "mask_weights": conv(of_object, "mask_weights", MASK_WEIGHTS, **plain),
        "prototypes": conv(p2, "prototypes", PROTOTYPES, **plain),
    }


def build_network() -> keras.Model:
    """The network for training: Keras layers named after `topology`, with batch normalisation as `<name>_norm`."""

    def conv(x, name, filters, size=3, stride=1, relu=True, norm=True):
        # Objects are rare: starting from a probability of 0.01 keeps the first steps calm (arXiv:1708.02002, section 3.3).
        bias = keras.initializers.Constant(-4.6 if name == "class_logits" else 0.0)
        x = layers.Conv2D(filters, size, stride, "same", use_bias=not norm, bias_initializer=bias, name=name)(x)
        if norm:
            x = layers.BatchNormalization(momentum=0.97, epsilon=NORM_EPSILON, name=f"{name}_norm")(x)
        return ops.relu(x) if relu else x

    canvas = keras.Input((CANVAS, CANVAS, 3), name="canvas")
    return keras.Model(canvas, topology(canvas, conv), name="demo_detector")


def decode_boxes(sides: tf.Tensor) -> tf.Tensor:
    """Edges (ymin, xmin, ymax, xmax) in canvas pixels, float32 [B, 40, 40, 4], of every cell's `sides`."""
    distance = STRIDE * tf.exp(tf.clip_by_value(sides, -6.0, 4.0))
    middle_yx = cell_middles(tf.shape(sides)[1])
    return tf.concat([middle_yx - distance[..., :2], middle_yx + distance[..., 2:]], axis=-1)


def cell_middles(cells: tf.Tensor) -> tf.Tensor:
    """Canvas pixels (y, x) in the middle of each head cell, float32 [cells, cells, 2]."""
    middle = (tf.cast(tf.range(cells), tf.float32) + 0.5) * STRIDE
    return tf.stack(tf.meshgrid(middle, middle, indexing="ij"), axis=-1)


def draw_masks(
    prototypes: tf.Tensor, weights: tf.Tensor, middles_yx: tf.Tensor, grids_yxyx: tf.Tensor, image_of: tf.Tensor
) -> tf.Tensor:
    """Logits of the masks of N objects, by a network of three layers that each object brings itself (CondInst).

    Its inputs are the prototypes below the mask's grid, and the position relative to the object's cell in units of half the grid.

    Args:
        prototypes: float32 [B, 80, 80, PROTOTYPES].
        weights: float32 [N, MASK_WEIGHTS], from the object's cell.
        middles_yx: float32 [N, 2], middle of that cell in canvas pixels.
        grids_yxyx: float32 [N, 4], canvas positions of the outermost samples.
        image_of: int32 [N], which of the B images an object is in.

    Returns:
        float32 [N, MASK_SIDE, MASK_SIDE].
    """
    # Cell k of the prototypes has its middle at (k + 0.5) strides; crop_and_resize counts from the first middle to the last.
    last = tf.cast(tf.shape(prototypes)[1] - 1, tf.float32)
    crops = tf.image.crop_and_resize(
        prototypes, (grids_yxyx / PROTOTYPE_STRIDE - 0.5) / last, image_of, (MASK_SIDE, MASK_SIDE)
    )
    steps = tf.linspace(0.0, 1.0, MASK_SIDE)
    first, extent = grids_yxyx[:, None, :2], (grids_yxyx[:, 2:] - grids_yxyx[:, :2])[:, None]
    relative = (first + steps[:, None] * extent - middles_yx[:, None]) / tf.maximum(extent / 2, 1.0)  # [N, MASK_SIDE, 2]
    y, x = relative[:, :, None, 0], relative[:, None, :, 1]
    x, y = tf.broadcast_to(x, tf.shape(crops)[:3]), tf.broadcast_to(y, tf.shape(crops)[:3])
    values = tf.reshape(tf.concat([crops, y[..., None], x[..., None]], axis=-1), [-1, MASK_SIDE**2, PROTOTYPES + 2])
    used = 0
    for number, (fan_in, fan_out) in enumerate(_MASK_LAYERS):
        kernel = tf.reshape(weights[:, used : used + fan_in * fan_out], [-1, fan_in, fan_out])
        used += fan_in * fan_out
        values = values @ kernel + weights[:, None, used : used + fan_out]
        used += fan_out
        if number < len(_MASK_LAYERS) - 1:
            values = tf.nn.relu(values)
    return tf.reshape(values, [-1, MASK_SIDE, MASK_SIDE])
