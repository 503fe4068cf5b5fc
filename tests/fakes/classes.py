"""Detectors as somebody else might write them, for `--detector tests.fakes.classes:…`."""

import numpy as np
from labelbeam.detectors.protocol import Detections


class Brightest:
    """Finds the brightest quarter of an image, and with less certainty the image."""

    batches = False
    class_names = {1: "quarter", 2: "image"}
    input_size_hw = (64, 64)

    def detect(self, images):
        return [self._detect(image) for image in images]

    def _detect(self, image):
        height, width = max(1, image.shape[0] // 2), max(1, image.shape[1] // 2)
        means = {
            (y, x): image[y * height : (y + 1) * height, x * width : (x + 1) * width].mean() / 255
            for y in (0, 1)
            for x in (0, 1)
            if y * height < image.shape[0] and x * width < image.shape[1]
        }
        y, x = max(means, key=lambda corner: means[corner])
        return Detections(
            np.array([[y / 2, x / 2, y / 2 + 0.5, x / 2 + 0.5], [0, 0, 1, 1]], np.float32),
            np.array([1, 2], np.int32),
            np.array([0.9, 0.25], np.float32),
            np.ones((2, 8, 8), np.float32),
        )


class WantsArguments(Brightest):
    def __init__(self, folder):
        self.folder = folder


class RaisesWhenMade(Brightest):
    def __init__(self):
        raise OSError("no weights here")


class NoDetector:
    """Nothing that a detector has."""


class WithoutBatches:
    def detect(self, images):
        return []


class Wrong:
    """Breaks the protocol in every way that is tried."""

    batches = "no"

    def __init__(self):
        self.calls = 0

    def detect(self, images):
        self.calls += 1
        n = self.calls
        return [Detections(np.zeros((n, 4), np.float32), np.zeros(n, np.int32), np.ones(n, np.float32))] * (
            len(images) or 1
        )


class_names = "not a class"


class Hundred:
    """Finds a hundred boxes in every image, with scores of 0.995, 0.985, … 0.005."""

    batches = True

    def detect(self, images):
        scores = np.arange(0.995, 0, -0.01).astype(np.float32)
        return [Detections(np.zeros((100, 4), np.float32), np.ones(100, np.int32), scores) for _ in images]
