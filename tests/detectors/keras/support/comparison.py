"""Compares detections as sets of rows: rows whose scores are nearly equal may swap places."""

import numpy as np


def matched_rows(found: dict, expected: dict, score_tolerance: float, box_tolerance: float) -> list[tuple[int, int]]:
    """Pairs of rows (found, expected), of one class, scores and boxes within the tolerances; each row at most once.

    Args:
      found, expected: `detection_scores` `[N]`, `detection_classes` `[N]` and `detection_boxes` `[N, 4]`.
    """
    pairs, taken = [], set()
    columns = (found[f"detection_{name}"] for name in ("scores", "classes", "boxes"))
    for i, (score, class_id, box) in enumerate(zip(*columns, strict=True)):
        near = np.flatnonzero(
            (expected["detection_classes"] == class_id)
            & (np.abs(expected["detection_scores"] - score) <= score_tolerance)
            & (np.abs(expected["detection_boxes"] - box).max(axis=1) <= box_tolerance)
        )
        near = [j for j in near if j not in taken]
        if near:
            j = min(near, key=lambda j: np.abs(expected["detection_boxes"][j] - box).max())
            taken.add(j)
            pairs.append((i, j))
    return pairs


def assert_same_detections(
    found: dict, expected: dict, score_tolerance: float, box_tolerance: float, may_differ: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Asserts that both have the same rows, but for the last one when another of nearly the same score took its place.

    Args:
      found, expected, score_tolerance, box_tolerance: see `matched_rows`.
      may_differ: bool `[N]`, expected rows that need no match.

    Returns:
      The pairs of rows.
    """
    pairs = matched_rows(found, expected, score_tolerance, box_tolerance)
    count = len(expected["detection_scores"])
    exempt = set() if may_differ is None else set(np.flatnonzero(may_differ))
    missing = sorted(set(range(count)) - {j for _, j in pairs} - exempt)
    last = expected["detection_scores"][-1] + score_tolerance
    assert all(expected["detection_scores"][j] <= last for j in missing) and len(missing) <= 1, (
        f"{len(missing)} of {count} expected rows have no match: {missing[:10]}"
    )
    return pairs


def rows(outputs: dict, i: int = 0) -> dict:
    """Image i's detections, of outputs with a batch axis."""
    return {name: np.asarray(outputs[name])[i] for name in ("detection_scores", "detection_classes", "detection_boxes")}


def greatest_difference(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, f"{a.shape} and {b.shape}"
    return float(np.abs(a - b).max())
