"""A job: one run of `labelbeam label`, from checked settings to the record of what was done.

`build_graph` is the whole pipeline on one screen. Not for use inside another pipeline: see `label_images.py`.
"""
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..transforms import output_files
from ..transforms.close_job import CloseJob, JobIncompleteError, incomplete_message, record_path
from ..transforms.credentials import redact
from ..transforms.elements import METRICS_NAMESPACE
from ..transforms.group_by_chunk import GroupByChunk
from ..transforms.inputs import ListOptions, may_hold_containers
from ..transforms.list_images import ListImages
from ..transforms.skip_labelled import SkipLabelled
from ..transforms.write_parts import PartLimits, WriteParts
from .label_images import LabelReferences, Pace
from .labelling import Labelling, claim_output

PACKAGES = ("labelbeam", "apache-beam", "tensorflow", "keras", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
      inputs: files, folders, globs, lists and containers, as the user named them.
      output: the output folder.
      labelling: what decides the labels.
      listing: how inputs are read.
      pace: how the work is done.
      parts: when a part is closed.
      limit: label at most so many of the images listed.
    """

    inputs: Sequence[str]
    output: str
    labelling: Labelling
    listing: ListOptions = ListOptions()
    pace: Pace = Pace()
    parts: PartLimits = PartLimits()
    limit: int | None = None
    job_id: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}")


@dataclass(frozen=True)
class JobResult:
    """What was done: the job's record (as `_jobs/<id>.json` has it), the runner's metrics, wall time."""

    record: Mapping[str, Any]
    metrics: Mapping[str, int]
    seconds: float


def build_graph(pipeline: beam.Pipeline, job: Job, facts: Mapping[str, Any]) -> beam.PCollection[dict]:
    """The whole flow. `facts` are what the record says of the job beyond its figures."""
    todo = (pipeline
            | ListImages(job.inputs, job.listing)
            | SkipLabelled(job.output, job.limit, job.labelling.boxes))
    references = todo["references"]  # spread over the workers by their ids, which suits all but members of containers
    if may_hold_containers(job.inputs):
        references |= GroupByChunk()
    return (references
            | LabelReferences(job.labelling, job.pace)
            | WriteParts(job.output, job.job_id, job.labelling.tables, job.labelling.metadata, job.parts)
            | CloseJob(todo["counts"], job.output, facts))


def run_job(job: Job, options: PipelineOptions) -> JobResult:
    """Runs a job to its end.

    Raises:
      UsageError: if the output folder holds another labelling.
      JobIncompleteError: if the figures of what was listed and what was written don't agree.
      Exception: whatever else stopped the pipeline. What finished parts hold stays; the same command goes on from there.
    """
    claim_output(job.output, job.labelling)
    started = datetime.now(timezone.utc)
    facts = {
        "job_id": job.job_id,
        "labelling": job.labelling.fingerprint,
        "inputs": [redact(uri) for uri in job.inputs],
        "limit": job.limit,
        "started_at": started.isoformat(timespec="milliseconds"),
        "runner": options.view_as(StandardOptions).runner,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    pipeline = beam.Pipeline(options=options)
    build_graph(pipeline, job, facts)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        _raise_if_incomplete(job, error)
        raise
    return JobResult(_read_record(job), _metrics(result), (datetime.now(timezone.utc) - started).total_seconds())


def _read_record(job: Job) -> dict[str, Any]:
    return json.loads(output_files.read(record_path(job.output, job.job_id)))


def _raise_if_incomplete(job: Job, error: Exception) -> None:
    """Runners wrap what a DoFn raises in their own words; the record says whether it was the count that failed."""
    try:
        record = _read_record(job)
    except FileNotFoundError:
        return
    if record["status"] == "incomplete":
        raise JobIncompleteError(incomplete_message(record)) from error


def _metrics(result) -> dict[str, int]:
    """labelbeam's own counters, and sums of its distributions, over all workers."""
    found = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))
    values = {counter.key.metric.name: 0 for counter in found["counters"]}
    for counter in found["counters"]:
        values[counter.key.metric.name] += counter.result or 0
    for distribution in found["distributions"]:
        values[distribution.key.metric.name] = values.get(distribution.key.metric.name, 0) + distribution.result.sum
    return values
