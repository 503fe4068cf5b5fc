"""CloseJob: after all parts, makes sure that each image has one row, compacts small parts, and closes the job.

Runners do lose elements in silence, and repeat them: a job is complete only when the images written are those that were
listed and not skipped, by their number and by the sum of their ids. All of it is part of the pipeline, so that it
holds on a cluster when the machine that submitted the job is long gone.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, TaggedOutput

from ..labelset.begin import OpenJob
from ..labelset.close import Found, close_job, closed_as, find, leave_out, left, replaced
from ..labelset.compact import compact_parts, plan_compaction
from ..labelset.deduplicate import are_few, find_losers
from ..labelset.job_records import utc_now, write_record
from ..labelset.parts import Part, add_up
from ..storage.redaction import redact_name
from .find_losers import FindLosers
from .skip_labelled import ListedCounts
from .workers.driver_link import DriverLink

_EXPECTED = "rows were expected in images"

_log = logging.getLogger(__name__)


class JobIncompleteError(RuntimeError):
    """Images were listed that have no row, or others have one: the runner lost or repeated elements."""


def incomplete_message(record: Mapping[str, Any]) -> str:
    """What a person reads when the figures of a job's record don't agree."""
    expected = record["listed"] - record["skipped"]
    what = (
        f"but {record['written']} were written"
        if record["written"] != expected
        else "and were written, but of other images"
    )
    missing = record.get("missing", [])
    more = ", … (in the job's record)" if len(missing) > 5 else ""
    named = f" Missing: {', '.join(missing[:5])}{more}." if missing else ""
    return (
        f"{record['listed']} images were listed and {record['skipped']} skipped, so {expected} {_EXPECTED}, "
        f"{what}.{named} Run the same command again: it labels what is missing"
    )


class CloseJob(beam.PTransform):
    """Parts in; the job's record out, as a dict, after the job has closed in the log.

    Args:
      job: the job.
      counts: what was listed and skipped: a collection of one `ListedCounts`.
      facts: what else the record says: `job_id`, `started_at`, versions, runner, options. JSON types.
      link: tells whether the job was asked to stop: then missing images are no error, and the record says
        `interrupted`.

    Raises (in the pipeline):
      JobIncompleteError: if the images written aren't those listed less those skipped.
      JobLostError: if another job has taken over.
    """

    def __init__(
        self,
        job: OpenJob,
        counts: beam.PCollection[ListedCounts],
        facts: Mapping[str, Any],
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._job = job
        self._counts = counts
        self._facts = dict(facts)
        self._link = link

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[dict]:
        counts = AsSingleton(self._counts)
        found = (
            parts.pipeline
            | "Facts" >> beam.Create([self._facts], reshuffle=False)
            | "Find"
            >> beam.ParDo(_FindFn(self._job), AsIter(parts), counts).with_outputs(
                _FindFn.LOSERS, _FindFn.COMPARED, main="found"
            )
        )
        losers: Any = (found[_FindFn.LOSERS], found[_FindFn.COMPARED] | FindLosers(self._job)) | beam.Flatten()
        made = losers | "SpreadLosers" >> beam.Reshuffle() | "LeaveOut" >> beam.Map(_leave_out, self._job)
        checked = found.found | "Check" >> beam.ParDo(_CheckFn(self._link), AsIter(made), counts).with_outputs(
            _CheckFn.GROUPS, main="gathered"
        )
        compacted = (
            checked[_CheckFn.GROUPS]
            | "SpreadGroups" >> beam.Reshuffle()
            | "Compact" >> beam.FlatMap(_compact, self._job)
        )
        return checked.gathered | "Close" >> beam.ParDo(_CloseFn(self._job), AsIter(compacted))


class _FindFn(beam.DoFn):
    """Finds all parts: `facts` and a `Found`, None if the job has closed already. Parts with rows that don't count, and
    the ids of their images, if those are found easily; else the parts that all workers are to compare."""

    LOSERS, COMPARED = "losers", "compared"

    def __init__(self, job: OpenJob):
        self._job = job

    def process(self, facts: dict, reported: Iterable[Part], counts: ListedCounts):
        self._job.attend()
        if (entry := closed_as(self._job)) is not None:  # a runner tries again what is done
            yield entry["record"], None
            return
        reported = list(reported)
        found = find(self._job, reported, agree=_agree(reported, counts))
        if are_few(found.compared):
            with self._job.reading():
                losers = find_losers(self._job.output, found.compared)
            yield from (TaggedOutput(self.LOSERS, (found.parts[stem], ids)) for stem, ids in losers.items())
        else:
            yield from (TaggedOutput(self.COMPARED, one) for one in found.compared)
        yield facts, replace(found, compared=[])


def _leave_out(element: tuple[Part, pa.Array], job: OpenJob) -> tuple[str, Part | None]:
    job.attend()
    part, image_ids = element
    return part.stem, leave_out(job, part, image_ids)


class _CheckFn(beam.DoFn):
    """Compares; gives the record with all parts, and groups of parts to compact."""

    GROUPS = "groups"

    def __init__(self, link: DriverLink):
        self._link = link

    def process(
        self, element: tuple[dict, Found | None], made: Iterable[tuple[str, Part | None]], counts: ListedCounts
    ):
        facts, found = element
        if found is None:
            yield facts, []
            return
        gathered = left(found, dict(made))
        agree = _agree(gathered.written, counts)
        if agree:
            groups = plan_compaction(gathered.parts)
            yield from (TaggedOutput(self.GROUPS, group) for group in groups)
        totals = add_up(gathered.written)
        record = {
            **facts,
            "status": "complete" if agree else "interrupted" if self._link.is_stopping() else "incomplete",
            "listed": counts.listed,
            "skipped": counts.skipped,
            "written": totals.rows.get("images", 0),
            "rows": dict(totals.rows),
            "failures": dict(totals.failures or {}),
            "failed_examples": {
                kind: {"uri": redact_name(uri), "error_message": redact_name(message)}
                for kind, (uri, message) in totals.examples.items()
            },
            "failed_earlier": counts.failed_earlier,
            "parts": len(gathered.written),
            "repeats_removed": gathered.repeats,
        }
        yield record, list(gathered.parts.values())


def _compact(group: Sequence[Part], job: OpenJob) -> Iterable[tuple[list[str], Part]]:
    job.attend()
    try:
        with job.reading():
            part = compact_parts(job.output, job.job_id, group)
    except OSError as error:  # such as a full disk: all rows are there, in more files
        _log.warning("%s: %d small parts couldn't be compacted: %s", job.output, len(group), error)
        return
    yield [old.stem for old in group], part


class _CloseFn(beam.DoFn):
    """Closes the job in the log and writes its record; raises if the job is incomplete."""

    def __init__(self, job: OpenJob):
        self._job = job

    def process(self, gathered: tuple[dict, list[Part]], compacted: Iterable[tuple[Sequence[str], Part]]):
        self._job.attend()
        record, parts = gathered
        compacted = list(compacted)
        if closed_as(self._job) is None:
            record = {
                **record,
                "compacted_parts": sum(len(stems) for stems, _ in compacted),
                "finished_at": utc_now(),
            }
            parts = replaced({part.stem: part for part in parts}, compacted)
            close_job(self._job, record["status"], parts, {"record": record})
        write_record(self._job.output, record)
        if record["status"] == "incomplete":
            raise JobIncompleteError(incomplete_message(record))
        yield record


def _agree(parts: Iterable[Part], counts: ListedCounts) -> bool:
    """Whether the images written are those that were to be labelled: as many, and with the same sum of ids."""
    totals = add_up(parts)
    return (totals.rows.get("images", 0), totals.ids_sum) == (counts.listed - counts.skipped, counts.ids_sum)
