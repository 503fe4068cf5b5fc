"""Writes a Keras network as a SavedModel with the published signature, for TF Serving or engine `saved_model`.

The signature takes images as they are, uint8 `[batch, height, width, 3]` (those of one batch have one size), and
gives the published outputs by their names. TensorFlow only: the images are resized inside the graph.
"""

import os
from collections.abc import Sequence
from typing import Any

import keras

from ...storage.errors import UsageError
from .centernet import CenterNet
from .centernet import preprocess as centernet_preprocess
from .mask_rcnn import MaskRCNN
from .mask_rcnn import preprocess as mask_rcnn_preprocess
from .networks import build_network, check_outputs, find_network
from .weights import load_weights

INPUT_NAME = "input_tensor"


def export_saved_model(
    detector: str,
    weights_file: str,
    folder: str,
    *,
    batch_size: int | None = None,
    precision: str = "float32",
    outputs: Sequence[str] | None = None,
) -> None:
    """Writes the SavedModel.

    Args:
      detector: the network's name, see `networks.NETWORKS`.
      weights_file: from `weights.import_weights`.
      folder: where to write.
      batch_size: images a call; any number if None.
      precision: of the convolutions, `float32` or `bfloat16`.
      outputs: names of the outputs; all that the published graph gives if None.

    Raises:
      UsageError: if Keras runs on another backend than TensorFlow, there's no such network or output, or the folder
        holds a SavedModel already.
      WeightsError: if the file doesn't hold this network's weights.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"a SavedModel can be exported with Keras' TensorFlow backend only, this is "
            f"{keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    outputs = tuple(outputs or find_network(detector).output_names)
    check_outputs(detector, outputs, option="--outputs")
    if tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise UsageError(f"{folder}: there's a SavedModel already; give another folder, or take it away first")
    network = build_network(detector, precision)
    load_weights(network, weights_file)
    module: Any = tf.Module()
    module.network = network  # so that the SavedModel holds its variables
    images = tf.TensorSpec((batch_size, None, None, 3), tf.uint8, name=INPUT_NAME)
    resize = INPUTS[type(network)]

    @tf.function(input_signature=[images], autograph=False)
    def serve(input_tensor):
        pixels, true_size_hw = resize(input_tensor)
        return network(pixels, true_size_hw, outputs=outputs)

    module.serve = serve
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})


def centernet_input(images):
    """`centernet.preprocess` as a graph, of images `[B, H, W, 3]` of one size."""
    import tensorflow as tf

    limits = tf.constant(centernet_preprocess.INPUT_SIZE_HW, tf.float32)
    shape = tf.shape(images)
    sides = tf.cast(shape[1:3], tf.float32)
    size_hw = tf.cast(tf.round(tf.reduce_min(limits / sides) * sides), tf.int32)  # half to even
    pixels = tf.compat.v1.image.resize_bilinear(tf.cast(images, tf.float32), size_hw)
    height, width = centernet_preprocess.INPUT_SIZE_HW
    pixels = tf.pad(pixels, tf.stack([(0, 0), (0, height - size_hw[0]), (0, width - size_hw[1]), (0, 0)]))
    pixels.set_shape((images.shape[0], height, width, 3))
    return pixels * centernet_preprocess.PIXEL_SCALE - 1.0, tf.tile(size_hw[None], tf.stack([shape[0], 1]))


def mask_rcnn_input(images):
    """`mask_rcnn.preprocess` as a graph, of images `[B, H, W, 3]` of one size."""
    import tensorflow as tf

    pixels = tf.compat.v1.image.resize_bilinear(tf.cast(images, tf.float32), mask_rcnn_preprocess.INPUT_SIZE_HW)
    true_size_hw = tf.constant([mask_rcnn_preprocess.INPUT_SIZE_HW], tf.int32)
    return pixels * mask_rcnn_preprocess.PIXEL_SCALE - 1.0, tf.tile(true_size_hw, tf.stack([tf.shape(images)[0], 1]))


INPUTS = {CenterNet: centernet_input, MaskRCNN: mask_rcnn_input}
