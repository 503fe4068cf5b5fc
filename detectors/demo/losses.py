"""What the demo detector is trained to minimise: how far its outputs are from the targets of `examples.Batch`.

Quality focal loss of the scores (arXiv:2006.04388) and, at objects, cross-entropy between the classes; complete IoU of
the boxes (arXiv:1911.08287); cross-entropy and dice of the masks (arXiv:1606.04797). Only for training: what the
numbers mean to a user is in `evaluate`.
"""

import tensorflow as tf

from .examples import CROP_SIZE, Batch
from .network import STRIDE

_MASK_SIZE = 28  # samples across a box at which masks are compared


def total_loss(outputs: dict[str, tf.Tensor], batch: Batch) -> dict[str, tf.Tensor]:
    """Scalars: `score`, `class`, `box` and `mask` losses, their weighted sum `total`, and the objects' mean `iou`.

    Args:
      outputs: of the network for `batch.images`.
      batch: tensors in place of arrays.
    """
    at_cells = batch.cells[:, :3]
    true_boxes = tf.gather_nd(batch.boxes_yxyx, tf.stack([batch.cells[:, 0], batch.cells[:, 4]], axis=1))
    iou, complete_iou = box_overlaps(boxes_at(tf.gather_nd(outputs["edges"], at_cells), at_cells[:, 1:]), true_boxes)
    num_objects = tf.maximum(tf.reduce_sum(batch.weights), 1.0)
    # The focal loss alone is nearly content with two classes at half the score each: this one asks which it is.
    confusion = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=batch.cells[:, 3], logits=tf.gather_nd(outputs["class_logits"], at_cells)
    )
    losses = {
        "score": _quality_focal_loss(outputs["class_logits"], batch, tf.stop_gradient(iou)) / num_objects,
        "class": tf.reduce_sum(batch.weights * confusion) / num_objects,
        "box": tf.reduce_sum(batch.weights * (1 - complete_iou)) / num_objects,
        "mask": _mask_loss(outputs, batch),
    }
    total = 2.0 * losses["score"] + 0.5 * losses["class"] + 2.0 * losses["box"] + 1.5 * losses["mask"]
    return {"total": total, **losses, "iou": tf.reduce_sum(batch.weights * iou) / num_objects}


def boxes_at(edges: tf.Tensor, cells_yx: tf.Tensor) -> tf.Tensor:
    """Boxes (ymin, xmin, ymax, xmax) `[R, 4]` in input pixels, of distances `[R, 4]` at cells `[R, 2]`."""
    middles = (tf.cast(cells_yx, tf.float32) + 0.5) * STRIDE
    return tf.concat([middles - edges[:, :2], middles + edges[:, 2:]], axis=1)


def box_overlaps(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """IoU and complete IoU of boxes `[R, 4]`, row by row: `[R]` each."""
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    overlap = tf.maximum(tf.minimum(a[:, 2:], b[:, 2:]) - tf.maximum(a[:, :2], b[:, :2]), 0.0)
    intersection = tf.reduce_prod(overlap, axis=1)
    iou = intersection / (tf.reduce_prod(size_a, 1) + tf.reduce_prod(size_b, 1) - intersection + 1e-6)
    hull = tf.maximum(a[:, 2:], b[:, 2:]) - tf.minimum(a[:, :2], b[:, :2])
    apart = tf.reduce_sum(((a[:, :2] + a[:, 2:]) - (b[:, :2] + b[:, 2:])) ** 2, 1) / 4
    angle_a, angle_b = (tf.atan(size[:, 1] / (size[:, 0] + 1e-6)) for size in (size_a, size_b))
    aspect = 0.405 * (angle_a - angle_b) ** 2  # 4 / pi^2
    weight = tf.stop_gradient(aspect / (1 - iou + aspect + 1e-6))
    return iou, iou - apart / (tf.reduce_sum(hull**2, 1) + 1e-6) - weight * aspect


def _quality_focal_loss(logits: tf.Tensor, batch: Batch, quality: tf.Tensor) -> tf.Tensor:
    where = batch.cells[:, :4]
    target = tf.scatter_nd(where, quality, tf.shape(logits))
    weights = tf.tensor_scatter_nd_update(tf.ones_like(logits), where, batch.weights)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    return tf.reduce_sum(weights * tf.abs(target - tf.sigmoid(logits)) ** 2 * cross_entropy)


def _mask_loss(outputs: dict[str, tf.Tensor], batch: Batch) -> tf.Tensor:
    """Masks of the objects, each in its true box, mixed with the coefficients at its centre."""
    objects = tf.cast(tf.where(batch.valid), tf.int32)  # [M, 2]: crop, object
    crops, boxes = objects[:, 0], tf.gather_nd(batch.boxes_yxyx, objects)
    centres = tf.concat([objects[:, :1], tf.gather_nd(batch.centres, objects)], axis=1)
    prototypes = _sampled(outputs["prototypes"], boxes, crops)
    logits = tf.einsum("myxp,mp->myx", prototypes, tf.gather_nd(outputs["coefficients"], centres))
    # Numbers can't be interpolated: whether a pixel is the object's can.
    own = tf.gather(batch.numbers, crops) == tf.cast(objects[:, 1] + 1, tf.uint8)[:, None, None]
    target = _sampled(tf.cast(own, tf.float32)[..., None], boxes, tf.range(tf.shape(crops)[0]))[..., 0]
    cross_entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits), axis=[1, 2])
    probability = tf.sigmoid(logits)
    dice = 1 - (2 * tf.reduce_sum(probability * target, [1, 2]) + 1) / (
        tf.reduce_sum(probability**2, [1, 2]) + tf.reduce_sum(target**2, [1, 2]) + 1
    )
    return tf.reduce_sum(cross_entropy + dice) / tf.maximum(tf.cast(tf.shape(crops)[0], tf.float32), 1.0)


def _sampled(maps: tf.Tensor, boxes_yxyx: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Boxes (input pixels) cut out of maps `[B, h, w, C]`, the outermost samples on the box's edges."""
    cells = tf.cast(tf.shape(maps)[1], tf.float32)
    # The middle of a map's first cell lies half a cell inside the image.
    places = (boxes_yxyx * (cells / CROP_SIZE) - 0.5) / (cells - 1)
    return tf.image.crop_and_resize(maps, places, indices, [_MASK_SIZE, _MASK_SIZE])
