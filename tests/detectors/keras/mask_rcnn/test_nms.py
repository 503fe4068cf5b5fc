import numpy as np
import pytest
from labelbeam.detectors.keras.mask_rcnn.nms import greedy_nms

from tests.detectors.keras.support import formulas


def scene(rng, n):
    """Boxes with all that makes trouble: equal scores, equal boxes, no area, scores of 0, corners out of order."""
    corners = rng.uniform(-10, 60, (n, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(0, 40, (n, 2)).astype(np.float32)], axis=1)
    boxes[rng.integers(0, n, n // 4)] = boxes[rng.integers(0, n, n // 4)]
    boxes[rng.integers(0, n, 2), 2] = boxes[0, 0]
    scores = rng.choice(np.float32([0, 0, 0.1, 0.25, 0.5, 0.5, 0.9]), n) if n % 2 else rng.random(n, dtype=np.float32)
    return boxes, scores


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.0])
def test_selects_what_the_definition_selects(threshold):
    rng = np.random.default_rng(int(threshold * 10))
    for n in (1, 2, 15, 40, 41):
        sets = [scene(rng, n) for _ in range(8)]
        boxes, scores = (np.stack(arrays).reshape(2, 4, *arrays[0].shape) for arrays in zip(*sets, strict=True))
        indices, selected = (np.asarray(a) for a in greedy_nms(boxes, scores, 12, threshold))
        for place in np.ndindex(2, 4):
            expected = formulas.greedy_nms(boxes[place], scores[place], 12, threshold)
            assert indices[place][selected[place]].tolist() == expected
            assert selected[place].tolist() == [True] * len(expected) + [False] * (12 - len(expected))


@pytest.mark.heavy
def test_equals_tensorflow():
    import tensorflow as tf

    rng = np.random.default_rng(5)
    boxes, scores = scene(rng, 301)
    expected = tf.image.non_max_suppression(boxes, scores, 100, iou_threshold=0.6, score_threshold=0.0).numpy()
    indices, selected = greedy_nms(boxes, scores, 100, 0.6)
    assert np.asarray(indices)[np.asarray(selected)].tolist() == expected.tolist()


def test_an_overlap_equal_to_the_threshold_suppresses_nothing():
    boxes = np.float32([[0, 0, 2, 1], [0, 0, 1, 1]])  # overlap exactly 0.5
    _, selected = greedy_nms(boxes, np.float32([0.9, 0.8]), 2, 0.5)
    assert np.asarray(selected).all()
