"""Detect: runs a detector over decoded images through Beam's RunInference. The only place where Beam and detectors meet.

One loaded detector serves a whole process (or, with `share_across_processes`, a whole machine); it's loaded when the
first image arrives, so a job that finds nothing to do never pays for it. One bad image fails alone: a batch that raises
is halved until the guilty image is found, and one of which a process died is given to the model alone. Not for decoding or
for making rows: see `decode.py` and `to_rows.py`.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from ..detectors.protocol import Detections, Detector, InvalidDetections
from . import coders  # noqa: F401  registers them
from .decode.image_area import WHOLE, ImageArea
from .elements import (
    METRICS_NAMESPACE,
    DetectOutcome,
    FailedImage,
    FetchedImage,
    FetchOutcome,
    LabelledImage,
)
from .workers.in_flight import open_notes

MAX_BATCH_BYTES = 256 << 20  # of decoded pixels that wait for a call of the model

_log = logging.getLogger(__name__)

_loading = (
    threading.Lock()
)  # copies of a detector in this process are loaded one after the other, so that each knows its cost


class DetectorLoader(Protocol):
    """What loads a detector on a worker: `detectors.load.DetectorSpec`, or a fake. Must be picklable."""

    def load(self) -> Detector: ...


class LoadCost(NamedTuple):
    """What loading a detector took: seconds, and bytes of host memory that the process then held more than before."""

    seconds: float
    resident_bytes: int


class LazyDetector:
    """A detector that is loaded at its first use, once, however many threads or processes share this object.

    Args:
      loader: loads the detector.
      output: the output folder with which notes on crashes are kept, in the process where the detector runs; None keeps none.
    """

    def __init__(self, loader: DetectorLoader, output: str | None = None):
        self._loader = loader
        self._output = output
        self._notes = None
        self._lock = threading.Lock()
        self._detector: Detector | None = None
        self._unreported_load: LoadCost | None = None

    def detect(
        self, images: Sequence, image_ids: Sequence[str], boxes_yxyx: Sequence | None = None
    ) -> list[Detections]:
        """`Detector.detect`, or `BoxClassifier.detect_in_boxes` if there are boxes."""
        self._load_once()  # a process that dies of that doesn't die of an image
        with self._notes.in_hand("model", image_ids):
            return (
                self._detector.detect(images)
                if boxes_yxyx is None
                else self._detector.detect_in_boxes(images, boxes_yxyx)
            )

    def _load_once(self) -> None:
        with self._lock:
            if self._detector is None:
                with _loading:
                    self._load()

    def _load(self) -> None:
        started, resident_before = time.monotonic(), _resident_bytes()
        try:
            self._detector = self._loader.load()
        except Exception as error:
            raise DetectorLoadError(f"the detector can't be loaded: {error}") from error
        self._notes = open_notes(self._output)
        weakref.finalize(self, self._notes.close)
        self._unreported_load = LoadCost(time.monotonic() - started, max(0, _resident_bytes() - resident_before))

    def take_load(self) -> LoadCost | None:
        """What loading took, told to the first who asks after each load, so that each load is counted once."""
        with self._lock:
            cost, self._unreported_load = self._unreported_load, None
        return cost


def _resident_bytes() -> int:
    """Memory that this process holds; 0 where the system doesn't say (not Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


class DetectorLoadError(RuntimeError):
    """The detector can't be loaded: the fault of the job, not of the image at hand."""


class DetectorLostError(RuntimeError):
    """The process that runs the shared detector has ended: nothing follows for the images at hand."""


class DetectorHandler(ModelHandler[FetchOutcome, DetectOutcome, LazyDetector]):
    """RunInference's handler for any `Detector`.

    It has no resource hints of its own: runners don't fuse steps whose hints differ, and pixels would cross a shuffle. The
    pipeline's `--resource_hint` says what its workers need; what a loaded detector holds is a metric.

    Args:
      loader: loads the detector on the worker.
      batch_size: images a call of `Detector.detect` at most.
      share_across_processes: one loaded detector a machine, which its other processes call through a proxy. Pixels are
        pickled on the way, so only where a second copy doesn't fit.
      output: the output folder with which notes on crashes are kept (`crash_notes.py`); None keeps none.
      copies: of a detector that is shared: so many a machine, whose calls take turns.
    """

    def __init__(
        self,
        loader: DetectorLoader,
        batch_size: int,
        share_across_processes: bool = False,
        output: str | None = None,
        copies: int = 1,
    ):
        super().__init__()
        self._loader = loader
        self._batch_size = batch_size
        self._share_across_processes = share_across_processes
        self._output = output
        self._copies = copies
        self._safe_batch_size = batch_size  # less after a batch that ran out of memory

    def load_model(self) -> LazyDetector:
        return LazyDetector(self._loader, self._output)

    def run_inference(
        self, batch: Sequence[FetchOutcome], model: LazyDetector, inference_args: dict[str, Any] | None = None
    ) -> Iterable[DetectOutcome]:
        decoded = [image for image in batch if isinstance(image, FetchedImage)]
        groups = [[image] for image in decoded if image.runs_alone]
        groups.append([image for image in decoded if not image.runs_alone])
        outcomes = {id(image): outcome for group in groups for image, outcome in zip(group, self._detect(group, model))}
        load = model.take_load()
        if load is not None:
            Metrics.counter(METRICS_NAMESPACE, "model_loads").inc()
            Metrics.distribution(METRICS_NAMESPACE, "model_load_ms").update(int(load.seconds * 1000))
            Metrics.distribution(METRICS_NAMESPACE, "model_resident_bytes").update(load.resident_bytes)
        yield from (image if isinstance(image, FailedImage) else outcomes[id(image)] for image in batch)

    def _detect(self, images: Sequence[FetchedImage], model: LazyDetector) -> list[LabelledImage | FailedImage]:
        """An outcome an image: a batch that raises is halved until the image that fails is alone."""
        size = self._safe_batch_size
        if len(images) > size:
            return [
                result
                for start in range(0, len(images), size)
                for result in self._detect(images[start : start + size], model)
            ]
        if not images:
            return []
        try:
            return self._call(images, model)
        except DetectorLoadError:
            raise
        except Exception as error:
            if self._share_across_processes and isinstance(error, (ConnectionError, EOFError)):
                raise DetectorLostError("the process that runs the shared detector has ended") from error
            if len(images) == 1:
                kind = "out_of_memory" if isinstance(error, MemoryError) else "inference"
                [image] = images
                return [FailedImage(image.reference, image.facts, kind, f"{type(error).__name__}: {error}")]
            _log.warning("A batch of %d images failed (%s); trying its halves.", len(images), type(error).__name__)
            ran_out = isinstance(error, MemoryError)
        middle = len(images) // 2  # outside the handler of the error, whose traceback holds on to what didn't fit
        results = self._detect(images[:middle], model) + self._detect(images[middle:], model)
        if ran_out and not any(isinstance(r, FailedImage) and r.kind == "out_of_memory" for r in results):
            # Else it was that image, which doesn't fit alone either, and says nothing of batches.
            self._safe_batch_size = min(self._safe_batch_size, len(images) - middle)
        return results

    def _call(self, images: Sequence[FetchedImage], model: LazyDetector) -> list[LabelledImage | FailedImage]:
        """One call of the model."""
        Metrics.counter(METRICS_NAMESPACE, "model_images").inc(len(images))
        pixels = [image.pixels for image in images]
        image_ids = [image.reference.image_id for image in images]
        boxes = None
        if images[0].reference.boxes is not None:  # of all, or of none
            boxes = [
                i.area.from_image(i.reference.boxes.normalised_yxyx((i.facts.height, i.facts.width))) for i in images
            ]
        found = model.detect(pixels, image_ids, boxes)
        if len(found) != len(images):
            raise InvalidDetections(f"the detector gave {len(found)} results for {len(images)} images")
        return [
            LabelledImage(image.reference, image.facts, _in_image(detections, image.area))
            for detections, image in zip(found, images)
        ]

    def get_num_bytes(self, batch: Sequence[FetchOutcome]) -> int:
        return sum(image.num_bytes_in_memory for image in batch)  # the default pickles every image to learn its size

    def batch_elements_kwargs(self) -> dict[str, Any]:
        # A batch is full at `batch_size` images or at MAX_BATCH_BYTES of pixels, whichever comes first.
        units = self._batch_size * 1024
        return {
            "min_batch_size": units,
            "max_batch_size": units,
            "element_size_fn": _ElementSize(units, self._batch_size),
        }

    def share_model_across_processes(self) -> bool:
        return self._share_across_processes

    def model_copies(self) -> int:
        return self._copies

    def get_metrics_namespace(self) -> str:
        return METRICS_NAMESPACE


def _in_image(detections: Detections, area: ImageArea) -> Detections:
    """Detections in the pixels that the detector was given, as detections in the full image."""
    return detections if area == WHOLE else replace(detections, boxes_yxyx=area.to_image(detections.boxes_yxyx))


class _ElementSize:
    """An image's share of a full batch, in `units`: by count or by bytes, whichever is more."""

    def __init__(self, units: int, batch_size: int):
        self._units = units
        self._by_count = -(-units // batch_size)

    def __call__(self, image: FetchOutcome) -> int:
        by_bytes = image.num_bytes_in_memory * self._units // MAX_BATCH_BYTES
        return min(self._units, max(self._by_count, by_bytes))


class Detect(beam.PTransform):
    """Labelled images of fetched ones, one for one; failed images pass through."""

    def __init__(self, handler: DetectorHandler):
        super().__init__()
        self._handler = handler

    def expand(self, images: beam.PCollection[FetchOutcome]) -> beam.PCollection[DetectOutcome]:
        return images | RunInference(self._handler)
