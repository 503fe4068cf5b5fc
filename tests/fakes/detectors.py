"""Detectors that need no TensorFlow: what they find follows from the image's size and first pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections, DetectOptions


def without_weights(cls: type[DetectorSpec], **own) -> DetectorSpec:
    """A spec, as `prepare` gives it, of a class that loads a detector in its own way; `own` are its own fields."""
    facts = {"has_masks": False, "takes_boxes": False, "options": DetectOptions()}
    return cls(load_config("demo"), "saved_model", "float32", "none", "none", **facts, **own)


class FakeDetector:
    """Finds one box an image, its score the first pixel's red / 255. Raises for images whose first pixel's red is
    `poison`; gives NaN for those whose green is 1, nothing for those whose green is 2.

    Runs out of memory with more images than `memory_error_above`, or with one larger than `memory_error_pixels`.
    """

    batches = True

    def __init__(self, poison: int | None, memory_error_above: int | None, memory_error_pixels: int | None = None):
        self.poison = poison
        self.memory_error_above = memory_error_above
        self.memory_error_pixels = memory_error_pixels
        self.batch_sizes: list[int] = []

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.batch_sizes.append(len(images))
        if self.memory_error_above is not None and len(images) > self.memory_error_above:
            raise MemoryError(f"{len(images)} images don't fit")
        if self.memory_error_pixels is not None and any(
            image[..., 0].size > self.memory_error_pixels for image in images
        ):
            raise MemoryError("an image doesn't fit")
        if any(image[0, 0, 0] == self.poison for image in images):
            raise ValueError("poisoned image")
        return [
            Detections(
                boxes_yxyx=np.array([[0.25, 0.25, 0.75, 0.5]], np.float32),
                class_ids=np.array([1], np.int32),
                scores=np.array([np.nan if image[0, 0, 1] == 1 else image[0, 0, 0] / 255], np.float32),
            )
            for image in images
            if image[0, 0, 1] != 2
        ]


class FakeBoxClassifier(FakeDetector):
    """Finds each box that it is given, with score 0.5 and its number as the class."""

    def detect_in_boxes(self, images, boxes_yxyx) -> list[Detections]:
        return [
            Detections(
                boxes_yxyx=boxes,
                class_ids=np.arange(1, len(boxes) + 1, dtype=np.int32),
                scores=np.full(len(boxes), 0.5, np.float32),
            )
            for boxes in boxes_yxyx
        ]


class FakeBoxClassifierLoader:
    """Loads a `FakeBoxClassifier`."""

    def load(self) -> FakeBoxClassifier:
        return FakeBoxClassifier(None, None)


@dataclass(frozen=True)
class FakeLoader:
    """Loads a `FakeDetector`; appends a line to `load_log` each time, if given."""

    poison: int | None = None
    memory_error_above: int | None = None
    memory_error_pixels: int | None = None
    load_log: str | None = None
    load_error: str | None = None

    def load(self) -> FakeDetector:
        if self.load_log:
            with Path(self.load_log).open("a") as log:
                log.write("loaded\n")
        if self.load_error:
            raise RuntimeError(self.load_error)
        return FakeDetector(self.poison, self.memory_error_above, self.memory_error_pixels)
