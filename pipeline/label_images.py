"""LabelImages: labelling as one step of anybody's pipeline.

    from labelbeam.pipeline.label_images import LabelImages
    from labelbeam.pipeline.label_config import prepare_label_config

    with beam.Pipeline() as p:
        tables = p | beam.Create(uris) | LabelImages(prepare_label_config("demo"))
        tables["detections"] | beam.io.WriteToParquet("detections", schemas.DETECTIONS)

Not for a job that is to survive a crash or to be added to later: `labelbeam label` (pipeline/job.py) keeps an output folder.
"""

import time
from dataclasses import dataclass

import apache_beam as beam

from ..detectors.weights.stores import StoredDetector
from ..labelset.rows import ImageRows
from ..transforms.detect import Detect, DetectorHandler
from ..transforms.elements import ImageReference
from ..transforms.fetch_images import FetchImages, FetchOptions
from ..transforms.skip_labelled import DistinctImages
from ..transforms.to_rows import RowOptions, ToRows, rows_as_dicts
from ..transforms.workers.driver_link import DriverLink
from .label_config import LabelConfig

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class ExecutionOptions:
    """How the work is done, which doesn't change what comes out.

    Attributes:
      batch_size: images handed to the detector at a time.
      share_model: one loaded detector for all processes of a machine, instead of one each.
      model_copies: with `share_model`, so many of them, which take turns.
      fetch: threads, limits and deadlines of reading.
    """

    batch_size: int = 16
    share_model: bool = False
    model_copies: int = 1
    fetch: FetchOptions = FetchOptions()


class LabelReferences(beam.PTransform):
    """ImageReferences in, ImageRows out, one for one: fetch, detect, make rows. One fused stage; pixels are never shuffled.

    Args:
      labelling: from `prepare_label_config`.
      pace: how the work is done.
      output: the output folder with which notes are kept on images of which a process dies, so that the next start knows them;
        None where none is kept.
      link: tells when to begin nothing new.
    """

    def __init__(
        self,
        label_config: LabelConfig,
        execution: ExecutionOptions = ExecutionOptions(),
        output: str | None = None,
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._label_config = label_config
        self._execution = execution
        self._output = output
        self._link = link

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageRows]:
        detector = self._label_config.detector
        rows = RowOptions(detector.config.labels, self._label_config.mask_format if detector.has_masks else "none")
        handler = DetectorHandler(
            StoredDetector(detector),
            self._execution.batch_size,
            self._execution.share_model,
            self._output,
            self._execution.model_copies,
        )
        return (
            references
            | beam.Filter(_UntilStopped(self._link)).with_output_types(ImageReference)
            | FetchImages(self._execution.fetch, self._label_config.decode, output=self._output)
            | Detect(handler)
            | ToRows(rows)
        )


class _UntilStopped:
    """True for references until the job is asked to stop: what is under way then ends, and nothing new begins.

    Looks ten times a second: a system call an image makes threads that read wait for each other.
    """

    def __init__(self, link: DriverLink):
        self._link = link
        self._stopping = False
        self._next_look = 0.0

    def __call__(self, reference: ImageReference) -> bool:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look, self._stopping = now + _LOOK_EVERY_S, self._link.is_stopping()
        return not self._stopping


class LabelImages(beam.PTransform):
    """A PCollection of URIs in, a dict of PCollections of rows (dicts) out: `images`, `detections`, `masks`, `tensors`.

    Each distinct URI gives exactly one row in `images`, whether it could be labelled or not. The rows' columns are those of
    `labelset/schemas.py`. PNG masks need an output folder and so aren't offered here.

    Args:
      labelling: from `prepare_label_config`.
      pace: how the work is done.

    Raises:
      ValueError: if the label set's mask format is `png`, or it has boxes of its own.
    """

    def __init__(self, label_config: LabelConfig, execution: ExecutionOptions = ExecutionOptions()):
        super().__init__()
        if label_config.mask_format == "png":
            raise ValueError("LabelImages gives rows, not files: use mask_format 'rle' or 'none'")
        if label_config.boxes is not None:
            raise ValueError(
                "LabelImages can't join tables of boxes: use `labelbeam label --boxes`, or LabelReferences with "
                "references that carry their boxes"
            )
        self._label_config = label_config
        self._execution = execution

    def expand(self, uris: beam.PCollection[str]) -> dict[str, beam.PCollection[dict]]:
        rows = (
            uris
            | beam.Map(ImageReference).with_output_types(ImageReference)
            | DistinctImages()
            | LabelReferences(self._label_config, self._execution)
        )
        return {table: rows | table >> beam.FlatMap(rows_as_dicts, table) for table in self._label_config.tables}
