import numpy as np
from labelbeam.detectors.keras.centernet.peaks import top_peaks


def peaks_by_hand(probabilities, k):
    height, width, classes = probabilities.shape
    found = []
    for y, x, c in np.ndindex(height, width, classes):
        around = probabilities[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, c]
        p = probabilities[y, x, c]
        found.append((p if abs(p - around.max()) < 1e-6 else np.float32(0), y * width + x, c))
    return sorted(found, key=lambda f: -f[0])[:k]  # stable: ties stay in the order of (cell, class)


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    probabilities = rng.random((2, 8, 10, 3), dtype=np.float32)
    probabilities[:, 2, 3] = 0.97
    probabilities[:, 2, 4] = 0.97 - 5e-7  # so near a tie that both are peaks
    probabilities[:, 6, 6:8, 1] = 1.0  # saturated, beside each other
    scores, cells, classes = (np.asarray(a) for a in top_peaks(probabilities, 20))
    for i in range(2):
        expected = peaks_by_hand(probabilities[i], 20)
        assert [(s, p, c) for s, p, c in zip(scores[i], cells[i], classes[i], strict=True)] == expected


def test_one_cell_may_be_a_peak_of_several_classes():
    probabilities = np.zeros((1, 5, 5, 4), np.float32)
    probabilities[0, 2, 2] = (0.5, 0.0, 0.9, 0.5)
    scores, cells, classes = top_peaks(probabilities, 3)
    np.testing.assert_array_equal(scores, np.float32([[0.9, 0.5, 0.5]]))
    np.testing.assert_array_equal(cells, [[12, 12, 12]])
    np.testing.assert_array_equal(classes, [[2, 0, 3]])
