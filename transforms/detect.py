"""Detect: runs a detector over decoded images through Beam's RunInference. The only place where Beam and detectors
meet.

The model has a batch while the next one is brought together: RunInference gives calls that haven't begun, and the step
behind it runs them in a thread of its own, one at a time. Otherwise a fast device would wait for Beam after each batch.
"""

import functools
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.utils.windowed_value import WindowedValue

from ..detectors.protocol import Detections, InvalidDetections
from . import coders
from .decode.image_area import WHOLE, ImageArea
from .elements import METRICS_NAMESPACE, DetectOutcome, FailedImage, FetchedImage, FetchOutcome, LabelledImage
from .workers.batches import Batches
from .workers.driver_link import DriverLink
from .workers.in_flight import in_flight_of
from .workers.loaded_detector import DetectorLoader, DetectorLostError, LoadedDetector, StoppingError
from .workers.own_thread import OwnThread

MAX_BYTES_AHEAD = 128 << 20  # of pixels that the model has while the next batch is brought together

DEVICE = "model_device_"  # name of a counter, before that of a device: loads there
MODEL_US = "model_call_us"  # name of a distribution: what calls of the model take, by the clock
_KEPT = Metrics.counter(METRICS_NAMESPACE, "detections_kept")
_DROPPED = Metrics.counter(METRICS_NAMESPACE, "detections_dropped")
_UNNAMED = Metrics.counter(METRICS_NAMESPACE, "detections_unnamed")


class Detect(beam.PTransform):
    """Batches of labelled images of batches of fetched ones, one for one; failed images pass through.

    When the job is to stop, the batch that the model has is finished, and others are dropped.

    Args:
      handler: loads and runs the detector.
      named_classes: ids of the label map; detections of others are counted. Empty counts none.
    """

    def __init__(self, handler: "DetectorHandler", named_classes: Collection[int] = ()):
        super().__init__()
        self._handler = handler
        self._named_classes = frozenset(named_classes)

    def expand(self, batches: beam.PCollection[list[FetchOutcome]]) -> beam.PCollection[list[DetectOutcome]]:
        calls: Any = batches | RunInference(self._handler).with_output_types(ModelCall)
        return calls | "Run" >> beam.ParDo(_RunCallsFn(self._named_classes))  # pyright: ignore[reportReturnType]  # its annotation says PValue


@dataclass(eq=False)
class ModelCall:
    """A batch for the model.

    Attributes:
      images: of the batch.
      model: has them.
      run: what becomes of each image, in their order; None if the job is to stop. Raises what is no image's fault.
    """

    images: Sequence[FetchOutcome]
    model: LoadedDetector
    run: Callable[[], list[DetectOutcome] | None]

    @property
    def num_bytes_in_memory(self) -> int:
        """Of the images."""
        return sum(image.num_bytes_in_memory for image in self.images)


beam.coders.registry.register_coder(ModelCall, coders.InMemoryCoder)


class DetectorHandler(ModelHandler[FetchOutcome, ModelCall, LoadedDetector]):
    """RunInference's handler for any `Detector`: makes calls of the model that have yet to be run.

    What it gives for a batch is one element again: one an image would cost each step behind it more than its own work.

    It has no resource hints of its own: runners don't fuse steps whose hints differ, and pixels would cross a shuffle.
    The pipeline's `--resource_hint` says what its workers need; what a loaded detector holds is a metric.

    Args:
      loader: loads the detector on the worker.
      batch_size: images a call of `Detector.detect` at most.
      share_across_processes: one loaded detector a machine, which its other processes call through a proxy. Pixels are
        pickled on the way, so only where a second copy doesn't fit.
      output: the output folder below which journals are kept (`workers/in_flight.py`); None keeps none.
      copies: of a detector that is shared: so many a machine, whose calls take turns.
      timeout_s: seconds after which a call of the model that hasn't ended ends the process; None for never.
      link: tells when the job is to stop.
    """

    def __init__(
        self,
        loader: DetectorLoader,
        batch_size: int,
        share_across_processes: bool = False,
        output: str | None = None,
        copies: int = 1,
        timeout_s: float | None = None,
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._loader = loader
        self._batch_size = batch_size
        self._share_across_processes = share_across_processes
        self._output = output
        self._copies = copies
        self._timeout_s = timeout_s
        self._is_stopping = link.stop_check()
        self._batches: Batches | None = None  # made on the worker
        self._key = None if share_across_processes else uuid.uuid4().hex

    @property
    def key(self) -> str | None:
        """By which `FetchImages` finds the detector in its own process; None of one that processes share, where
        prepared images would be pickled on their way.
        """
        return self._key

    def load_model(self) -> LoadedDetector:
        return LoadedDetector(self._loader, self._output, self._timeout_s, self._key)

    def run_inference(
        self, batch: Sequence[FetchOutcome], model: LoadedDetector, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ModelCall]:
        yield ModelCall(batch, model, functools.partial(self._run, batch, model))

    def _run(self, batch: Sequence[FetchOutcome], model: LoadedDetector) -> list[DetectOutcome] | None:
        if self._batches is None:
            self._batches = Batches(max(1, int(self._batch_size * in_flight_of(self._output).budget_share)))
        decoded = [image for image in batch if isinstance(image, FetchedImage)]
        try:
            results = iter(self._batches.run(decoded, lambda images: self._call(images, model)))
        except StoppingError:
            return None
        return [image if isinstance(image, FailedImage) else next(results) for image in batch]

    def _call(self, images: Sequence[FetchedImage], model: LoadedDetector) -> list[LabelledImage]:
        """One call of the model."""
        if self._is_stopping():
            raise StoppingError("the job was asked to stop")
        pixels = [image.pixels for image in images]
        try:
            found = model.detect(pixels, [image.reference for image in images], box_prompts(images))
        except (ConnectionError, EOFError) as error:
            if self._share_across_processes:
                raise DetectorLostError("the process that runs the shared detector has ended") from error
            raise
        return labelled(images, found)

    def get_num_bytes(self, batch: Sequence[FetchOutcome]) -> int:
        return sum(image.num_bytes_in_memory for image in batch)  # the default pickles every image to learn its size

    def should_skip_batching(self) -> bool:
        return True  # `FetchImages` gives batches

    def share_model_across_processes(self) -> bool:
        return self._share_across_processes

    def model_copies(self) -> int:
        return self._copies

    def get_metrics_namespace(self) -> str:
        return METRICS_NAMESPACE


@beam.typehints.with_input_types(ModelCall)
@beam.typehints.with_output_types(list[DetectOutcome])
class _RunCallsFn(beam.DoFn):
    """Runs each call, and puts out its images when the next one comes, or the bundle ends.

    A batch of many bytes is waited for at once: memory must not hold the next one as well.
    """

    def __init__(self, named_classes: frozenset[int]):
        self._named_classes = named_classes

    def setup(self):
        self._thread = OwnThread("labelbeam-model")

    def start_bundle(self):
        self._running: tuple[Future, LoadedDetector, WindowedValue] | None = None

    def process(self, call: ModelCall, placed: Any = beam.DoFn.WindowedValueParam):
        finished = self._finished()
        outcomes = self._thread.call(functools.partial(_timed, call.run))
        self._running = outcomes, call.model, placed.with_value(None)
        yield from finished
        if call.num_bytes_in_memory > MAX_BYTES_AHEAD:
            yield from self._finished()

    def finish_bundle(self):
        yield from self._finished()

    def teardown(self):
        if hasattr(self, "_thread"):
            self._thread.close()

    def _finished(self) -> list[WindowedValue]:
        """The images of the call that was begun last, when it has ended."""
        if self._running is None:
            return []
        running, model, placed = self._running
        self._running = None
        outcomes, seconds = running.result()
        _count_load(model)
        if outcomes is None:
            return []
        Metrics.distribution(METRICS_NAMESPACE, MODEL_US).update(int(seconds * 1e6))
        _count(outcomes, self._named_classes)
        return [placed.with_value(outcomes)]


def _timed(run: Callable[[], list[DetectOutcome] | None]) -> tuple[list[DetectOutcome] | None, float]:
    """What it returns, and the seconds that it took."""
    began = time.monotonic()
    return run(), time.monotonic() - began


def _count(outcomes: Sequence[DetectOutcome], named_classes: frozenset[int]) -> None:
    """In the thread of the bundle: Beam knows of no others' counters."""
    found = [outcome.detections for outcome in outcomes if isinstance(outcome, LabelledImage)]
    if not found:
        return
    _KEPT.inc(sum(map(len, found)))
    _DROPPED.inc(sum(one.num_dropped for one in found))
    if named_classes:
        class_ids = np.concatenate([one.class_ids for one in found]).tolist()
        if not named_classes.issuperset(class_ids):  # of a batch at once: rarely is there one
            _UNNAMED.inc(sum(class_id not in named_classes for class_id in class_ids))


def _count_load(model: LoadedDetector) -> None:
    load = model.take_load()
    if load is not None:
        Metrics.counter(METRICS_NAMESPACE, "model_loads").inc()
        Metrics.distribution(METRICS_NAMESPACE, "model_load_ms").update(int(load.seconds * 1000))
        Metrics.distribution(METRICS_NAMESPACE, "model_resident_bytes").update(load.resident_bytes)
        if load.device:
            Metrics.counter(METRICS_NAMESPACE, f"{DEVICE}{load.device}").inc()


def box_prompts(images: Iterable[FetchedImage]) -> list[np.ndarray] | None:
    """Each image's box prompts, normalised to the pixels that the detector gets; None if the images have none."""
    found = []
    for image in images:
        prompts, facts = image.reference.boxes, image.facts
        if prompts is not None:  # of all images of a job, or of none
            assert facts.height is not None and facts.width is not None, "of decoded images"
            found.append(image.area.from_image(prompts.normalised_yxyx((facts.height, facts.width))))
    return found or None


def labelled(images: Sequence[FetchedImage], found: Sequence[Detections]) -> list[LabelledImage]:
    """Images with what the detector found in the pixels of each.

    Raises:
      InvalidDetections: if it gave another number of results.
    """
    if len(found) != len(images):
        raise InvalidDetections(f"the detector gave {len(found)} results for {len(images)} images")
    return [
        LabelledImage(image.reference, image.facts, _in_image(detections, image.area))
        for detections, image in zip(found, images, strict=True)
    ]


def _in_image(detections: Detections, area: ImageArea) -> Detections:
    """Detections in the pixels that the detector was given, as detections in the full image."""
    if area == WHOLE:
        return detections
    mask_boxes = detections.mask_boxes_yxyx
    return replace(
        detections,
        boxes_yxyx=area.to_image(detections.boxes_yxyx),
        mask_boxes_yxyx=None if mask_boxes is None else area.to_image(mask_boxes),
    )
