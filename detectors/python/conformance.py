"""Whether a detector keeps to the protocol: what `labelbeam detectors --check` tries, one by one."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..protocol import Detections, Detector

SIZES_HW = ((1, 1), (48, 64), (300, 200), (7, 500), (480, 640), (48, 64))
THREADS = 4
TOLERANCE = 1e-3  # of boxes and scores: batches and threads may change the order in which sums are made


class ConformanceError(AssertionError):
    """What a detector does otherwise than the protocol says."""


def test_images(seed: int = 0) -> list[np.ndarray]:
    """Images of several sizes, noise and plain, that can't be written to."""
    random = np.random.default_rng(seed)
    images = [random.integers(0, 256, (*size_hw, 3), np.uint8) for size_hw in SIZES_HW[:-1]]
    images.append(np.full((*SIZES_HW[-1], 3), 127, np.uint8))
    for image in images:
        image.flags.writeable = False
    return images


def check(detector: Detector) -> Iterator[tuple[str, Exception | None]]:
    """Tries a detector; yields what was tried and what was wrong, or None."""
    tries: tuple[Callable[[Detector], None], ...] = (
        _says_whether_it_batches,
        _takes_nothing,
        _gives_one_detections_an_image,
        _gives_the_same_alone_and_together,
        _takes_calls_from_several_threads,
    )
    for one in tries:
        try:
            one(detector)
        except Exception as error:  # whatever somebody's class raises
            yield one.__name__.strip("_").replace("_", " "), error
        else:
            yield one.__name__.strip("_").replace("_", " "), None


def _says_whether_it_batches(detector: Detector) -> None:
    if not isinstance(detector.batches, bool):
        raise ConformanceError(f"batches: expected True or False, got {detector.batches!r}")


def _takes_nothing(detector: Detector) -> None:
    if list(detector.detect([])) != []:
        raise ConformanceError("detect([]): expected []")


def _gives_one_detections_an_image(detector: Detector) -> None:
    images = test_images()
    found = detector.detect(images)
    if len(found) != len(images):
        raise ConformanceError(f"detect: expected {len(images)} results for as many images, got {len(found)}")
    for one in found:
        if not isinstance(one, Detections):
            raise ConformanceError(f"detect: expected labelbeam.Detections, got {type(one).__name__}")


def _gives_the_same_alone_and_together(detector: Detector) -> None:
    images = test_images(1)
    for image, together in zip(images, detector.detect(images), strict=True):
        _compare(detector.detect([image])[0], together, "alone and together with others")


def _takes_calls_from_several_threads(detector: Detector) -> None:
    images = test_images(2)
    expected = detector.detect(images)
    with ThreadPoolExecutor(THREADS) as threads:
        for found in threads.map(detector.detect, itertools.repeat(images, 2 * THREADS)):
            for one, other in zip(found, expected, strict=True):
                _compare(one, other, f"in {THREADS} threads at once")


def _compare(one: Detections, other: Detections, when: str) -> None:
    same = len(one) == len(other) and np.array_equal(one.class_ids, other.class_ids)
    if not same or any(
        not np.allclose(getattr(one, name), getattr(other, name), atol=TOLERANCE) for name in ("boxes_yxyx", "scores")
    ):
        raise ConformanceError(f"an image's detections differ {when}: {len(one)} and {len(other)} of them")
