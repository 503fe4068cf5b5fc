"""`labelbeam estimate`: how long a job would take on some workers, how many worker hours, and what they would cost.

Lists the inputs as the job does, labels a random sample of them (`sample_run.py`), and adds up: listing once, starting
once a worker, and so much for every image. docs/estimating.md says what that leaves out.
"""

import hashlib
import heapq
import math
import pickle
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from ...detectors.device_share import processors
from ...results.text import counted
from ...storage.errors import UsageError
from ...storage.temporary import temporary_folder
from ...transforms.elements import ImageReference
from ...transforms.skip_labelled import ListedCounts
from ..job import Job, list_todo
from ..running.beam_folder import keep_in
from .feeding import Feeding, describe_feeding, measure_feeding
from .sample_run import SampleRun, keeping_detector, run_sample

MIN_SAMPLE_S = 10.0  # a shorter run is repeated with more images: starting and ending would be too much of it
MAX_SAMPLE_FACTOR = 20  # times as many at most
MAX_GROUPS = 20  # of images, whose times are compared
RUNNER = "FnApiRunner"


class Mean(NamedTuple):
    """A mean of a sample and its uncertainty: two standard errors, 0 where the sample is too small to tell."""

    value: float
    uncertainty: float


class Listed(NamedTuple):
    """What a job would find: counts, seconds that listing takes, a random sample of what is still to be labelled."""

    counts: ListedCounts
    seconds: float
    sample: list[ImageReference]


@dataclass(frozen=True)
class Forecast:
    """Of a job on a number of workers: wall time, with its uncertainty, and worker hours; None without a price."""

    workers: int
    seconds: float
    uncertainty_s: float
    worker_hours: float
    price: float | None


@dataclass(frozen=True)
class Estimate:
    """What a job would cost.

    Attributes:
      detector: its name.
      listed, skipped, todo: images; skipped are those labelled already in the job's output folder.
      sampled: images that were timed.
      failures: of these, failed ones by error kind.
      list_s: seconds that listing takes, once a job.
      start_s: seconds until a worker is at work: the detector loaded, its first call done.
      image_s: seconds an image, from then on.
      read_bytes, table_bytes: of the whole job.
      processors: of this machine, which a worker is taken to be like.
      feeding: whether a device would wait for such a host; None if no image could be decoded.
      forecasts: one for each number of workers.
    """

    detector: str
    listed: int
    skipped: int
    todo: int
    sampled: int
    failures: dict[str, int]
    list_s: float
    start_s: float
    image_s: Mean
    read_bytes: Mean
    table_bytes: float
    processors: int
    feeding: Feeding | None
    forecasts: tuple[Forecast, ...]


def make_estimate(
    job: Job, options: PipelineOptions, sample: int, seed: int, workers: Sequence[int], price_per_hour: float | None
) -> Estimate:
    """Measures and forecasts.

    Args:
      job: what would be done.
      options: of a runner in this process.
      sample: images to time at least, if there are as many.
      seed: of the sample.
      workers: numbers of machines to forecast for.
      price_per_hour: of a worker.

    Raises:
      UsageError: if there is nothing to label.
    """
    job = keeping_detector(job)
    listed = list_with_sample(job, options, job.spec.execution.max_batch_size + sample * (1 + MAX_SAMPLE_FACTOR), seed)
    todo = listed.counts.listed - listed.counts.skipped
    if not todo:
        raise UsageError(
            f"nothing to label: {counted(listed.counts.listed, 'image')} listed"
            + (f", and all are labelled in {job.spec.output}" if listed.counts.listed else "")
        )
    first, measured = time_sample(job, listed.sample, sample, options)
    image_s = seconds_an_image(measured, job.spec.execution.max_batch_size)
    start_s = max(0.0, first.total_s - first.images * image_s.value)
    num_bytes = _mean(measured.num_bytes)
    return Estimate(
        detector=job.label_config.detector.config.name,
        listed=listed.counts.listed,
        skipped=listed.counts.skipped,
        todo=todo,
        sampled=measured.images,
        failures=measured.failures,
        list_s=listed.seconds,
        start_s=start_s,
        image_s=image_s,
        read_bytes=Mean(num_bytes.value * todo, num_bytes.uncertainty * todo),
        table_bytes=measured.table_bytes / measured.images * todo,
        processors=processors(),
        feeding=_feeding(job, listed.sample, measured),
        forecasts=tuple(_forecast(count, todo, listed.seconds + start_s, image_s, price_per_hour) for count in workers),
    )


def _feeding(job: Job, sample: Sequence[ImageReference], measured: SampleRun) -> Feeding | None:
    called = measured.images - sum(measured.failures.values())
    if not called or not measured.model_s:
        return None
    return measure_feeding(job, sample[::-1], 1000 * measured.model_s / called)


def list_with_sample(job: Job, options: PipelineOptions, size: int, seed: int) -> Listed:
    """Lists the images as the job does, and draws `size` of those that are still to be labelled."""
    with temporary_folder("estimate") as folder:
        counts, sample = Path(folder, "counts"), Path(folder, "sample")
        started = time.monotonic()
        with keep_in(folder, beam.Pipeline(options=options)) as pipeline:
            todo = list_todo(pipeline, job, job.spec.output, job.label_config.boxes)
            _ = todo["counts"] | "Counts" >> beam.Map(_save, str(counts))
            _ = todo["references"] | beam.CombineGlobally(_Draw(size, seed)) | "Sample" >> beam.Map(_save, str(sample))
        return Listed(pickle.loads(counts.read_bytes()), time.monotonic() - started, pickle.loads(sample.read_bytes()))


def _save(element: Any, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(element))


class _Draw(beam.CombineFn):
    """A random sample: the references whose hashes with the seed are the smallest. The same one each time, whatever the
    runner does, in memory that depends on its size alone."""

    def __init__(self, size: int, seed: int):
        self._size = size
        self._key = seed.to_bytes(16, "little", signed=True)

    def create_accumulator(self) -> list[tuple[bytes, ImageReference]]:
        return []

    def add_input(self, drawn, reference: ImageReference):
        drawn.append((hashlib.blake2b(reference.image_id.encode(), key=self._key, digest_size=16).digest(), reference))
        return drawn if len(drawn) < 2 * self._size + 1000 else self.compact(drawn)

    def merge_accumulators(self, accumulators):
        return self.compact([pair for drawn in accumulators for pair in drawn])

    def compact(self, drawn):
        return heapq.nsmallest(self._size, drawn, key=lambda pair: pair[0])

    def extract_output(self, drawn) -> list[ImageReference]:
        return [reference for _, reference in self.compact(drawn)]


def time_sample(
    job: Job, sample: Sequence[ImageReference], size: int, options: PipelineOptions
) -> tuple[SampleRun, SampleRun]:
    """The run that starts the detector, over one batch, and the one that counts, over other images if there are
    enough."""
    batch = job.spec.execution.max_batch_size
    first = run_sample(job, sample[:batch], options)
    rest = sample[batch:] or sample
    measured = run_sample(job, rest[:size], options)
    more = min(len(rest) - size, math.ceil(size * MIN_SAMPLE_S / measured.steps_s))
    if measured.steps_s < MIN_SAMPLE_S and more > size:
        measured = run_sample(job, rest[size : size + more], options)
    return first, measured


def seconds_an_image(run: SampleRun, batch_size: int) -> Mean:
    """Of a run, by the method of batch means: images that come one after the other share batches of the model and each
    other's waiting times, so it is groups of them, one or more whole batches each, that are compared."""
    mean = run.steps_s / run.images
    group_size = batch_size * math.ceil(run.images / batch_size / MAX_GROUPS)
    ends = [*range(group_size, run.images, group_size), run.images]
    groups = len(ends)
    if groups == 1:
        return Mean(mean, 0.0)
    sizes = [end - start for start, end in zip([0, *ends], ends)]
    times = [run.finished_s[end - 1] for end in ends[:-1]] + [run.steps_s]
    residuals = [end - start - mean * size for start, end, size in zip([0.0, *times], times, sizes)]
    error = math.sqrt(sum(residual**2 for residual in residuals) / (groups - 1) / groups) / (run.images / groups)
    return Mean(mean, 2 * error)


def _mean(values: Sequence[float]) -> Mean:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Mean(statistics.fmean(values), 2 * error)


def _forecast(workers: int, images: int, fixed_s: float, image_s: Mean, price_per_hour: float | None) -> Forecast:
    images_each = math.ceil(images / workers)
    seconds = fixed_s + images_each * image_s.value
    hours = workers * seconds / 3600
    return Forecast(
        workers,
        seconds,
        images_each * image_s.uncertainty,
        hours,
        None if price_per_hour is None else hours * price_per_hour,
    )


def describe(estimate: Estimate) -> str:
    """The estimate for a person."""
    skipped = f" ({estimate.listed:,} listed, {estimate.skipped:,} labelled already)" if estimate.skipped else ""
    image_ms, image_ms_uncertainty = (1000 * value for value in estimate.image_s)
    failed = sum(estimate.failures.values())
    an_image = f"{image_ms:,.3g} ms ± {image_ms_uncertainty:,.2g}"
    timed = f"{estimate.sampled:,} of them with {estimate.detector} on this machine"
    lines = [
        f"{counted(estimate.todo, 'image')} to label{skipped}; listing takes {rounded_duration(estimate.list_s)}.",
        f"  timed       {timed} ({estimate.processors} processors)",
        f"  an image    {an_image}; before the first, {rounded_duration(estimate.start_s)}",
        f"  to read     {_size(estimate.read_bytes.value)} ± {_size(estimate.read_bytes.uncertainty)}",
        f"  tables      {_size(estimate.table_bytes)}",
    ]
    if estimate.feeding is not None:
        lines[3:3] = describe_feeding(estimate.feeding)
    if failed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(estimate.failures.items()))
        lines.append(f"  failed      {failed:,} of those timed ({kinds})")
    lines.append("")
    lines += _table(
        [
            ["workers", "time", "", "worker hours", *["price"] * (estimate.forecasts[0].price is not None)],
            *(_row(forecast) for forecast in estimate.forecasts),
        ]
    )
    return "\n".join(lines)


def _row(forecast: Forecast) -> list[str]:
    price = [] if forecast.price is None else [f"{forecast.price:,.2f}"]
    return [
        f"{forecast.workers:,}",
        rounded_duration(forecast.seconds),
        f"± {rounded_duration(forecast.uncertainty_s)}",
        f"{forecast.worker_hours:,.3g}" if forecast.worker_hours < 100 else f"{forecast.worker_hours:,.0f}",
        *price,
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def rounded_duration(seconds: float) -> str:
    """For a person, with as many digits as a forecast is good for: `9.9 s`, `2 min`, `1.9 h`, `12.3 days`."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = round(seconds / 3600, 1)
    return f"{hours:.1f} h" if hours < 72 else f"{seconds / 86400:,.1f} days"


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:,.0f} {unit}" if num_bytes >= 99.5 or unit == "bytes" else f"{num_bytes:.2g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"
