"""Peaks of CenterNet's class heat map (Objects as Points, arXiv:1904.07850, section 3), which replace NMS there."""

from ..ops import ops

PEAK_TOLERANCE = 1e-6  # a cell this close below its neighbourhood's maximum counts as a peak too


def top_peaks(probabilities, k: int):
    """The k best peaks of all classes together.

    Args:
      probabilities: float32 `[B, H, W, classes]`.
      k: how many.

    Returns:
      `scores` float32 `[B, k]` descending (0 where there are fewer peaks), `cells` int32 `[B, k]`, row-major over H x
      W, and `classes` int32 `[B, k]`. Ties go to the lower (cell, class).
    """
    _, height, width, classes = probabilities.shape
    neighbourhood = ops.max_pool(probabilities, 3, strides=1, padding="same")
    peaks = ops.where(ops.abs(probabilities - neighbourhood) < PEAK_TOLERANCE, probabilities, 0.0)
    scores, flat = ops.top_k(ops.reshape(peaks, (-1, height * width * classes)), k)
    flat = ops.cast(flat, "int32")
    return scores, flat // classes, flat % classes
