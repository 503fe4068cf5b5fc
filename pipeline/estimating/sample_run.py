"""Times a few images on their way through a job's own steps, in this process: what `estimate.py` makes forecasts of.

The detector is loaded by the first run and kept for the next, so that those time the images alone. Not a benchmark of
the
detector: reading, decoding, masks and tables are in the times, as they are in a job.
"""

import os
import pickle
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from ...detectors.load import DetectorSpec
from ...detectors.protocol import Detector
from ...labelset.begin import begin_job
from ...storage.temporary import temporary_folder
from ...transforms.coders import ImageReferenceCoder
from ...transforms.detect import MODEL_US
from ...transforms.elements import METRICS_NAMESPACE, ImageReference
from ...transforms.group_by_chunk import GroupByChunk
from ...transforms.write_parts import WriteParts
from ..job import Job
from ..label_images import LabelReferences
from ..running.beam_folder import keep_in

_kept: dict[DetectorSpec, Detector] = {}


class _KeptDetector(DetectorSpec):
    """A `DetectorSpec` whose detector is loaded once in this process, whatever pipelines it is used in."""

    def load(self) -> Detector:
        if self not in _kept:
            _kept[self] = super().load()
        return _kept[self]

    def __hash__(self) -> int:
        return hash(self.fingerprint)


@dataclass(frozen=True)
class SampleRun:
    """What some images cost.

    Attributes:
      images: how many.
      total_s: wall time of the pipeline, from its construction to its end.
      steps_s: of that, from the first image's being asked for until the last one's rows are in a file.
      finished_s: for each image when the model was done with it, in seconds from the start of the steps, in order.
      num_bytes: of each image's file; images that weren't read count 0.
      failures: failed images by error kind.
      model_s: wall time in the model's calls.
      table_bytes: of the tables' columns and of PNG masks, without the files' headers.
    """

    images: int
    total_s: float
    steps_s: float
    finished_s: Sequence[float]
    num_bytes: Sequence[int]
    failures: dict[str, int]
    table_bytes: int
    model_s: float = 0.0


def keeping_detector(job: Job) -> Job:
    """The same job, whose detector stays loaded between runs."""
    detector = job.label_config.detector
    kept = _KeptDetector(**{field.name: getattr(detector, field.name) for field in fields(DetectorSpec)})
    return replace(job, label_config=replace(job.label_config, detector=kept))


def run_sample(job: Job, references: Sequence[ImageReference], options: PipelineOptions) -> SampleRun:
    """Labels images as a job would, into a temporary folder.

    Args:
      job: says how; its inputs and output aren't touched.
      references: at least one.
      options: of a runner that works in this process.

    Raises:
      Exception: whatever stops the pipeline, as a detector that can't be loaded.
    """
    with temporary_folder("estimate") as folder:
        output, began, written = (os.path.join(folder, name) for name in ("out", "began", "written"))
        begun = begin_job(output, job.job_id, job.label_config.label_set)
        started = time.monotonic()
        with keep_in(folder, beam.Pipeline(options=options)) as pipeline:
            _ = (
                pipeline
                | beam.Create([pickle.dumps(list(references))], reshuffle=False)
                | beam.FlatMap(pickle.loads).with_output_types(ImageReference)
                | "Encode" >> beam.Map(ImageReferenceCoder().encode).with_output_types(bytes)
                | GroupByChunk()
                | "Began" >> beam.ParDo(_NoteTimes(began)).with_output_types(ImageReference)
                | LabelReferences(job.label_config, job.spec.execution, output)
                | WriteParts(begun, job.label_config.tables, job.spec.execution)
                | "Written" >> beam.ParDo(_NoteTimes(written))
            )
        total_s = time.monotonic() - started
        start = _times(began)[0]
        images = pq.read_table(os.path.join(output, "images"), columns=["num_bytes", "error_kind", "labelled_at"])
        labelled = np.sort(images.column("labelled_at").cast(pa.int64()).to_numpy()) / 1e6
        return SampleRun(
            images=images.num_rows,
            total_s=total_s,
            steps_s=float(_times(written)[-1] - start),
            finished_s=(labelled - start).tolist(),
            num_bytes=[num_bytes or 0 for num_bytes in images.column("num_bytes").to_pylist()],
            failures=dict(Counter(kind for kind in images.column("error_kind").to_pylist() if kind is not None)),
            table_bytes=sum(map(_content_bytes, Path(output).rglob("*.*"))),
            model_s=_model_seconds(pipeline.result),
        )


def _model_seconds(result) -> float:
    """That calls of the model took."""
    calls = MetricsFilter().with_namespace(METRICS_NAMESPACE).with_name(MODEL_US)
    found = result.metrics().query(calls)["distributions"]
    return sum(distribution.result.sum for distribution in found) / 1e6


class _NoteTimes(beam.DoFn):
    """Passes elements on, and writes to a file when each of them came by, in seconds since 1970: tables tell times
    so."""

    def __init__(self, path: str):
        self._path = path

    def setup(self):
        self._file = open(self._path, "ab")  # noqa: SIM115  closed by teardown

    def teardown(self):
        self._file.close()

    def process(self, element):
        self._file.write(np.float64(time.time()).tobytes())
        yield element

    def finish_bundle(self):
        self._file.flush()


def _times(path: str) -> np.ndarray:
    return np.sort(np.fromfile(path, np.float64))


def _content_bytes(path: Path) -> int:
    """Of a Parquet file what grows with its rows, of others everything."""
    if path.suffix != ".parquet":
        return path.stat().st_size if path.suffix == ".png" else 0
    metadata = pq.read_metadata(path)
    return sum(
        metadata.row_group(group).column(column).total_compressed_size
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
