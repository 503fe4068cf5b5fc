"""A detector as a worker keeps it: loaded at its first use, once for all its threads, and watched while it works."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ...detectors.protocol import BoxClassifier, Detections, Detector
from ..elements import ImageReference
from .in_flight import in_flight_of
from .model_watch import ModelWatch

_loading = threading.Lock()  # copies of a detector load one after the other in a process, so that each knows its cost


class WorkerError(RuntimeError):
    """The fault of the job or of a worker, not of the images at hand."""


class DetectorLoadError(WorkerError):
    """The detector can't be loaded."""


class DetectorLostError(WorkerError):
    """The process that runs the shared detector has ended."""


class StoppingError(WorkerError):
    """The job is to stop: nothing new begins."""


class DetectorLoader(Protocol):
    """What loads a detector on a worker: `detectors.load.DetectorSpec`, or a fake. Must be picklable."""

    def load(self) -> Detector: ...


class LoadCost(NamedTuple):
    """What loading a detector took: seconds, and bytes of host memory that the process then held more than before;
    and the device that it computes on, empty if it doesn't say."""

    seconds: float
    resident_bytes: int
    device: str


class LoadedDetector:
    """A detector that is loaded at its first use, however many threads or processes share this object.

    So a job that finds nothing to do never pays for it.

    Args:
      loader: loads the detector.
      output: the output folder below which journals are kept, in the process where the detector runs; None keeps none.
      timeout_s: seconds after which a call of the model that hasn't ended ends the process; None for never.
    """

    def __init__(self, loader: DetectorLoader, output: str | None = None, timeout_s: float | None = None):
        self._loader = loader
        self._in_flight = in_flight_of(output)
        self._watch = ModelWatch(self._in_flight, timeout_s)
        self._lock = threading.Lock()
        self._detector: Detector | None = None
        self._unreported_load: LoadCost | None = None

    def detect(
        self,
        images: Sequence[np.ndarray],
        references: Sequence[ImageReference],
        boxes_yxyx: Sequence[np.ndarray] | None = None,
    ) -> list[Detections]:
        """`Detector.detect`, or `BoxClassifier.detect_in_boxes` if there are boxes.

        Raises:
          DetectorLoadError: if the detector can't be loaded.
          Exception: whatever the model raises.
        """
        detector = self._load_once()  # a process that dies of that doesn't die of an image
        image_ids = [reference.image_id for reference in references]
        with self._in_flight.work("model", image_ids), self._watch.call(references):
            if boxes_yxyx is None:
                return detector.detect(images)
            if not isinstance(detector, BoxClassifier):
                raise TypeError("the detector takes no boxes")
            return detector.detect_in_boxes(images, boxes_yxyx)

    def take_load(self) -> LoadCost | None:
        """What loading took, told to the first who asks after each load, so that each load is counted once."""
        with self._lock:
            cost, self._unreported_load = self._unreported_load, None
        return cost

    def _load_once(self) -> Detector:
        with self._lock:
            if self._detector is None:
                with _loading:
                    started, resident_before = time.monotonic(), _resident_bytes()
                    try:
                        self._detector = self._loader.load()
                    except Exception as error:
                        raise DetectorLoadError(f"the detector can't be loaded: {error}") from error
                    resident = max(0, _resident_bytes() - resident_before)
                    self._unreported_load = LoadCost(
                        time.monotonic() - started, resident, getattr(self._detector, "device", "")
                    )
            return self._detector


def _resident_bytes() -> int:
    """Memory that this process holds; 0 where the system doesn't say (not Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
