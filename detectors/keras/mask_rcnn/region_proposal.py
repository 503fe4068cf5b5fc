"""The region proposal network (Faster R-CNN, arXiv:1506.01497, section 3): where objects may be, whatever they are."""

import keras
from keras import layers

from ..layers import Conv
from ..ops import ops
from .boxes import area, clip_to_window, decode
from .nms import greedy_nms

ANCHORS_PER_CELL = 12
MAX_PROPOSALS = 300
NMS_IOU_THRESHOLD = 0.7


def rpn_head(features_shape: tuple[int, int, int], dtype: str) -> keras.Model:
    """Features `[B, H, W, C]` -> codes `[B, H*W*12, 4]`, logits `[B, H*W*12, 2]`, its own features `[B, H, W, 512]`.

    Codes and logits (background, object) are float32, in the order of `anchors.grid_anchors`.
    """
    features = layers.Input(features_shape, name="features", dtype=dtype)
    hidden = Conv(512, 3, name="RPNConv", activation="relu6", dtype=dtype)(features)
    codes = Conv(
        4 * ANCHORS_PER_CELL,
        1,
        name="BoxEncodingPredictor",
        dtype="float32",
        source="FirstStageBoxPredictor/ConvolutionalBoxHead_0/BoxEncodingPredictor",
    )(hidden)
    logits = Conv(
        2 * ANCHORS_PER_CELL,
        1,
        name="ClassPredictor",
        dtype="float32",
        source="FirstStageBoxPredictor/ConvolutionalClassHead_0/ClassPredictor",
    )(hidden)
    codes, logits = layers.Reshape((-1, 4), name="codes")(codes), layers.Reshape((-1, 2), name="logits")(logits)
    return keras.Model(features, [codes, logits, hidden], name="region_proposal")


def select_proposals(codes, logits, anchors, window_hw: tuple[int, int]):
    """The best boxes that overlap little, 300 an image at most.

    NMS works on boxes that may reach beyond the image; only then are they clipped and the empty ones dropped, without
    others taking their place.

    Args:
      codes: float32 `[B, A, 4]`.
      logits: float32 `[B, A, 2]`.
      anchors: float32 `[A, 4]`, pixels.
      window_hw: the image's size in pixels.

    Returns:
      `proposals` float32 `[B, 300, 4]` in pixels, zeros behind the last one, and `num_proposals` int32 `[B]`.
    """
    objectness = ops.softmax(logits, axis=-1)[..., 1]
    boxes = decode(codes, anchors)
    indices, selected = greedy_nms(boxes, objectness, MAX_PROPOSALS, NMS_IOU_THRESHOLD)
    return keep_valid(ops.take_along_axis(boxes, indices[..., None], axis=1), selected, window_hw)


def keep_valid(boxes, selected, window_hw: tuple[int, int]):
    """Clips boxes `[B, K, 4]` to the window; moves those that are selected and not empty to the front, in their order.

    Returns:
      Boxes, zeros behind the last one, and how many there are, int32 `[B]`.
    """
    boxes = clip_to_window(boxes, *window_hw)
    valid = selected & (area(boxes) > 0.0)
    count = boxes.shape[1]
    # A stable sort by "is dropped": the place of each row is its rank among its kind.
    order = ops.argsort(ops.where(valid, 0, count) + ops.arange(count), axis=-1)
    boxes = ops.where(valid[..., None], boxes, 0.0)
    return ops.take_along_axis(boxes, order[..., None], axis=1), ops.sum(ops.cast(valid, "int32"), axis=-1)
