"""A detector as a worker keeps it: loaded at its first use, once for all its threads, and watched while it works."""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...detectors.protocol import BoxClassifier, Detections, Detector, PreparedImage, PreparingDetector
from ..elements import ImageReference
from .in_flight import in_flight_of
from .model_watch import ModelWatch

_in_process: "weakref.WeakValueDictionary[str, LoadedDetector]" = weakref.WeakValueDictionary()
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


def detector_in_process(key: str | None) -> "LoadedDetector | None":
    """The detector that was made in this process under a key; None where it is another process's."""
    return None if key is None else _in_process.get(key)


class LoadedDetector:
    """A detector that is loaded at its first use, however many threads or processes share this object.

    So a job that finds nothing to do never pays for it.

    Args:
      loader: loads the detector.
      output: the output folder below which journals are kept, in the process where the detector runs; None keeps none.
      timeout_s: seconds after which a call of the model that hasn't ended ends the process; None for never.
      key: by which `detector_in_process` finds it; None for not at all.
    """

    def __init__(
        self,
        loader: DetectorLoader,
        output: str | None = None,
        timeout_s: float | None = None,
        key: str | None = None,
    ):
        if key is not None:
            _in_process[key] = self
        self._loader = loader
        self._in_flight = in_flight_of(output)
        self._watch = ModelWatch(self._in_flight, timeout_s)
        self._lock = threading.Lock()
        self._detector: Detector | None = None
        self._load_error: Exception | None = None
        self._unreported_load: LoadCost | None = None

    def prepare(self, image: np.ndarray, image_id: str) -> np.ndarray | PreparedImage:
        """`PreparingDetector.prepare`; the image itself of a detector that has no such part, and of an image of which
        that fails: `detect` says why.

        Called by the threads that decode: so the detector is loaded while further images are fetched.

        Raises:
          DetectorLoadError: if the detector can't be loaded.
        """
        detector = self._load_once()
        if not isinstance(detector, PreparingDetector):
            return image
        with self._in_flight.work("decode", [image_id]), contextlib.suppress(Exception):
            return detector.prepare(image)
        return image

    def detect(
        self,
        images: Sequence[Any],
        references: Sequence[ImageReference],
        boxes_yxyx: Sequence[np.ndarray] | None = None,
    ) -> list[Detections]:
        """`Detector.detect`, or `BoxClassifier.detect_in_boxes` if there are boxes; of images as `prepare` gives them.

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
            if self._load_error is not None:  # several threads want it
                raise DetectorLoadError(f"the detector can't be loaded: {self._load_error}") from self._load_error
            if self._detector is None:
                with _loading:
                    started, resident_before = time.monotonic(), _resident_bytes()
                    try:
                        self._detector = self._loader.load()
                    except Exception as error:
                        self._load_error = error
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
