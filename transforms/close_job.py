"""CloseJob: after all parts, counts what was listed, skipped and written, compares, and writes the job's record.

Runners do lose elements in silence; a job is complete only when the figures agree, and fails otherwise. The comparison is
part of the pipeline, so that it holds on a cluster when the machine that submitted the job is long gone.
"""
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam

from . import output_files
from .skip_labelled import ListedCounts
from .write_parts import Part


class JobIncompleteError(RuntimeError):
    """Images were listed that have no row, or have several: the runner lost or repeated elements."""


def record_path(output: str, job_id: str) -> str:
    return output_files.join(output, "_jobs", f"{job_id}.json")


def incomplete_message(record: Mapping[str, Any]) -> str:
    """What a person reads when the figures of a job's record don't agree."""
    expected = record["listed"] - record["skipped"]
    return (f"{record['listed']} images were listed and {record['skipped']} skipped, so {expected} rows were expected in "
            f"images, but {record['written']} were written. Run the same command again: it labels what is missing")


class CloseJob(beam.PTransform):
    """Parts in; the job's record out, as a dict, after it has been written to `_jobs/<job id>.json`.

    Args:
      counts: what was listed and skipped: a collection of one `ListedCounts`.
      output: the output folder.
      job: what else the record says: `job_id`, `started_at`, versions, runner, options. JSON types.

    Raises (in the pipeline):
      JobIncompleteError: if rows written differ from images listed less those skipped.
    """

    def __init__(self, counts: beam.PCollection[ListedCounts], output: str, job: Mapping[str, Any]):
        super().__init__()
        self._counts = counts
        self._output = output
        self._job = dict(job)

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[dict]:
        totals = parts | "Totals" >> beam.CombineGlobally(_TotalsFn())
        return (parts.pipeline
                | "Job" >> beam.Create([self._job], reshuffle=False)
                | "Close" >> beam.ParDo(_CloseFn(self._output), beam.pvalue.AsSingleton(totals),
                                        beam.pvalue.AsSingleton(self._counts)))


class _TotalsFn(beam.CombineFn):
    """Adds parts up: stems, rows by table, failures by kind."""

    def create_accumulator(self):
        return [], Counter(), Counter()

    def add_input(self, accumulator, part: Part):
        stems, rows, failures = accumulator
        stems.append(part.stem)
        rows.update(part.rows)
        failures.update(part.failures)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable):
        merged = self.create_accumulator()
        for stems, rows, failures in accumulators:
            merged[0].extend(stems)
            merged[1].update(rows)
            merged[2].update(failures)
        return merged

    def extract_output(self, accumulator) -> dict[str, Any]:
        stems, rows, failures = accumulator
        return {"parts": sorted(stems), "rows": dict(rows), "failures": dict(sorted(failures.items()))}


class _CloseFn(beam.DoFn):
    def __init__(self, output: str):
        self._output = output

    def process(self, job: dict, totals: dict, counts: ListedCounts):
        expected, written = counts.listed - counts.skipped, totals["rows"].get("images", 0)
        record = {
            **job,
            "finished_at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "status": "complete" if written == expected else "incomplete",
            "listed": counts.listed,
            "skipped": counts.skipped,
            "written": written,
            **totals,
        }
        output_files.write_atomically(record_path(self._output, job["job_id"]),
                                      json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8"))
        if written != expected:
            raise JobIncompleteError(incomplete_message(record))
        yield record
