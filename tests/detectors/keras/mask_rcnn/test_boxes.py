import numpy as np
from labelbeam.detectors.keras.mask_rcnn import boxes as keras
from labelbeam.detectors.keras.mask_rcnn.anchors import grid_anchors

from tests.detectors.keras.support.formulas import iou_of_two


def random_boxes(rng, *shape):
    corners = rng.uniform(-20, 120, (*shape, 2, 2)).astype(np.float32)
    return np.sort(corners, axis=-2).reshape(*shape, 4)


def test_anchors():
    anchors = grid_anchors((3, 4), stride=16).reshape(3, 4, 12, 4)
    for i, j, a in np.ndindex(3, 4, 12):
        ratio, scale = (0.5, 1.0, 2.0)[a // 4], (0.25, 0.5, 1.0, 2.0)[a % 4]
        height, width = scale / ratio**0.5 * 256, scale * ratio**0.5 * 256
        box = [16 * i - height / 2, 16 * j - width / 2, 16 * i + height / 2, 16 * j + width / 2]
        np.testing.assert_allclose(anchors[i, j, a], np.clip(box, 0, [48, 64, 48, 64]), rtol=1e-6)
    assert anchors.dtype == np.float32


def test_decode_inverts_encode():
    rng = np.random.default_rng(0)
    anchors, boxes = random_boxes(rng, 50) + np.float32([0, 0, 1, 1]), random_boxes(rng, 50) + np.float32([0, 0, 1, 1])

    def centre_and_size(b):
        return (b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]

    (anchor_centre, anchor_size), (centre, size) = centre_and_size(anchors), centre_and_size(boxes)
    codes = np.concatenate([(centre - anchor_centre) / anchor_size * 10, np.log(size / anchor_size) * 5], axis=1)
    np.testing.assert_allclose(keras.decode(codes, anchors), boxes, atol=1e-3)


def test_decode_does_not_clamp():
    codes = np.float32([[0, 0, 500, 0]])
    with np.errstate(over="ignore"):
        assert np.isinf(np.asarray(keras.decode(codes, np.float32([[0, 0, 10, 10]])))[0, [0, 2]]).all()


def test_iou():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 40), random_boxes(rng, 40)
    b[:5] = a[:5]  # the same
    b[5:10, 2] = b[5:10, 0]  # without area
    a[10:15] = a[10:15][:, [2, 3, 0, 1]]  # corners in the wrong order
    b[15:20] += 1000  # far away
    np.testing.assert_array_equal(keras.iou(a, b), [iou_of_two(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_array_equal(np.asarray(keras.iou(a[:, None], b))[3, 7], iou_of_two(a[3], b[7]))


def test_clip_and_area():
    boxes = keras.clip_to_window(np.float32([[-5, 10, 20, 300], [50, 60, 40, 70]]), 30, 200)
    np.testing.assert_array_equal(boxes, [[0, 10, 20, 200], [30, 60, 30, 70]])
    np.testing.assert_array_equal(keras.area(boxes), [20 * 190, 0])
