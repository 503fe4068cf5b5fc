"""CloseJob: after all parts, makes sure that each image has one row, merges small parts, and writes the job's record.

Runners do lose elements in silence, and repeat them: a job is complete only when the images written are those that were
listed and not skipped, by their number and by the sum of their ids. If they aren't, repeats are settled and the files
themselves counted; if that doesn't help, the job fails. All of it is part of the pipeline, so that it holds on a cluster when
the machine that submitted the job is long gone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from ..labelset.compact import merge_parts, plan_merges
from ..labelset.deduplicate import settle_repeats
from ..labelset.job_records import mark_settled, unclosed_jobs, utc_now, write_record
from ..labelset.parts import finished_parts, job_of, read_part
from .skip_labelled import ListedCounts
from .workers.driver_link import DriverLink
from .write_parts import Part, part_of_tables

_EXPECTED = "rows were expected in images"


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


def is_incomplete(error: BaseException | None) -> bool:
    """Whether an error is a `JobIncompleteError`, or a runner's account of one."""
    while error is not None and not isinstance(error, JobIncompleteError) and _EXPECTED not in str(error):
        error = error.__cause__
    return error is not None


class CloseJob(beam.PTransform):
    """Parts in; the job's record out, as a dict, after it has been written to `_jobs/<job id>.json`.

    Args:
      counts: what was listed and skipped: a collection of one `ListedCounts`.
      output: the output folder.
      job: what else the record says: `job_id`, `started_at`, versions, runner, options. JSON types. With
        `retry_failed`, rows of earlier jobs are expected to be superseded.
      link: tells whether the job was asked to stop: then missing images are no error, and the record says `interrupted`.

    Raises (in the pipeline):
      JobIncompleteError: if the images written aren't those listed less those skipped.
    """

    def __init__(
        self,
        counts: beam.PCollection[ListedCounts],
        output: str,
        job: Mapping[str, Any],
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._link = link
        self._counts = counts
        self._output = output
        self._job = dict(job)

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[dict]:
        totals = parts | "Totals" >> beam.CombineGlobally(_TotalsFn())
        checked = (
            parts.pipeline
            | "Job" >> beam.Create([self._job], reshuffle=False)
            | "Check"
            >> beam.ParDo(
                _CheckFn(self._output, self._link),
                beam.pvalue.AsSingleton(totals),
                beam.pvalue.AsSingleton(self._counts),
            ).with_outputs(_CheckFn.MERGES, main="record")
        )
        merged = (
            checked[_CheckFn.MERGES]
            | "SpreadMerges" >> beam.Reshuffle()
            | "Merge"
            >> beam.Map(
                lambda stems, output, job_id: merge_parts(output, job_id, stems), self._output, self._job["job_id"]
            )
        )
        return checked.record | "Record" >> beam.ParDo(_RecordFn(self._output), beam.pvalue.AsIter(merged))


class _TotalsFn(beam.CombineFn):
    """Adds parts up to one `Part` with the stems of all."""

    def create_accumulator(self):
        return [], Counter(), Counter(), 0

    def add_input(self, accumulator, part: Part):
        stems, rows, failures, ids_sum = accumulator
        stems.append(part.stem)
        rows.update(part.rows)
        failures.update(part.failures)
        return stems, rows, failures, (ids_sum + part.ids_sum) % (1 << 128)

    def merge_accumulators(self, accumulators: Iterable):
        stems, rows, failures, ids_sum = self.create_accumulator()
        for other in accumulators:
            stems.extend(other[0])
            rows.update(other[1])
            failures.update(other[2])
            ids_sum += other[3]
        return stems, rows, failures, ids_sum % (1 << 128)

    def extract_output(self, accumulator) -> dict[str, Any]:
        stems, rows, failures, ids_sum = accumulator
        return {
            "stems": sorted(stems),
            "rows": dict(rows),
            "failures": dict(sorted(failures.items())),
            "ids_sum": ids_sum,
        }


class _CheckFn(beam.DoFn):
    """Compares, settles what needs settling; gives the record's content, and groups of parts to merge."""

    MERGES = "merges"

    def __init__(self, output: str, link: DriverLink):
        self._output = output
        self._link = link

    def process(self, job: dict, totals: dict, counts: ListedCounts):
        job_id, output = job["job_id"], self._output
        parts = finished_parts(output)
        agree = set(totals["stems"]) == _stems_of(parts, {job_id}) and _agree(totals, counts)
        left_behind = unclosed_jobs(output) - {job_id}
        repeats = 0
        if not agree or job.get("retry_failed") is not None or left_behind:
            repeats = settle_repeats(output, _stems_of(parts, {job_id} | left_behind))
            parts = finished_parts(output)
        if not agree:
            totals = _count(output, {stem: parts[stem] for stem in _stems_of(parts, {job_id})})
            agree = _agree(totals, counts)
        if agree:
            yield from (beam.pvalue.TaggedOutput(self.MERGES, group) for group in plan_merges(parts))
        yield {
            **job,
            "status": "complete" if agree else "interrupted" if self._link.is_stopping() else "incomplete",
            "listed": counts.listed,
            "skipped": counts.skipped,
            "written": totals["rows"].get("images", 0),
            "rows": totals["rows"],
            "failures": totals["failures"],
            "parts": len(totals["stems"]),
            "repeats_removed": repeats,
            "settled_jobs": sorted(left_behind) if agree else [],
        }


class _RecordFn(beam.DoFn):
    """Writes the record, once all merging is done; raises if the job is incomplete."""

    def __init__(self, output: str):
        self._output = output

    def process(self, record: dict, merged: Iterable[str]):
        record = {**record, "merged_parts": len(list(merged)), "finished_at": utc_now()}
        write_record(self._output, record)
        if record["status"] == "incomplete":
            raise JobIncompleteError(incomplete_message(record))
        mark_settled(self._output, record["settled_jobs"], record["job_id"])
        yield record


def _agree(totals: Mapping[str, Any], counts: ListedCounts) -> bool:
    """Whether the images written are those that were to be labelled: as many, and with the same sum of ids."""
    return (totals["rows"].get("images", 0), totals["ids_sum"]) == (counts.listed - counts.skipped, counts.ids_sum)


def _stems_of(parts: Iterable[str], job_ids: set[str]) -> set[str]:
    """Stems of the parts that were written by these jobs."""
    return {stem for stem in parts if job_of(stem) in job_ids}


def _count(output: str, parts: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """What `_TotalsFn` gives, from the files themselves: of these parts with these tables."""
    adding = _TotalsFn()
    total = adding.create_accumulator()
    for stem, names in parts.items():
        tables = {
            name: read_part(output, stem, name, ["image_id", *["error_kind"] * (name == "images")]) for name in names
        }
        total = adding.add_input(total, part_of_tables(stem, tables))
    return adding.extract_output(total)
