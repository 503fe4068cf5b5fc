"""Writes the trained network as a SavedModel with the signature of the published TensorFlow Object Detection API
models.

    input_tensor                  uint8   [1, H, W, 3]     RGB, any size
    num_detections                float32 [1]              rows below that are detections
    detection_boxes               float32 [1, 100, 4]      ymin, xmin, ymax, xmax as shares of the image, in [0, 1]
    detection_classes             float32 [1, 100]         from 1, `shapes.CLASS_NAMES`
    detection_scores              float32 [1, 100]         descending; 0 in unused rows
    detection_multiclass_scores   float32 [1, 100, 8]      background first (1 - the largest), then each class
    detection_masks               float32 [1, 100, 33, 33] relative to the box: sample k at
                                  ymin + k / 32 * (ymax - ymin)

Everything between an image of any size and its detections is in the graph. Keras stays behind, so the file is small
and loads in a second; it can't be trained further.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from .examples import INPUT_SIZE, PADDING_VALUE
from .losses import boxes_at
from .network import NUM_PROTOTYPES, PROTOTYPE_STRIDE, norm_name

MAX_DETECTIONS = 100
MASK_SIZE = 33
_CANDIDATES = 300
_MIN_SCORE = 0.001
_MAX_IOU = 0.6  # of two detections of one class


def export_saved_model(network: keras.Model, folder: Path) -> None:
    """Writes a network of `build_network` to `folder`."""
    detector = PublishedDetector(network)
    tf.saved_model.save(detector, str(folder), signatures={"serving_default": detector.detect})


class PublishedDetector(tf.Module):
    """The detector as a function of one image; see the module's docstring for what it returns."""

    def __init__(self, network: keras.Model):
        super().__init__(name="demo_detector")
        folded = without_norms(network)
        # Plain variables of its own: those of Keras bring their layers along into the file.
        self._trained = [tf.Variable(v, trainable=False) for v in folded.trainable_variables]
        self._call = folded.stateless_call

    def _network(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs, _ = self._call(list(self._trained), [], inputs, training=False)
        return outputs

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def detect(self, input_tensor):
        size_hw = tf.cast(tf.shape(input_tensor)[1:3], tf.float32)
        inputs, fitted_hw = letterbox(input_tensor, size_hw)
        outputs = self._network(inputs)
        probabilities = tf.sigmoid(outputs["class_logits"][0])  # [h, w, C]
        cells, classes, boxes, scores = _candidates(probabilities, outputs["edges"][0], fitted_hw)
        # A shift by class keeps boxes of different classes from suppressing each other.
        shifted = boxes + 2 * tf.cast(classes, tf.float32)[:, None]
        kept = tf.image.non_max_suppression(shifted, scores, MAX_DETECTIONS, _MAX_IOU, score_threshold=_MIN_SCORE)
        cells, classes, boxes, scores = (tf.gather(rows, kept) for rows in (cells, classes, boxes, scores))
        masks = _masks(
            outputs["prototypes"], tf.gather_nd(outputs["coefficients"][0], cells), boxes, size_hw, fitted_hw
        )
        class_scores = tf.gather_nd(probabilities, cells)
        background = 1 - tf.reduce_max(class_scores, 1, keepdims=True)
        return {
            "num_detections": tf.cast(tf.shape(kept), tf.float32),
            "detection_boxes": _padded(boxes),
            "detection_classes": _padded(tf.cast(classes, tf.float32)) + 1,
            "detection_scores": _padded(scores),
            "detection_multiclass_scores": _padded(tf.concat([background, class_scores], 1)),
            "detection_masks": _padded(masks),
        }


def without_norms(network: keras.Model) -> keras.Model:
    """The same function without batch normalisations: each is folded into the convolution before it, which gets a bias.
    As TensorFlow computes them, they take a fifth of the network's time."""

    def clone(layer: layers.Layer) -> layers.Layer:
        biased = {"use_bias": True} if isinstance(layer, layers.Conv2D) else {}
        return type(layer).from_config(layer.get_config() | biased)

    def call(layer: layers.Layer, x, *args, **kwargs):
        return x if isinstance(layer, layers.BatchNormalization) else layer(x, *args, **kwargs)

    folded = keras.models.clone_model(network, clone_function=clone, call_function=call)
    for layer in network.layers:
        if not isinstance(layer, layers.Conv2D):
            continue
        kernel, *bias = layer.get_weights()
        if not layer.use_bias:
            norm = network.get_layer(norm_name(layer.name))
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + norm.epsilon)
            kernel, bias = kernel * factor, [beta - mean * factor]
        folded.get_layer(layer.name).set_weights([kernel, *bias])
    return folded


def letterbox(image: tf.Tensor, size_hw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits an image `[1, H, W, 3]` into the top left of the input; returns float32 `[1, 384, 384, 3]` in [-1, 1] and
    its (h, w) there."""
    scale = INPUT_SIZE / tf.reduce_max(size_hw)
    fitted = tf.clip_by_value(tf.cast(tf.round(size_hw * scale), tf.int32), 1, INPUT_SIZE)
    missing = INPUT_SIZE - fitted
    resized = tf.cond(
        tf.reduce_all(fitted == tf.shape(image)[1:3]),  # a tile: resizing would take as long as a tenth of the network
        lambda: tf.cast(image, tf.float32),
        lambda: tf.image.resize(image, fitted, antialias=True),
    )
    padded = tf.pad(resized, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]], constant_values=PADDING_VALUE)
    return tf.ensure_shape(padded / 127.5 - 1, [1, INPUT_SIZE, INPUT_SIZE, 3]), tf.cast(fitted, tf.float32)


def _candidates(probabilities: tf.Tensor, edges: tf.Tensor, fitted_hw: tf.Tensor):
    """The best peaks of the score maps: cells `[K, 2]`, classes `[K]` from 0, normalised boxes `[K, 4]` and scores
    `[K]`, best first."""
    _, width, num_classes = probabilities.shape
    peaks = tf.nn.max_pool2d(probabilities[None], 3, 1, "SAME")[0]
    scores, flat = tf.math.top_k(tf.reshape(tf.where(probabilities == peaks, probabilities, 0.0), [-1]), _CANDIDATES)
    cells = tf.stack([flat // num_classes // width, flat // num_classes % width], axis=1)
    boxes = boxes_at(tf.gather_nd(edges, cells), cells) / tf.tile(fitted_hw, [2])
    return cells, flat % num_classes, tf.clip_by_value(boxes, 0.0, 1.0), scores


def _masks(
    prototypes: tf.Tensor, coefficients: tf.Tensor, boxes: tf.Tensor, size_hw: tf.Tensor, fitted_hw: tf.Tensor
) -> tf.Tensor:
    """Masks `[N, 33, 33]` in (0, 1), sampled at the middles of the image's pixels on which they will be pasted.

    Pasting puts a sample at the normalised v on pixel v * (size - 1), whose middle lies half a pixel further on; from
    there it is followed back through the letterbox to the prototypes.
    """
    cells = tf.cast(tf.shape(prototypes)[1], tf.float32)
    middles = boxes * tf.tile(size_hw - 1, [2]) + 0.5
    places = middles * tf.tile(fitted_hw / size_hw, [2]) / PROTOTYPE_STRIDE - 0.5
    first_image = tf.zeros_like(places[:, 0], tf.int32)
    sampled = tf.image.crop_and_resize(prototypes, places / (cells - 1), first_image, [MASK_SIZE, MASK_SIZE])
    sampled = tf.ensure_shape(sampled, [None, MASK_SIZE, MASK_SIZE, NUM_PROTOTYPES])
    return tf.sigmoid(tf.einsum("nyxp,np->nyx", sampled, coefficients))


def _padded(rows: tf.Tensor) -> tf.Tensor:
    """Rows `[N, …]` as `[1, 100, …]`, zeros behind them."""
    missing = MAX_DETECTIONS - tf.shape(rows)[0]
    padded = tf.pad(rows, [[0, missing]] + [[0, 0]] * (rows.shape.rank - 1))
    return tf.ensure_shape(padded[None], [1, MAX_DETECTIONS, *rows.shape[1:]])
