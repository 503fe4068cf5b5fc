"""LabelImages: labelling as one step of anybody's Beam pipeline; and LabelReferences, the same step of a job."""

from collections.abc import Mapping
from typing import cast

import apache_beam as beam

from ..labelset.rows import ImageRows
from ..storage.errors import UsageError
from ..transforms.detect import Detect, DetectorHandler
from ..transforms.elements import ImageReference
from ..transforms.execution_options import ExecutionOptions
from ..transforms.fetch_images import FetchImages
from ..transforms.skip_labelled import DistinctImages
from ..transforms.sources.carry import CarriedType
from ..transforms.to_rows import ToRows, rows_as_dicts
from ..transforms.workers.driver_link import DriverLink
from .label_config import PreparedLabelConfig, prepare_label_config
from .running.beam_options import processes_per_machine
from .settings import LabelConfig


class LabelReferences(beam.PTransform):
    """ImageReferences in, ImageRows out, one for one: fetch, detect, make rows. One fused stage; pixels are never
    shuffled.

    Args:
      label_config: from `prepare_label_config`.
      execution: how the work is done.
      output: the output folder below which journals of the images in flight are kept (`workers/in_flight.py`);
        None where none is kept.
      link: tells when the job is to stop.
      carry: further columns of `images`, in the order of `ImageReference.carried`, and their types.
    """

    def __init__(
        self,
        label_config: PreparedLabelConfig,
        execution: ExecutionOptions = ExecutionOptions(),
        output: str | None = None,
        link: DriverLink = DriverLink(),
        carry: Mapping[str, CarriedType] | None = None,
    ):
        super().__init__()
        self._carry = carry or {}
        self._label_config = label_config
        self._execution = execution
        self._output = output
        self._link = link

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageRows]:
        detector = self._label_config.detector
        handler = DetectorHandler(
            detector,
            self._execution.max_batch_size,
            self._execution.share_model,
            self._output,
            self._execution.model_copies,
            self._execution.model_timeout_s,
            self._link,
        )
        rows_of_images = (
            references
            | FetchImages(
                self._execution,
                self._label_config.decode_options(self._execution.max_pixels, self._execution.exif_columns),
                output=self._output,
                link=self._link,
                detector=handler.key,
            )
            | Detect(handler, detector.config.labels)
            | ToRows(self._label_config.row_options(self._carry))
        )
        return cast(beam.PCollection[ImageRows], rows_of_images)


class LabelImages(beam.PTransform):
    """Labels a PCollection of image URIs: one step of a Beam pipeline of one's own.

    Each distinct URI gives exactly one row in `images`, whether it could be labelled or not. For a job that survives a
    crash and can be added to later, use `labelbeam.label`, which keeps an output folder.

    Args:
      config: what decides the labels; mask format `rle` or `none`, and no box prompts.
      execution: how the work is done.

    Returns:
      A dict of PCollections of rows, one a table: `images`, `detections`, `masks` if the detector gives masks,
        `tensors` if `config.keep` names outputs. A row is a dict of plain Python values with the columns of
        docs/tables.md: boxes as `ymin, xmin, ymax, xmax` in [0, 1] and `x, y, w, h` in pixels, scores in [0, 1].

    Raises:
      UsageError: if the configuration can't be used: now if its values say so, and as the step is applied if the
        detector can't be found or its weights aren't right.

    Example:
      >>> with beam.Pipeline(runner="FnApiRunner") as pipeline:
      ...     uris = pipeline | beam.Create(["photos/absent.jpg"])
      ...     tables = uris | labelbeam.LabelImages(labelbeam.LabelConfig("demo", min_score=0.5))
      ...     _ = tables["images"] | beam.Map(lambda row: print(row["status"], row["error_kind"]))
      failed not_found
    """

    def __init__(self, config: LabelConfig, execution: ExecutionOptions = ExecutionOptions()):
        super().__init__()
        if config.mask_format == "png":
            raise UsageError("LabelImages gives rows, not files: use mask_format 'rle' or 'none'")
        if config.boxes:
            raise UsageError(
                "LabelImages can't join tables of boxes: use `labelbeam.label`, or LabelReferences with references "
                "that carry their boxes"
            )
        self._config = config
        self._execution = execution

    def expand(self, uris: beam.PCollection[str]) -> dict[str, beam.PCollection[dict]]:
        prepared = prepare_label_config(
            self._config, self._execution, processes=processes_per_machine(uris.pipeline.options)
        )
        rows = (
            uris
            | beam.Map(ImageReference).with_output_types(ImageReference)
            | DistinctImages()
            | LabelReferences(prepared, self._execution)
        )
        return {
            table: cast(beam.PCollection[dict], rows | table >> beam.FlatMap(rows_as_dicts, table))
            for table in prepared.tables
        }
