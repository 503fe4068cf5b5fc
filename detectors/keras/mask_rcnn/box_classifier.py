"""The second stage (Fast R-CNN, arXiv:1504.08083): class and box of each proposal, and the detections made of them."""

import keras
from keras import layers

from ..layers import Dense
from ..ops import ops
from .boxes import area, clip_to_window, decode
from .nms import greedy_nms

NUM_CLASSES = 90
MAX_DETECTIONS = 100
NMS_IOU_THRESHOLD = 0.6
_PREDICTOR = "mask_rcnn_keras_box_predictor"


def box_head(features_shape: tuple[int, int, int]) -> keras.Model:
    """The tower's features `[N, h, w, C]` -> box codes `[N, 90, 4]`, class by class, and logits `[N, 91]`.

    The background is the first of the logits. In float32 always: they are small, and what follows is sensitive.
    """
    features = layers.Input(features_shape, name="features")
    pooled = layers.GlobalAveragePooling2D(name="pooled", dtype="float32")(features)
    codes = Dense(
        4 * NUM_CLASSES,
        name="BoxEncodingPredictor_dense",
        dtype="float32",
        source=f"{_PREDICTOR}/mask_rcnn_box_head/BoxEncodingPredictor_dense",
    )(pooled)
    logits = Dense(
        NUM_CLASSES + 1,
        name="ClassPredictor_dense",
        dtype="float32",
        source=f"{_PREDICTOR}/mask_rcnn_class_head/ClassPredictor_dense",
    )(pooled)
    return keras.Model(features, [layers.Reshape((NUM_CLASSES, 4), name="codes")(codes), logits], name="box_head")


def select_detections(codes, probabilities, proposals, num_proposals, window_hw: tuple[int, int]):
    """The best boxes over all classes, 100 an image at most.

    NMS runs class by class; one proposal may be found under several classes.

    Args:
      codes: float32 `[B, P, 90, 4]`.
      probabilities: float32 `[B, P, 91]`, background first.
      proposals: float32 `[B, P, 4]`, pixels.
      num_proposals: int32 `[B]`; proposals behind them are padding.
      window_hw: the image's size in pixels.

    Returns:
      name -> `[B, 100, …]`, zeros behind the last detection:
        boxes: float32 `[B, 100, 4]`, normalised, clipped to the image.
        scores: float32 `[B, 100]`, descending.
        classes: int32 `[B, 100]`, from 0.
        proposal_indices: int32 `[B, 100]`, the proposal that each came from.
        num_detections: int32 `[B]`.
    """
    height, width = window_hw
    num_slots = proposals.shape[1]
    boxes = decode(codes, proposals[:, :, None])
    boxes = ops.transpose(boxes, (0, 2, 1, 3))  # [B, 90, P, 4]
    scores = ops.transpose(probabilities[..., 1:], (0, 2, 1))
    is_proposal = ops.arange(num_slots) < num_proposals[:, None]
    scores = ops.where(is_proposal[:, None], scores, 0.0)
    indices, selected = greedy_nms(boxes, scores, min(MAX_DETECTIONS, num_slots), NMS_IOU_THRESHOLD)

    boxes = clip_to_window(ops.take_along_axis(boxes, indices[..., None], axis=2), height, width)
    selected = selected & (area(boxes) > 0.0)
    scores = ops.where(selected, ops.take_along_axis(scores, indices, axis=2), -1.0)
    per_class = scores.shape[2]
    # Class by class, so that among equal scores the lower class and the earlier selection come first.
    scores, slots = ops.top_k(ops.reshape(scores, (-1, NUM_CLASSES * per_class)), MAX_DETECTIONS)
    slots = ops.cast(slots, "int32")
    valid = scores >= 0.0
    boxes = ops.take_along_axis(ops.reshape(boxes, (-1, NUM_CLASSES * per_class, 4)), slots[..., None], axis=1)
    sources = ops.take_along_axis(ops.reshape(indices, (-1, NUM_CLASSES * per_class)), slots, axis=1)
    per_pixel = ops.convert_to_tensor([1.0 / height, 1.0 / width] * 2, "float32")
    return {
        "boxes": ops.where(valid[..., None], boxes * per_pixel, 0.0),
        "scores": ops.where(valid, scores, 0.0),
        "classes": ops.where(valid, slots // per_class, 0),
        "proposal_indices": ops.where(valid, sources, 0),
        "num_detections": ops.sum(ops.cast(valid, "int32"), axis=-1),
    }


def best_class_boxes(codes, logits, proposals, window_hw: tuple[int, int]):
    """Each proposal's box of its best class but background, normalised and clipped, `[B, P, 4]`."""
    best = ops.argmax(logits[..., 1:], axis=-1)[..., None, None]
    boxes = decode(ops.take_along_axis(codes, best, axis=2)[:, :, 0], proposals)
    size = ops.convert_to_tensor([*window_hw, *window_hw], "float32")
    return clip_to_window(boxes / size, 1.0, 1.0)
