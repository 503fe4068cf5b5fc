"""The shared parts once more, in plain NumPy, one element at a time: what the fast ones are compared with."""

import numpy as np

f = np.float32


def iou_of_two(a, b):
    """Overlap of two boxes of any corner order."""
    (ay1, ay2), (ax1, ax2) = sorted((a[0], a[2])), sorted((a[1], a[3]))
    (by1, by2), (bx1, bx2) = sorted((b[0], b[2])), sorted((b[1], b[3]))
    area_a, area_b = (ay2 - ay1) * (ax2 - ax1), (by2 - by1) * (bx2 - bx1)
    if area_a <= 0 or area_b <= 0:
        return f(0)
    shared = max(min(ay2, by2) - max(ay1, by1), f(0)) * max(min(ax2, bx2) - max(ax1, bx1), f(0))
    return shared / (area_a + area_b - shared)


def greedy_nms(boxes, scores, max_selected, iou_threshold):
    """Indices of the selected boxes: visit by score, keep what overlaps nothing kept before."""
    selected = []
    for i in np.argsort(-scores, kind="stable"):
        if len(selected) == max_selected or scores[i] <= 0:
            break
        if all(iou_of_two(boxes[i], boxes[j]) <= f(iou_threshold) for j in selected):
            selected.append(int(i))
    return selected


def crop_positions(start, end, n_in, n_out):
    """Sample positions along one axis of a crop, in scalar float32."""
    step = f(f(f(end - start) * f(n_in - 1)) / f(n_out - 1))
    return [f(f(start * f(n_in - 1)) + f(f(i) * step)) for i in range(n_out)]


def crop_and_resize(features, box, size_hw):
    """One crop `[h, w, C]` of features `[H, W, C]`, cell by cell."""
    height, width, channels = features.shape
    out = np.zeros((*size_hw, channels), f)
    for i, y in enumerate(crop_positions(box[0], box[2], height, size_hw[0])):
        for j, x in enumerate(crop_positions(box[1], box[3], width, size_hw[1])):
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            y0, y1, x0, x1 = int(np.floor(y)), int(np.ceil(y)), int(np.floor(x)), int(np.ceil(x))
            ty, tx = y - f(y0), x - f(x0)
            top = features[y0, x0] + (features[y0, x1] - features[y0, x0]) * tx
            bottom = features[y1, x0] + (features[y1, x1] - features[y1, x0]) * tx
            out[i, j] = top + (bottom - top) * ty
    return out
