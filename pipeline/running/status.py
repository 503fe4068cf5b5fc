"""`labelbeam status OUT`: what a label set holds, what its jobs did, what an interrupted one left. Reads only."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from ...labelset.counting import find_damage
from ...labelset.heartbeat import find_death, read_heartbeat
from ...labelset.job_records import describe_unreadable, read_records
from ...labelset.label_set_file import find_label_set, read_label_set_file
from ...labelset.log import LogState, read_log
from ...labelset.part_files import DamagedPartError
from ...labelset.parts import Part, iter_part, list_parts
from ...labelset.side_by_side import side_by_side
from ...results.text import counted, duration
from ...storage.errors import shorten
from ...storage.redaction import redact_name
from .progress import describe_rate

MAX_EXAMPLES = 3  # a kind of failure
_ERROR_LETTERS = 400  # of why a job failed: a path, and what to do about it


def collect_status(output: str) -> dict[str, Any]:
    """Everything that `labelbeam status` tells, as JSON types: from the log, without reading tables but for examples of
    what failed. Parts of an older labelbeam are read as a stream.

    Raises:
      UsageError: if `output` is no folder of a label set.
    """
    state = read_log(output)
    label_set = find_label_set(output)
    if label_set is None and state.open_job is None:
        read_label_set_file(output)  # says so
    listed = list_parts(output)
    parts = state.parts
    if state.number < 0:  # such as a copy of some tables
        parts = {stem: Part(stem, {}, tables, None) for stem, tables in listed.items() if "images" in tables}
    damage = {d.path: d.why for d in find_damage(output, state.parts, listed)}
    open_job = _open_job(output, state)
    jobs = list(read_records(output))
    return {
        "output": output,
        "label_set": label_set,
        "parts": len(parts),
        "num_bytes": sum(sum(part.num_bytes.values()) for part in parts.values()),
        **_count_rows(output, parts, damage),
        "damaged": damage,
        "jobs": jobs,
        "open_job": open_job,
        "parts_that_do_not_count": len(listed.keys() - parts.keys()),
    }


def _count_rows(output: str, parts: Mapping[str, Part], damage: dict[str, str]) -> dict[str, Any]:
    """Figures of the rows: of parts whose failures the log knows, without reading them, but for a few examples; adds to
    `damage` what can't be read."""
    kinds, examples, images, detections = Counter(), defaultdict(list), 0, 0
    unknown = [stem for stem, part in parts.items() if part.failures is None]
    for part in parts.values():
        if part.failures is not None:
            kinds.update(part.failures)
            images += part.rows["images"]
            detections += part.rows.get("detections", 0)
    for read in side_by_side(output, lambda stem: _read(output, stem), unknown):
        if isinstance(read, DamagedPartError):
            damage.setdefault(read.path, read.why)
            continue
        images, detections = images + read.rows["images"], detections + read.rows["detections"]
        kinds.update(read.failures)
    for stem, part in parts.items():
        wanted = {kind for kind in (part.failures or kinds) if len(examples[kind]) < MAX_EXAMPLES}
        if wanted and part.failures != {}:
            _add_examples(output, stem, wanted, examples, damage)
    failed = sum(kinds.values())
    return {
        "images": {"ok": images - failed, "failed": failed},
        "failures": {kind: {"images": n, "examples": examples[kind]} for kind, n in kinds.most_common()},
        "detections": detections,
    }


def _read(output: str, stem: str) -> "Part | DamagedPartError":
    """Images, detections and failures of a part that the log knows nothing of."""
    images, detections, kinds = 0, 0, Counter()
    try:
        for batch in iter_part(output, stem, "images", ["error_kind", "num_detections"]):
            images += batch.num_rows
            detections += pc.sum(batch.column("num_detections")).as_py() or 0
            kinds.update(batch.column("error_kind").drop_null().to_pylist())
    except DamagedPartError as error:
        return error
    return Part(stem, {"images": images, "detections": detections}, {}, dict(kinds))


def _add_examples(output: str, stem: str, wanted: set[str], examples: dict[str, list], damage: dict[str, str]) -> None:
    try:
        for batch in iter_part(output, stem, "images", ["uri", "error_kind", "error_message"]):
            for row in batch.filter(batch.column("error_kind").is_valid()).to_pylist():
                of_kind = examples[row["error_kind"]]
                if row["error_kind"] in wanted and len(of_kind) < MAX_EXAMPLES:
                    of_kind.append({"uri": row["uri"], "error_message": row["error_message"]})
            if all(len(examples[kind]) >= MAX_EXAMPLES for kind in wanted):
                return
    except DamagedPartError as error:
        damage.setdefault(error.path, error.why)


def _open_job(output: str, state: LogState) -> dict[str, Any] | None:
    """The job that has begun and not closed: its last sign of life, and whether it is known to be dead."""
    if state.open_job is None:
        return None
    content = read_heartbeat(output, state.open_job)
    return {
        "job_id": state.open_job,
        "dead": find_death(content) if content else None,
        **{key: content.get(key) for key in ("host", "pid", "at", "done", "failed", "total", "images_per_s")},
    }


def describe_status(status: dict[str, Any]) -> str:
    """`collect_status` for a person."""
    images, label_set = status["images"], status["label_set"]
    what = "no label set yet: no job has finished a part"
    if label_set is not None:
        settings = label_set.get("settings", {})
        what = "labels by {} (engine {}, {})".format(
            *(settings.get(k, "?") for k in ("detector", "engine", "precision"))
        )
    lines = [
        f"{status['output']}: {what}",
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
        lines += [
            f"                {redact_name(example['uri'])}: {redact_name(example['error_message'])}"
            for example in failures["examples"]
        ]
    if status["failures"]:
        lines.append("              `labelbeam label … --retry-failed [KIND …]` labels them again")
    lines += [f"  damaged     {path}: {why}" for path, why in status["damaged"].items()]
    if status["damaged"]:
        lines.append(
            f"              `labelbeam repair {status['output']}` takes their parts out; the next `labelbeam label` "
            "labels the images again"
        )
    lines += [f"  job         {_describe_job(job, status['open_job'])}" for job in status["jobs"]]
    is_dead = status["open_job"] is not None and status["open_job"]["dead"]
    if is_dead or (status["open_job"] is None and status["parts_that_do_not_count"]):
        lines.append(
            f"  left behind {counted(status['parts_that_do_not_count'], 'part')}, not counting yet or any more: the "
            "same `labelbeam label` goes on from there, `labelbeam repair` only takes over and cleans up"
        )
    return "\n".join(lines)


def _describe_job(job: dict[str, Any], open_job: dict[str, Any] | None) -> str:
    if job["status"] == "unreadable":
        return describe_unreadable(job["file"])
    if job["status"] == "running":
        if open_job is None or open_job["job_id"] != job["job_id"] or open_job["dead"]:
            return f"{job['job_id']}  killed"
        return f"{job['job_id']}  {_describe_running(open_job)}"
    text = f"{job['job_id']}  {job['status']}"
    if "written" in job and "finished_at" in job:
        ended, started = (datetime.fromisoformat(job[key]) for key in ("finished_at", "started_at"))
        seconds = (ended - started).total_seconds()
        text += (
            f": {counted(job['written'], 'image')} written, {job['skipped']:,} skipped, in {seconds:,.0f} s"
            f" ({job['written'] / max(seconds, 1e-3):.1f} images/s)"
        )
    if "error" in job:
        text += f": {shorten((job['error'].splitlines() or [''])[0], _ERROR_LETTERS)}"
    return text


def _describe_running(job: dict[str, Any]) -> str:
    """What the last sign of life of a running job said."""
    state = "running" if job["dead"] is False else f"running, as far as is known: last sign of life at {job['at']}"
    text = f"{state} (host {job['host']}, pid {job['pid']})"
    if job["done"] is None:
        return text
    text += f": {counted(job['done'], 'image')}"
    if job["total"]:
        text += f" of {job['total']:,} ({job['done'] / job['total']:.0%})"
    if rate := job["images_per_s"]:
        text += f", {describe_rate(rate)}"
        if job["total"]:
            text += f", {duration((job['total'] - job['done']) / rate)} left"
    return f"{text}, {job['failed']:,} failed"
