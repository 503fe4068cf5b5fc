"""Arithmetic of boxes (ymin, xmin, ymax, xmax), in any unit: decoding of box codes, clipping, area, overlap."""

from ..ops import ops

SCALE_FACTORS = (10.0, 10.0, 5.0, 5.0)  # of (ty, tx, th, tw), as the published detectors were trained


def decode(codes, anchors):
    """Boxes from their codes relative to anchors (Faster R-CNN, arXiv:1506.01497, equation 2).

    Nothing is clamped: a large code for the height gives an infinite one, as in the original.

    Args:
      codes: float32 `[..., 4]`, (ty, tx, th, tw).
      anchors: float32, broadcasts against `codes`.

    Returns:
      float32 `[..., 4]`, not clipped.
    """
    y_min, x_min, y_max, x_max = ops.unstack(ops.convert_to_tensor(anchors), 4, axis=-1)
    anchor_w, anchor_h = x_max - x_min, y_max - y_min
    anchor_x, anchor_y = x_min + anchor_w / 2.0, y_min + anchor_h / 2.0
    ty, tx, th, tw = (code / scale for code, scale in zip(ops.unstack(codes, 4, axis=-1), SCALE_FACTORS, strict=True))
    w, h = ops.exp(tw) * anchor_w, ops.exp(th) * anchor_h
    y, x = ty * anchor_h + anchor_y, tx * anchor_w + anchor_x
    return ops.stack([y - h / 2.0, x - w / 2.0, y + h / 2.0, x + w / 2.0], axis=-1)


def clip_to_window(boxes, height: float, width: float):
    """Boxes `[..., 4]` clipped to the window from (0, 0) to (height, width)."""
    y_min, x_min, y_max, x_max = ops.unstack(boxes, 4, axis=-1)
    return ops.stack(
        [ops.clip(y_min, 0, height), ops.clip(x_min, 0, width), ops.clip(y_max, 0, height), ops.clip(x_max, 0, width)],
        axis=-1,
    )


def area(boxes):
    """Areas `[...]` of boxes `[..., 4]`; negative where one side is inverted."""
    y_min, x_min, y_max, x_max = ops.unstack(boxes, 4, axis=-1)
    return (y_max - y_min) * (x_max - x_min)


def iou(a, b):
    """Intersection over union of boxes, broadcast against each other, with the roundings of TF's NMS.

    Corners are put in order first; the overlap with a box of no area is 0.

    Args:
      a, b: float32 `[..., 4]`.

    Returns:
      float32 `[...]`.
    """
    return iou_of_corners(ordered_corners(a), ordered_corners(b))


def ordered_corners(boxes):
    """What `iou_of_corners` takes: ymin, xmin, ymax, xmax and area `[...]` of boxes `[..., 4]`, corners in order."""
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    y1, y2 = ops.minimum(y1, y2), ops.maximum(y1, y2)
    x1, x2 = ops.minimum(x1, x2), ops.maximum(x1, x2)
    return y1, x1, y2, x2, (y2 - y1) * (x2 - x1)


def iou_of_corners(a, b):
    """`iou` of boxes that went through `ordered_corners`, which a loop need do only once."""
    ay1, ax1, ay2, ax2, area_a = a
    by1, bx1, by2, bx2, area_b = b
    height = ops.maximum(ops.minimum(ay2, by2) - ops.maximum(ay1, by1), 0.0)
    width = ops.maximum(ops.minimum(ax2, bx2) - ops.maximum(ax1, bx1), 0.0)
    intersection = height * width
    some = (area_a > 0) & (area_b > 0)
    return ops.where(some, intersection / ops.where(some, area_a + area_b - intersection, 1.0), 0.0)
