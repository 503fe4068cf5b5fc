"""Checkpoints as TensorFlow 2's model zoo has them, written from variables: the key of each published variable."""

import re
from pathlib import Path

import numpy as np

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def write_checkpoint(
    prefix: Path, variables: dict[str, np.ndarray], keys: dict[str, str], extra: dict | None = None
) -> None:
    """Writes an object-based checkpoint.

    Args:
      prefix: its path.
      variables: full name -> array.
      keys: full name of a layer -> key of the layer; a variable's last word is the last of its key.
      extra: full name -> array of what isn't a weight.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    names, tensors = [], []
    for name, array in {**variables, **(extra or {})}.items():
        layer, _, word = name.rpartition("/")
        key = (f"{keys[layer]}/{word}" if layer else name) + SUFFIX
        graph.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name=name, checkpoint_key=key)
        names.append(key)
        tensors.append(tf.constant(array))
    names.append("_CHECKPOINTABLE_OBJECT_GRAPH")
    tensors.append(tf.constant(graph.SerializeToString()))
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)


def centernet_zoo_keys() -> dict[str, str]:
    """Layer -> key in CenterNet's `ckpt-0`."""
    backbone = "model/_feature_extractor/_base_model"
    layers = ["conv1_conv"]
    for stack, blocks in (("conv2", 3), ("conv3", 4), ("conv4", 6), ("conv5", 3)):
        for block in range(1, blocks + 1):
            parts = ["preact_bn", "1_conv", "1_bn", "2_conv", "2_bn", *["0_conv"] * (block == 1), "3_conv"]
            layers += [f"{stack}_block{block}_{part}" for part in parts]
    keys = {layer: f"{backbone}/layer_with_weights-{i}" for i, layer in enumerate([*layers, "post_bn"])}
    neck = "model/_feature_extractor/_feature_extractor_model"
    stages = [
        (
            numbered("conv2d", i),
            numbered("batch_normalization", 2 * i),
            numbered("conv2d_transpose", i),
            numbered("batch_normalization", 2 * i + 1),
        )
        for i in range(3)
    ]
    keys |= {layer: f"{neck}/layer_with_weights-{i + 1}" for i, layer in enumerate(sum(stages, ()))}
    for head, conv3x3, conv1x1 in (("object_center", 4, 3), ("box.Sscale", 6, 5), ("box.Soffset", 8, 7)):
        for i, number in enumerate((conv3x3, conv1x1)):
            keys[f"conv2d_{number}"] = f"model/_prediction_head_dict/{head}/0/layer_with_weights-{i}"
    return keys


def mask_rcnn_zoo_keys() -> dict[str, str]:
    """Layer -> key in Mask R-CNN's `ckpt-0`. Keras counts by depth: branches interleave, the longest one first."""

    def depth_order(words: str, c: int = 0) -> list[str]:
        return [
            numbered("conv2d" if kind == "C" else "freezable_batch_norm", c + int(i))
            for kind, i in re.findall(r"([CB])(\d+)", words)
        ]

    first = depth_order("C0 B0 C1 B1 C2 B2 C3 B3 C4 B4 C8 B8 C6 C9 B6 B9 C5 C7 C10 C11 B5 B7 B10 B11")
    for n in range(10):
        first += [*depth_order("C3 B3 C1 C4 B1 B4 C0 C2 C5 B0 B2 B5", 12 + 6 * n), f"block35_{n + 1}_conv"]
    first += depth_order("C73 B73 C74 B74 C72 C75 B72 B75")
    for n in range(20):
        first += [*depth_order("C1 B1 C2 B2 C0 C3 B0 B3", 76 + 4 * n), f"block17_{n + 1}_conv"]
    second = depth_order("C160 B160 C156 C158 C161 B156 B158 B161 C157 C159 C162 B157 B159 B162")
    for n in range(10):
        second += [*depth_order("C1 B1 C2 B2 C0 C3 B0 B3", 163 + 4 * n), f"block8_{n + 1}_conv"]
    second += ["conv_7b", "conv_7b_bn"]
    keys = {}
    for part, layers in (("proposal", first), ("box_classifier", second)):
        keys |= {
            layer: f"model/_feature_extractor_for_{part}_features/layer_with_weights-{i}"
            for i, layer in enumerate(layers)
        }
    rpn_heads, boxes = "model/_first_stage_box_predictor/_prediction_heads", "model/_mask_rcnn_box_predictor"
    first_stage = "FirstStageBoxPredictor/Convolutional"
    box_head, class_head, mask_head = (
        f"mask_rcnn_keras_box_predictor/mask_rcnn_{kind}_head" for kind in ("box", "class", "mask")
    )
    keys |= {
        "RPNConv": "model/_first_stage_box_predictor_first_conv/layer_with_weights-0",
        f"{first_stage}BoxHead_0/BoxEncodingPredictor": f"{rpn_heads}/box_encodings/0/_box_encoder_layers/0",
        f"{first_stage}ClassHead_0/ClassPredictor": (
            f"{rpn_heads}/class_predictions_with_background/0/_class_predictor_layers/0"
        ),
        f"{box_head}/BoxEncodingPredictor_dense": f"{boxes}/_box_prediction_head/_box_encoder_layers/1",
        f"{class_head}/ClassPredictor_dense": f"{boxes}/_class_prediction_head/_class_predictor_layers/1",
    }
    masks = f"{boxes}/_third_stage_heads/mask_predictions/_mask_predictor_layers"
    for layer, place in (("conv2d_0", 0), ("conv2d_1", 3), ("conv2d_2", 6), ("last_conv2d", 9)):
        keys[f"{mask_head}/MaskPredictor_{layer}"] = f"{masks}/{place}"
    return keys


def numbered(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name
