"""What of an image's detections every format can hold: boxes with an area, inside the image.

Loaders refuse a whole data set for one box without area or beyond the edge (detectors give both), so boxes are clipped
to their image, and detections of which nothing is left are left out and counted.
"""

from collections import Counter

import numpy as np

from ..stored_labels import StoredLabels

MIN_SIDE_PX = 0.01  # less is lost in the digits that formats keep


def inside_image(labels: StoredLabels, left_out: Counter[str]) -> StoredLabels:
    """The same image with boxes clipped to it.

    Args:
      left_out: detections that are left out are added here, by reason.
    """
    height, width = labels.image_size_hw
    edges = np.array([width, height], np.float32)
    starts, sides = labels.boxes_xywh[:, :2], labels.boxes_xywh[:, 2:]
    ends = starts + sides
    clipped_starts, clipped_ends = np.clip(starts, 0, edges), np.clip(ends, 0, edges)
    # What lies inside stays as it is, to the last digit.
    inside = (starts >= 0) & (ends <= edges)
    boxes = np.concatenate(
        [np.where(inside, starts, clipped_starts), np.where(inside, sides, clipped_ends - clipped_starts)], axis=1
    )
    with_area = np.asarray((sides >= MIN_SIDE_PX).all(axis=1))
    kept: np.ndarray = with_area & np.asarray((boxes[:, 2:] >= MIN_SIDE_PX).all(axis=1))
    for reason, number in (
        ("their box has no area", (~with_area).sum()),
        ("their box lies outside the image", (with_area & ~kept).sum()),
    ):
        if number:
            left_out[reason] += int(number)
    return labels.with_boxes(boxes).select(kept)
