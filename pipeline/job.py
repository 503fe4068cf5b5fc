"""A job: one run of `labelbeam label`, from checked settings to the record of what was done.

`build_graph` is the whole pipeline on one screen.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any, cast

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..labelset.begin import OpenJob, begin_job
from ..labelset.close import close_early, closed_as
from ..labelset.counting import counting_parts
from ..labelset.heartbeat import DEAD_AFTER_S, Heartbeat, at_work, beating
from ..labelset.job_records import describe_unreadable, find_stumps, utc_now, write_record
from ..labelset.log import JobLostError
from ..storage.errors import UsageError
from ..storage.redaction import redact
from ..storage.stores.calls import impatient
from ..storage.temporary import temporary_folder
from ..storage.uris import as_text
from ..transforms.close_job import CloseJob, JobIncompleteError, incomplete_message
from ..transforms.detect import DEVICE
from ..transforms.elements import METRICS_NAMESPACE
from ..transforms.list_images import PASSED_OVER, ListImages
from ..transforms.skip_labelled import SkipLabelled, ToDo
from ..transforms.sources.box_prompts import BoxTables
from ..transforms.sources.carry import CarriedType
from ..transforms.sources.inputs import name_of_list
from ..transforms.workers.driver_link import DriverLink
from ..transforms.workers.in_flight import remove_journals
from ..transforms.write_parts import WriteParts
from .label_config import PreparedLabelConfig
from .label_images import LabelReferences
from .running.beam_folder import keep_in
from .running.beam_options import ends_with_driver, is_template, use_store_options
from .running.children import in_own_sessions
from .running.job_control import JobControl, Phase
from .running.missing import find_missing
from .running.preflight import why_remote
from .running.progress import Following, following
from .settings import JobSpec

_log = logging.getLogger(__name__)

SUBMITTED = "submitted"  # status of a job that was handed over: its record is written by who runs it
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
      carry: columns of lists that become columns of `images`, and their types.
    """

    spec: JobSpec
    label_config: PreparedLabelConfig
    carry: Mapping[str, CarriedType] = field(default_factory=dict)
    job_id: str = field(default_factory=new_job_id)


class JobFailedError(RuntimeError):
    """A job failed on its way; the message is what a person can do something about."""


@dataclass(frozen=True)
class JobResult:
    """What was done: the job's record (as `_jobs/<id>.json` has it), the runner's metrics, wall time."""

    record: Mapping[str, Any]
    metrics: Mapping[str, int]
    seconds: float


def build_graph(
    pipeline: beam.Pipeline, job: Job, begun: OpenJob, facts: Mapping[str, Any], link: DriverLink = DriverLink()
) -> beam.PCollection[dict]:
    """The whole flow. `facts` are what the record says of the job beyond its figures; `link` is told of progress."""
    spec, todo = job.spec, list_todo(pipeline, job, begun, job.label_config.boxes, link)
    closed = (
        todo["references"]
        | LabelReferences(job.label_config, spec.execution, spec.output, link, job.carry)
        | WriteParts(begun, job.label_config.tables, spec.execution, link)
        | CloseJob(begun, todo["counts"], facts, link)
    )
    return cast(beam.PCollection[dict], closed)


def list_todo(
    pipeline: beam.Pipeline,
    job: Job,
    labelled: OpenJob | str,
    boxes: BoxTables | None = None,
    link: DriverLink = DriverLink(),
) -> ToDo:
    """What a job is to label, less what is labelled already: of the job that has begun, or in an output folder."""
    spec = job.spec
    begun = labelled if isinstance(labelled, OpenJob) else None
    if isinstance(labelled, str):
        counting_parts(labelled)  # a damaged part is named before there's a pipeline
    todo = (
        pipeline
        | ListImages(spec.inputs, spec.listing, versions=spec.relabel_changed, read=spec.execution, job=begun)
        | SkipLabelled(
            labelled,
            spec.limit,
            boxes,
            spec.retry_failed or (),
            link,
            relabel_changed=spec.execution if spec.relabel_changed else None,
        )
    )
    return cast(ToDo, todo)


def run_job(job: Job, options: PipelineOptions) -> JobResult:
    """Runs a job to its end; one that becomes a template of Dataflow is only handed over.

    Raises:
      UsageError: if the output folder holds another label set, or another job is at work on it.
      JobLostError: if another job has taken over the output folder, or the folder isn't there any more.
      JobIncompleteError: if the figures of what was listed and what was written don't agree.
      KeyboardInterrupt: if it was stopped before it could close in the pipeline.
      JobFailedError: if something else stopped it. What finished parts hold stays; the same command goes on from there.
    """
    use_store_options(options)
    control, output = JobControl(), job.spec.output
    heartbeat = Heartbeat(output, job.job_id, with_process=ends_with_driver(options))
    with control.heeding_signals(), in_own_sessions(), at_work(job.job_id):
        begun = begin_job(
            output,
            job.job_id,
            job.label_config.label_set,
            may_repeat=job.spec.retry_failed is not None or job.spec.relabel_changed,
            heartbeat=heartbeat,
            on_wait=_say_that_it_waits,
        )
        for path in find_stumps(output):
            _log.warning(describe_unreadable(path))
        with (
            following(output, job.job_id, has_remote_workers=why_remote(options) is not None) as follow,
            beating(lambda: _beat(begun, heartbeat, control, follow)),
        ):
            return _run(job, begun, options, control, follow)


def _say_that_it_waits(content: Mapping[str, Any]) -> None:
    _log.warning(
        "job %s has not closed (host %s, pid %s). Watching for up to %.0f s whether it lives",
        content.get("job_id", "?"),
        content.get("host", "?"),
        content.get("pid", "?"),
        DEAD_AFTER_S,
    )


def _beat(begun: OpenJob, heartbeat: Heartbeat, control: JobControl, follow: Following) -> None:
    """A sign of life, after a look at whether the job is still the folder's."""
    try:
        begun.check_open()
    except JobLostError:
        if control.phase in (Phase.RUNNING, Phase.STOPPING):
            with contextlib.suppress(JobLostError):
                if closed_as(begun) is not None:
                    return  # closed by the pipeline, whose end the driver hasn't seen yet
            control.lose()
        return
    heartbeat.beat(follow.facts())


def _versions() -> dict[str, str]:
    """Of the packages that labels depend on, those that are installed: engine keras needs no TensorFlow."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _run(job: Job, begun: OpenJob, options: PipelineOptions, control: JobControl, follow: Following) -> JobResult:
    started = time.monotonic()
    facts = {
        "job_id": job.job_id,
        "status": "running",
        "label_set": job.label_config.label_set.fingerprint,
        "inputs": [as_text(redact(name_of_list(uri))) for uri in job.spec.inputs],
        "limit": job.spec.limit,
        "retry_failed": None if job.spec.retry_failed is None else sorted(job.spec.retry_failed),
        "relabel_changed": job.spec.relabel_changed,
        "started_at": utc_now(),
        "runner": options.view_as(StandardOptions).runner,
        "versions": _versions(),
    }
    metrics: dict[str, int] = {}
    try:
        write_record(job.spec.output, facts)
        with temporary_folder("beam") as folder:
            pipeline = keep_in(folder, beam.Pipeline(options=options))
            build_graph(pipeline, job, begun, facts, follow.link)
            control.run(follow.link)
            result = pipeline.run()
            if is_template(options):  # what runs it is started later, by somebody else
                return JobResult({**facts, "status": SUBMITTED}, {}, time.monotonic() - started)
            result.wait_until_finish()
            metrics = _metrics(result)
        if closed_as(begun) is None:
            raise RuntimeError(f"the runner ended with {result.state}, and the job hasn't closed")
    except BaseException as error:
        _end(begun, facts, control, error)
    control.move(Phase.CLOSING)
    record = dict((closed_as(begun) or {})["record"])
    if record["status"] == "incomplete":
        record["missing"] = find_missing(
            job.spec.inputs, job.spec.listing, job.spec.execution, job.spec.limit, begun.output, job.job_id, options
        )
        _note(begun, record)
        raise JobIncompleteError(incomplete_message(record))
    remove_journals(job.spec.output)
    # Known only now: runners tell of metrics when all is done.
    record["passed_over"] = _suffixes(metrics, PASSED_OVER)
    if loads := metrics.get("model_loads"):
        record["detector_loads"] = {
            "count": loads,
            "seconds": metrics["model_load_ms"] / 1000,
            "resident_bytes": metrics["model_resident_bytes"],
            "devices": _suffixes(metrics, DEVICE),
        }
    if loads or record["passed_over"]:
        _note(begun, record)
    control.move(Phase.CLOSED)
    return JobResult(record, metrics, time.monotonic() - started)


def _suffixes(metrics: Mapping[str, int], prefix: str) -> dict[str, int]:
    """The counters whose names begin so, by what follows."""
    return {name.removeprefix(prefix): count for name, count in metrics.items() if name.startswith(prefix)}


def _end(begun: OpenJob, facts: Mapping[str, Any], control: JobControl, error: BaseException) -> None:
    """After an error: returns if the job has closed nevertheless, else closes it.

    What a runner raises says little, in each runner's own words: what has become of the job, the log says.

    Raises:
      JobLostError: if it was lost.
      KeyboardInterrupt: if it was stopped.
      JobFailedError: if it failed.
    """
    control.move(Phase.CLOSING)
    stopped = control.was_stopped or isinstance(error, KeyboardInterrupt)
    record = {**facts, "status": "interrupted" if stopped else "failed", "finished_at": utc_now()}
    if not stopped:
        record["error"] = redact(f"{type(error).__name__}: {error}")[:2000]
    with impatient():
        try:
            if closed_as(begun) is not None:
                _log.info("The job has closed; what failed afterwards doesn't matter.", exc_info=error)
                return
            close_early(begun, record["status"], {"record": record})
            _note(begun, record)
        except JobLostError as lost:
            raise lost from error
        except Exception as why:  # the disk, or the store, may be what failed; then the next job takes over
            _log.warning("%s: job %s couldn't be closed: %s", begun.output, begun.job_id, why)
    if stopped and not isinstance(error, KeyboardInterrupt):  # runners lose workers of their own to Ctrl-C
        raise KeyboardInterrupt from error
    if isinstance(error, Exception):
        raise JobFailedError(redact(_cause(error))) from error
    raise error


def _cause(error: BaseException) -> str:
    """The innermost error that says what a person did wrong, else the innermost of all: runners wrap it in several
    others."""
    while error.__cause__ is not None and not isinstance(error, UsageError):
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1] if len(text) > 500 else text


def _note(begun: OpenJob, record: Mapping[str, Any]) -> None:
    """Writes the record of a job that has closed, if that can be done."""
    with contextlib.suppress(OSError), impatient():
        write_record(begun.output, record)


def _metrics(result) -> dict[str, int]:
    """labelbeam's own counters, and sums of its distributions, over all workers."""
    found = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))
    values = {counter.key.metric.name: 0 for counter in found["counters"]}
    for counter in found["counters"]:
        values[counter.key.metric.name] += counter.result or 0
    for distribution in found["distributions"]:
        values[distribution.key.metric.name] = values.get(distribution.key.metric.name, 0) + distribution.result.sum
    return values
