"""Writes the trained network as a SavedModel with the signature of the published TensorFlow Object Detection API models.

    input_tensor                  uint8   [1, H, W, 3]     RGB, any size
    num_detections                float32 [1]              rows below that are detections
    detection_boxes               float32 [1, 100, 4]      ymin, xmin, ymax, xmax as shares of the picture, in [0, 1]
    detection_classes             float32 [1, 100]         from 1, `shapes.CLASS_NAMES`
    detection_scores              float32 [1, 100]         descending; 0 in unused rows
    detection_multiclass_scores   float32 [1, 100, 8]      background first (1 - the largest), then each class, at the detection's cell
    detection_masks               float32 [1, 100, 33, 33] probabilities relative to the box: sample k at ymin + k / 32 * (ymax - ymin)

Keras stays behind: the file holds a few dozen plain convolutions, with batch normalisation folded into them, and loads in a
second. It can't be trained further; `train` starts from scratch.
"""
from pathlib import Path

import keras
import tensorflow as tf

from .examples import CANVAS, MASK_SIDE
from .network import NORM_EPSILON, cell_middles, decode_boxes, draw_masks, topology
from .shapes import CLASS_NAMES

MAX_DETECTIONS = 100
_MIN_SCORE = 0.01
_MAX_IOU = 0.6


def fold_batch_norm(network: keras.Model) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """Kernel and bias of every convolution of the network, such that no batch normalisation is needed after it."""
    layers = {layer.name: layer for layer in network.layers}
    folded = {}
    for name, layer in layers.items():
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        kernel, norm = tf.convert_to_tensor(layer.kernel), layers.get(f"{name}_norm")
        if norm is None:
            folded[name] = kernel, tf.convert_to_tensor(layer.bias)
        else:
            factor = norm.gamma * tf.math.rsqrt(norm.moving_variance + NORM_EPSILON)
            folded[name] = kernel * factor, norm.beta - norm.moving_mean * factor
    return folded


class PublishedDetector(tf.Module):
    """The detector as a function of one picture; see the module's docstring for what it returns."""

    def __init__(self, network: keras.Model):
        super().__init__(name="demo_detector")
        self._weights = {
            name: (tf.Variable(kernel, trainable=False), tf.Variable(bias, trainable=False))
            for name, (kernel, bias) in fold_batch_norm(network).items()
        }

    def _conv(self, x, name, filters, size=3, stride=1, relu=True, norm=True):
        kernel, bias = self._weights[name]
        x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, "SAME"), bias)
        return tf.nn.relu(x) if relu else x

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def detect(self, input_tensor):
        picture_hw = tf.shape(input_tensor)[1:3]
        canvas, content_hw = letterbox(input_tensor)
        outputs = topology(canvas / 127.5 - 1.0, self._conv)
        rows = _best_cells(outputs, content_hw)
        scale = tf.cast(picture_hw, tf.float32) / content_hw
        boxes = tf.clip_by_value(rows["boxes"] / tf.tile(content_hw, [2]), 0.0, 1.0)
        # From shares of the picture to where its pixels are pasted (see `examples.mask_grid`), then on to the canvas.
        grids = (boxes * tf.tile(tf.cast(picture_hw - 1, tf.float32), [2]) + 0.5) / tf.tile(scale, [2])
        logits = draw_masks(
            outputs["prototypes"], rows["mask_weights"], rows["middles"], grids, tf.zeros_like(rows["class"])
        )
        count = tf.shape(boxes)[0]

        def padded(values):
            paddings = tf.concat([[[0, MAX_DETECTIONS - count]], tf.zeros([tf.rank(values) - 1, 2], tf.int32)], axis=0)
            return tf.pad(values, paddings)[None]

        def shaped(values, *shape):
            return tf.ensure_shape(padded(values), (1, MAX_DETECTIONS, *shape))

        return {
            "num_detections": tf.cast(count, tf.float32)[None],
            "detection_boxes": shaped(boxes, 4),
            # Unused rows read class 1, as in the published models.
            "detection_classes": shaped(tf.cast(rows["class"], tf.float32)) + 1.0,
            "detection_scores": shaped(rows["score"]),
            "detection_multiclass_scores": shaped(
                tf.concat([1 - tf.reduce_max(rows["classes"], axis=1, keepdims=True), rows["classes"]], axis=1),
                len(CLASS_NAMES) + 1,
            ),
            "detection_masks": shaped(tf.sigmoid(logits), MASK_SIDE, MASK_SIDE),
        }


def letterbox(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`examples.letterbox` in the graph.

    Args:
        image: uint8 [1, H, W, 3].

    Returns:
        float32 [1, CANVAS, CANVAS, 3] in 0..255, and the size (height, width) of the picture's part of it, float32 [2].
    """
    size_hw = tf.cast(tf.shape(image)[1:3], tf.float64)
    scaled_hw = tf.cast(tf.floor(size_hw * (CANVAS / tf.reduce_max(size_hw)) + 0.5), tf.int32)
    scaled_hw = tf.maximum(scaled_hw, 1)
    resized = tf.image.resize(image, scaled_hw, "bilinear", antialias=True)
    paddings = tf.concat([[[0, 0]], tf.stack([tf.zeros_like(scaled_hw), CANVAS - scaled_hw], axis=1), [[0, 0]]], axis=0)
    canvas = tf.pad(resized, paddings, constant_values=128.0)
    return tf.ensure_shape(canvas, (1, CANVAS, CANVAS, 3)), tf.cast(scaled_hw, tf.float32)


def _best_cells(outputs: dict, content_hw: tf.Tensor) -> dict:
    """The cells that are detections, best first: peaks of their class whose box no better one of the same class covers."""
    probabilities = tf.sigmoid(outputs["class_logits"])
    peaks = tf.where(probabilities >= tf.nn.max_pool2d(probabilities, 3, 1, "SAME"), probabilities, 0.0)
    scores = tf.sqrt(peaks * tf.sigmoid(outputs["fit_logit"]))[0]
    score, index = tf.math.top_k(tf.reshape(scores, [-1]), MAX_DETECTIONS)
    class_index, cell = index % len(CLASS_NAMES), index // len(CLASS_NAMES)

    def at_cells(values):
        return tf.gather(tf.reshape(values, [-1, values.shape[-1]]), cell)

    boxes = tf.clip_by_value(at_cells(decode_boxes(outputs["sides"])), 0.0, tf.tile(content_hw, [2]))
    empty = tf.reduce_min(boxes[:, 2:] - boxes[:, :2], axis=1) <= 0  # in the canvas' margin
    apart = boxes + tf.cast(class_index, tf.float32)[:, None] * 2 * CANVAS  # boxes of other classes never touch
    kept = tf.image.non_max_suppression(apart, tf.where(empty, 0.0, score), MAX_DETECTIONS, _MAX_IOU, _MIN_SCORE)
    rows = {
        "boxes": boxes, "score": score, "class": class_index, "classes": at_cells(probabilities),
        "mask_weights": at_cells(outputs["mask_weights"]), "middles": at_cells(cell_middles(tf.shape(scores)[0])),
    }  # fmt: skip
    return {name: tf.gather(values, kept) for name, values in rows.items()}


def export_saved_model(network: keras.Model, folder: Path) -> None:
    """Writes the SavedModel of a trained network; an existing one is overwritten.

    Args:
        network: from `network.build_network`, on Keras' TensorFlow backend.
        folder: gets `saved_model.pb` and `variables/`.
    """
    detector = PublishedDetector(network)
    tf.saved_model.save(detector, str(folder), {"serving_default": detector.detect.get_concrete_function()})
