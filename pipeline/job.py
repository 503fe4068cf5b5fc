"""A job: one run of `labelbeam label`, from checked settings to the record of what was done.

`build_graph` is the whole pipeline on one screen. Not for use inside another pipeline: see `label_images.py`.
"""

import _thread
import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..labelset.clean_up import sweep
from ..labelset.job_records import read_record, utc_now, write_record
from ..labelset.label_set_file import write_label_set
from ..labelset.lease import holding
from ..storage import object_stores
from ..storage.redaction import redact
from ..transforms.close_job import CloseJob, JobIncompleteError, incomplete_message, is_incomplete
from ..transforms.elements import METRICS_NAMESPACE
from ..transforms.group_by_chunk import GroupByChunk
from ..transforms.list_images import ListImages
from ..transforms.skip_labelled import SkipLabelled
from ..transforms.workers.driver_link import DriverLink
from ..transforms.workers.in_flight import remove_journals
from ..transforms.write_parts import WriteParts
from .label_config import PreparedLabelConfig
from .label_images import LabelReferences
from .running.missing import find_missing
from .running.progress import following
from .settings import JobSpec

PACKAGES = ("labelbeam", "apache-beam", "tensorflow", "keras", "numpy", "pillow", "pyarrow")


def new_job_id() -> str:
    """Starts with the time in UTC, so that ids sort as jobs were started."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True)
class Job:
    """A job whose settings have been checked, and whose detector has been found: see `prepare_job`.

    Attributes:
      spec: what was asked for.
      label_config: what decides the labels, prepared.
    """

    spec: JobSpec
    label_config: PreparedLabelConfig
    job_id: str = field(default_factory=new_job_id)


class JobFailedError(RuntimeError):
    """A job that had started was stopped by an error, which is the cause of this one."""


@dataclass(frozen=True)
class JobResult:
    """What was done: the job's record (as `_jobs/<id>.json` has it), the runner's metrics, wall time."""

    record: Mapping[str, Any]
    metrics: Mapping[str, int]
    seconds: float


def build_graph(
    pipeline: beam.Pipeline, job: Job, facts: Mapping[str, Any], link: DriverLink = DriverLink()
) -> beam.PCollection[dict]:
    """The whole flow. `facts` are what the record says of the job beyond its figures; `link` is told of progress."""
    todo = (
        pipeline
        | ListImages(job.spec.inputs, job.spec.listing)
        | SkipLabelled(job.spec.output, job.spec.limit, job.label_config.boxes, job.spec.retry_failed or (), link)
    )
    return (
        todo["references"]
        | GroupByChunk()
        | LabelReferences(job.label_config, job.spec.execution, job.spec.output, link)
        | WriteParts(
            job.spec.output,
            job.job_id,
            job.label_config.tables,
            job.label_config.label_set.metadata,
            job.spec.execution,
            link,
        )
        | CloseJob(todo["counts"], job.spec.output, facts, link)
    )


def run_job(job: Job, options: PipelineOptions) -> JobResult:
    """Runs a job to its end.

    Raises:
      UsageError: if the output folder holds another label set, or another job is at work on it.
      JobIncompleteError: if the figures of what was listed and what was written don't agree.
      JobFailedError: if anything else stopped the pipeline. What finished parts hold stays; the same command goes on
        from there.
    """
    with holding(job.spec.output, job.job_id, on_lost=_thread.interrupt_main):
        write_label_set(job.spec.output, job.label_config.label_set)
        sweep(job.spec.output)
        with following(job.spec.output, job.job_id) as link:
            return _run_with_record(job, options, link)


def _run_with_record(job: Job, options: PipelineOptions, link: DriverLink) -> JobResult:
    started = time.monotonic()
    facts = {
        "job_id": job.job_id,
        "status": "running",
        "labelling": job.label_config.label_set.fingerprint,
        "inputs": [redact(uri) for uri in job.spec.inputs],
        "limit": job.spec.limit,
        "retry_failed": None if job.spec.retry_failed is None else sorted(job.spec.retry_failed),
        "started_at": utc_now(),
        "runner": options.view_as(StandardOptions).runner,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    write_record(job.spec.output, facts)
    pipeline = beam.Pipeline(options=options)
    build_graph(pipeline, job, facts, link)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except KeyboardInterrupt:
        _note_end(job, {**facts, "status": "interrupted"})
        raise
    except Exception as error:
        if link.is_stopping():  # runners with workers in processes of their own lose them to Ctrl-C
            _note_end(job, {**facts, "status": "interrupted"})
            raise KeyboardInterrupt from error
        # Runners wrap what a DoFn raises in their own words; then the record has more to tell.
        if is_incomplete(error):
            record = read_record(job.spec.output, job.job_id)
            record["missing"] = find_missing(
                job.spec.inputs, job.spec.listing, job.spec.limit, job.spec.output, job.job_id, options
            )
            _note_end(job, record)
            raise JobIncompleteError(incomplete_message(record)) from error
        _note_end(job, {**facts, "status": "failed", "error": f"{type(error).__name__}: {error}"[:2000]})
        raise JobFailedError(f"{type(error).__name__}: {error}") from error
    remove_journals(job.spec.output)
    metrics = _metrics(result)
    record = read_record(job.spec.output, job.job_id)
    if loads := metrics.get("model_loads"):  # known only now: runners tell of metrics when all is done
        record["detector_loads"] = {
            "count": loads,
            "seconds": metrics["model_load_ms"] / 1000,
            "resident_bytes": metrics["model_resident_bytes"],
        }
        write_record(job.spec.output, record)
    return JobResult(record, metrics, time.monotonic() - started)


def _note_end(job: Job, record: Mapping[str, Any]) -> None:
    """Writes the record of a job that failed, if that can be done: the disk, or the store, may be what failed."""
    with contextlib.suppress(OSError), object_stores.impatient():
        write_record(job.spec.output, {**record, "finished_at": utc_now()})


def _metrics(result) -> dict[str, int]:
    """labelbeam's own counters, and sums of its distributions, over all workers."""
    found = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))
    values = {counter.key.metric.name: 0 for counter in found["counters"]}
    for counter in found["counters"]:
        values[counter.key.metric.name] += counter.result or 0
    for distribution in found["distributions"]:
        values[distribution.key.metric.name] = values.get(distribution.key.metric.name, 0) + distribution.result.sum
    return values
