"""What the demo detector is trained to do: targets on the grid of cells, and the distance from them.

Targets follow TTFNet (Liu et al. 2020, arXiv:1909.00700): cells around an object's middle, in a bell that grows with the object, learn its
box, not the middle cell alone, which makes training several times shorter. All of it runs in the graph, on padded batches.
"""
import tensorflow as tf

from .network import STRIDE, cell_middles, decode_boxes, draw_masks
from .shapes import CLASS_NAMES

_BELL_SHARE = 0.54
_WEIGHTS = {"class": 1.0, "box": 4.0, "fit": 0.5, "mask": 3.0}


def total_loss(outputs: dict, boxes_yxyx, class_ids, grids_yxyx, masks, shifts_yx) -> tuple[tf.Tensor, dict]:
    """Loss of a batch of B images with up to M objects each.

    Args:
        outputs: of the network, see `network.topology`.
        boxes_yxyx: float32 [B, M, 4], canvas pixels.
        class_ids: int32 [B, M], 0 for no object.
        grids_yxyx: float32 [B, M, 4], see `examples.Examples`.
        masks: float32 [B, M, MASK_SIDE, MASK_SIDE] in [0, 1].
        shifts_yx: float32 [B, M, 2], how far from the object's middle the cell is taken that has to draw its mask, in units of its sides. Peaks
            of predictions are not always in the middle cell.

    Returns:
        The weighted sum, and its parts by name (unweighted scalars).
    """
    real = tf.cast(class_ids > 0, tf.float32)
    count = tf.maximum(tf.reduce_sum(real), 1.0)
    bells, box_bells = _bells(boxes_yxyx, real, tf.shape(outputs["sides"])[1])
    heat = tf.reduce_max(bells[..., None] * tf.one_hot(class_ids - 1, len(CLASS_NAMES))[:, :, None, None], axis=1)
    box_loss, fit_loss = _box_losses(outputs, boxes_yxyx, box_bells, real, count)
    parts = {
        "class": focal_loss(outputs["class_logits"], heat) / count,
        "box": box_loss,
        "fit": fit_loss,
        "mask": _mask_loss(outputs, boxes_yxyx, class_ids, grids_yxyx, masks, shifts_yx),
    }
    return tf.add_n([_WEIGHTS[name] * part for name, part in parts.items()]), parts


def _bells(boxes_yxyx, real, cells) -> tuple[tf.Tensor, tf.Tensor]:
    """Gaussians around the middle of every object, 1 at its middle cell: [B, M, cells, cells].

    In the second result every cell belongs to one object only, the smallest.
    """
    sides = (boxes_yxyx[..., 2:] - boxes_yxyx[..., :2]) / STRIDE
    middle = tf.floor((boxes_yxyx[..., 2:] + boxes_yxyx[..., :2]) / (2 * STRIDE))
    radius = tf.floor(_BELL_SHARE * sides / 2)
    offset = tf.cast(tf.range(cells), tf.float32) - middle[..., None]  # [B, M, (y, x), cells]
    bell = tf.exp(-0.5 * (offset * 6 / (2 * radius[..., None] + 1)) ** 2) * tf.cast(abs(offset) <= radius[..., None], tf.float32)
    bells = bell[:, :, 0, :, None] * bell[:, :, 1, None, :] * real[..., None, None]
    area = (sides[..., 0] * sides[..., 1])[..., None, None]
    area = tf.where(bells > 0, area, 1e9)
    return bells, tf.where(area <= tf.reduce_min(area, axis=1, keepdims=True), bells, 0.0)


def focal_loss(logits: tf.Tensor, heat: tf.Tensor) -> tf.Tensor:
    """CornerNet's focal loss (Law & Deng 2018, arXiv:1808.01244, equation 1), summed over everything.

    Args:
        logits: float32, any shape.
        heat: float32, the same shape, in [0, 1]; exactly 1 where an object is, and near it between 0 and 1.
    """
    log_p, log_not_p = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    found = tf.exp(2 * log_not_p) * log_p
    rejected = (1 - heat) ** 4 * tf.exp(2 * log_p) * log_not_p
    return -tf.reduce_sum(tf.where(heat >= 1.0 - 1e-6, found, rejected))


def giou_and_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Generalised (Rezatofighi et al. 2019, arXiv:1902.09630) and plain IoU of boxes [..., 4] against [..., 4], pairwise by broadcasting."""
    overlap = tf.minimum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.maximum(boxes_a[..., :2], boxes_b[..., :2])
    hull = tf.maximum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.minimum(boxes_a[..., :2], boxes_b[..., :2])
    both = tf.reduce_prod(tf.maximum(overlap, 0.0), axis=-1)
    area_a, area_b = (tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (boxes_a, boxes_b))
    either, hull_area = area_a + area_b - both, tf.reduce_prod(hull, axis=-1)
    iou = both / tf.maximum(either, 1e-6)
    return iou - (hull_area - either) / tf.maximum(hull_area, 1e-6), iou


def _box_losses(outputs, boxes_yxyx, bells, real, count) -> tuple[tf.Tensor, tf.Tensor]:
    """GIoU of the boxes, each object counting once however many cells it has, and how well `fit_logit` foretells their IoU."""
    share = bells / tf.maximum(tf.reduce_sum(bells, axis=(2, 3), keepdims=True), 1e-6) * real[..., None, None]
    weight = tf.reduce_sum(share, axis=1)
    owner = tf.argmax(bells, axis=1)  # [B, cells, cells]
    target = tf.gather(boxes_yxyx, owner, batch_dims=1)
    giou, iou = giou_and_iou(decode_boxes(outputs["sides"]), target)
    fit = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.stop_gradient(iou), logits=outputs["fit_logit"][..., 0])
    return tf.reduce_sum(weight * (1 - giou)) / count, tf.reduce_sum(weight * fit) / count


def _mask_loss(outputs, boxes_yxyx, class_ids, grids_yxyx, masks, shifts_yx) -> tf.Tensor:
    """Cross-entropy plus Dice (Milletari et al. 2016, arXiv:1606.04797), averaged over the objects."""
    where = tf.where(class_ids > 0)
    image_of = tf.cast(where[:, 0], tf.int32)
    boxes, grids, target = (tf.gather_nd(rows, where) for rows in (boxes_yxyx, grids_yxyx, masks))
    shift = tf.gather_nd(shifts_yx, where) * (boxes[:, 2:] - boxes[:, :2])
    cells = tf.shape(outputs["sides"])[1]
    cell = tf.cast(tf.floor(((boxes[:, 2:] + boxes[:, :2]) / 2 + shift) / STRIDE), tf.int32)
    cell = tf.clip_by_value(cell, 0, cells - 1)
    weights = tf.gather_nd(outputs["mask_weights"], tf.concat([image_of[:, None], cell], axis=1))
    logits = draw_masks(outputs["prototypes"], weights, tf.gather_nd(cell_middles(cells), cell), grids, image_of)
    entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits), axis=(1, 2))
    drawn = tf.sigmoid(logits)
    both = tf.reduce_sum(drawn * target, axis=(1, 2))
    dice = 1 - (2 * both + 1) / (tf.reduce_sum(drawn**2, axis=(1, 2)) + tf.reduce_sum(target**2, axis=(1, 2)) + 1)
    return tf.reduce_sum(entropy + dice) / tf.maximum(tf.cast(tf.shape(where)[0], tf.float32), 1.0)
