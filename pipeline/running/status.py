"""`labelbeam status OUT`: what a label set holds, what its jobs did, and what an interrupted one left behind. Reads
only."""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from ...labelset.job_records import CLOSED, read_records
from ...labelset.label_set_file import read_label_set_file
from ...labelset.lease import current_holder
from ...labelset.parts import iter_part, list_parts, only_finished

MAX_EXAMPLES = 3  # a kind of failure
_NEEDED = ["status", "error_kind", "error_message", "uri", "num_detections"]


def collect_status(output: str) -> dict[str, Any]:
    """Everything that `labelbeam status` tells, as JSON types. Streams the table `images`; memory doesn't grow with it.

    Raises:
      UsageError: if `output` is no folder of a label set.
    """
    label_config = read_label_set_file(output)
    parts = list_parts(output)
    existing = only_finished(parts)
    kinds, examples, images, detections = Counter(), defaultdict(list), Counter(), 0
    for stem in existing:
        for batch in iter_part(output, stem, "images", _NEEDED):
            images.update(batch.column("status").to_pylist())
            detections += sum(n or 0 for n in batch.column("num_detections").to_pylist())
            for row in batch.filter(batch.column("error_kind").is_valid()).to_pylist():
                kinds[row["error_kind"]] += 1
                if len(examples[row["error_kind"]]) < MAX_EXAMPLES:
                    examples[row["error_kind"]].append({"uri": row["uri"], "error_message": row["error_message"]})
    holder = current_holder(output)
    jobs = list(read_records(output))
    return {
        "output": output,
        "labelling": label_config,
        "parts": len(existing),
        "num_bytes": sum(sum(tables.values()) for tables in existing.values()),
        "images": {"ok": images["ok"], "failed": images["failed"]},
        "failures": {kind: {"images": n, "examples": examples[kind]} for kind, n in kinds.most_common()},
        "detections": detections,
        "jobs": jobs,
        "at_work": holder and {key: holder.get(key) for key in ("job_id", "host", "pid")},
        "unfinished_parts": len(parts) - len(existing),
        "unsettled_jobs": [
            job["job_id"]
            for job in jobs
            if job["status"] not in CLOSED and job["job_id"] != (holder or {}).get("job_id")
        ],
    }


def describe_status(status: dict[str, Any]) -> str:
    """`collect_status` for a person."""
    settings, images = status["labelling"]["settings"], status["images"]
    lines = [
        f"{status['output']}: labels by {settings['detector']} (engine {settings['engine']}, {settings['precision']})",
        f"  images      {sum(images.values()):,}: {images['ok']:,} ok, {images['failed']:,} failed",
        f"  detections  {status['detections']:,}",
        f"  parts       {status['parts']:,}, {status['num_bytes'] / 1e6:,.1f} MB",
    ]
    if not status["parts"]:
        lines.append(
            "              no job has finished a part yet: `labelbeam label` with this folder as --output goes on"
        )
    for kind, failures in status["failures"].items():
        lines.append(f"  failed      {failures['images']:,} {kind}")
        lines += [f"                {example['uri']}: {example['error_message']}" for example in failures["examples"]]
    if status["failures"]:
        lines.append("              `labelbeam label … --retry-failed [KIND …]` labels them again")
    lines += [f"  job         {_describe_job(job, status)}" for job in status["jobs"]]
    if status["unfinished_parts"] or status["unsettled_jobs"]:
        lines.append(
            f"  left behind {status['unfinished_parts']:,} unfinished parts, {len(status['unsettled_jobs'])} jobs that "
            "didn't end in good order: the same `labelbeam label` goes on from there, `labelbeam repair` only tidies up"
        )
    return "\n".join(lines)


def _describe_job(job: dict[str, Any], status: dict[str, Any]) -> str:
    state = job["status"]
    if state == "running":
        at_work = status["at_work"] or {}
        state = (
            f"running (host {at_work['host']}, pid {at_work['pid']})"
            if at_work.get("job_id") == job["job_id"]
            else "killed"
        )
    text = f"{job['job_id']}  {state}"
    if "written" in job:
        seconds = (
            datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
        ).total_seconds()
        text += (
            f": {job['written']:,} images written, {job['skipped']:,} skipped, in {seconds:,.0f} s"
            f" ({job['written'] / max(seconds, 1e-3):.1f} images/s)"
        )
    if "error" in job:
        text += f": {job['error'].splitlines()[0][:120]}"
    return text
