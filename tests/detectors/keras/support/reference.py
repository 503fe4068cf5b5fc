"""The published graphs with their stand-in weights, run by TensorFlow: tensors inside the graph, by name.

The environment variable `LABELBEAM_REFERENCE_CACHE` may name a folder where fetched tensors are kept between runs (Mask
R-CNN takes 16 s an image).
"""

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np

from tests.standins import standin

CACHE = "LABELBEAM_REFERENCE_CACHE"

_BACKBONE = "center_net_resnet_feature_extractor/model_1"
CENTERNET_TENSORS = {
    "preprocessed": "map/TensorArrayV2Stack/TensorListStack",
    "true_shape": "map/TensorArrayV2Stack_1/TensorListStack",
    "conv1_conv": f"{_BACKBONE}/model/conv1_conv/BiasAdd",
    "pool1_pool": f"{_BACKBONE}/model/pool1_pool/MaxPool",
    "conv2_block3_out": f"{_BACKBONE}/model/conv2_block3_out/add",
    "conv3_block4_out": f"{_BACKBONE}/model/conv3_block4_out/add",
    "conv4_block6_out": f"{_BACKBONE}/model/conv4_block6_out/add",
    "conv5_block3_out": f"{_BACKBONE}/model/conv5_block3_out/add",
    "features": f"{_BACKBONE}/re_lu_5/Relu",
    "center_logits": "center_0/conv2d_3/BiasAdd",
    "scale": "box_scale_0/conv2d_5/BiasAdd",
    "offset": "box_offset_0/conv2d_7/BiasAdd",
    "class_probabilities": "mul_1",
    "top_scores": "TopKV2:0",
    "top_indices": "TopKV2:1",
    **{
        name: f"output:{name}"
        for name in (
            "detection_boxes",
            "detection_boxes_strided",
            "detection_scores",
            "detection_classes",
            "detection_multiclass_scores",
            "num_detections",
        )
    },
}
_NMS = "BatchMultiClassNonMaxSuppression/MultiClassNonMaxSuppression/non_max_suppression_with_scores"
MASK_RCNN_TENSORS = {
    "preprocessed": "map/TensorArrayV2Stack/TensorListStack",
    "activation": "model/activation/Relu",
    "activation_4": "model/activation_4/Relu",
    "max_pooling2d_1": "model/max_pooling2d_1/MaxPool",
    "mixed_5b": "model/mixed_5b/concat",
    "block35_10_ac": "model/block35_10_ac/Relu",
    "mixed_6a": "model/mixed_6a/concat",
    "block17_1_ac": "model/block17_1_ac/Relu",
    "block17_20_ac": "model/block17_20_ac/Relu",
    "rpn_features": "FirstStageRPNFeatures/RPNActivation/Relu6",
    "proposal_indices": f"{_NMS}/NonMaxSuppressionV5",
    **{
        name: f"output:{name}"
        for name in (
            "anchors",
            "class_predictions_with_background",
            "detection_anchor_indices",
            "detection_boxes",
            "detection_classes",
            "detection_masks",
            "detection_multiclass_scores",
            "detection_scores",
            "final_anchors",
            "image_shape",
            "num_detections",
            "num_proposals",
            "proposal_boxes",
            "proposal_boxes_normalized",
            "raw_detection_boxes",
            "raw_detection_scores",
            "refined_box_encodings",
            "rpn_box_encodings",
            "rpn_objectness_predictions_with_background",
        )
    },
}
# Large: 377 MB, 202 MB, 202 MB, 149 MB, 126 MB, 50 MB, 39 MB.
MASK_RCNN_LARGE_TENSORS = {
    "crops": "CropAndResize/CropAndResize",
    "mixed_7a": "model_1/mixed_7a/concat",
    "block8_10": "model_1/custom_scale_layer_39/add",
    "conv_7b_ac": "model_1/conv_7b_ac/Relu",
    "mask_crops": "CropAndResize_1/CropAndResize",
    "mask_conv_7b_ac": "model_1/conv_7b_ac/Relu_1",
    "mask_predictions": "output:mask_predictions",
}


def fetch(network: str, image: np.ndarray, tensors: dict[str, str]) -> dict[str, np.ndarray]:
    """Values of tensors inside the published graph for one uint8 image `[H, W, 3]`.

    Args:
      network: `centernet` or `mask_rcnn`.
      image: the image.
      tensors: what to call a value -> the tensor's name in the frozen graph, without `StatefulPartitionedCall/` and
        `:0`; a name that starts with `output:` is one of the signature's outputs.
    """
    folder = Path(standin(network))
    if not os.environ.get(CACHE):
        return _run(folder, image, tensors)
    digest = hashlib.sha256(image.tobytes() + repr((network, image.shape, sorted(tensors.items()))).encode())
    path = Path(os.environ[CACHE]) / f"{network}-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        np.savez(path, **_run(folder, image, tensors))
    with np.load(path) as values:
        return dict(values)


def _run(folder: Path, image: np.ndarray, tensors: dict[str, str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    graph, outputs = _frozen(folder)
    names = {}
    for key, name in tensors.items():
        if name.startswith("output:"):
            names[key] = outputs[name.removeprefix("output:")]
        else:
            names[key] = f"StatefulPartitionedCall/{name}" + ("" if ":" in name else ":0")
    pruned = graph.prune(graph.inputs[0], [graph.graph.get_tensor_by_name(name) for name in names.values()])
    values = pruned(tf.constant(image[None]))
    return {key: value.numpy() for key, value in zip(names, values, strict=True)}


@cache
def _frozen(folder: Path):
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.saved_model.load(str(folder))  # holds the variables for as long as it is referenced
    signature = model.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(signature)
    names = sorted(signature.structured_outputs)
    return frozen, {name: f"Identity{f'_{i}' if i else ''}:0" for i, name in enumerate(names)}
