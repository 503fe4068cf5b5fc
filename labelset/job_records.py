"""Records of jobs, `_jobs/<job id>.json`: what a job was asked to do, and what came of it.

A record is written when a job starts (`running`), and again when it ends: `complete`, or `incomplete` when rows are missing,
`failed`, `interrupted`. A job that was killed leaves `running` behind; a later job of the same folder that has settled what it
left marks it `settled`.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ..storage import files as output_files
from ..storage.uris import join

CLOSED = frozenset({"complete", "settled"})  # nothing more to be looked after


def record_path(output: str, job_id: str) -> str:
    return join(output, "_jobs", f"{job_id}.json")


def utc_now() -> str:
    """ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_record(output: str, record: Mapping[str, Any]) -> None:
    """Writes a record; it must have `job_id`. JSON types."""
    output_files.write_atomically(
        record_path(output, record["job_id"]),
        json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )


def read_record(output: str, job_id: str) -> dict[str, Any]:
    """Raises `FileNotFoundError` if there's none."""
    return json.loads(output_files.read(record_path(output, job_id)))


def read_records(output: str) -> Iterator[dict[str, Any]]:
    """Every job's record, oldest first. One that can't be read comes as `{"job_id": …, "status": "unreadable"}`."""
    for path in output_files.list_files(record_path(output, "*")):
        try:
            yield json.loads(output_files.read(path))
        except json.JSONDecodeError:
            yield {"job_id": path.rpartition("/")[2].removesuffix(".json"), "status": "unreadable"}


def unclosed_jobs(output: str) -> set[str]:
    """Ids of the jobs that didn't end in good order, or haven't yet."""
    return {record["job_id"] for record in read_records(output) if record["status"] not in CLOSED}


def mark_settled(output: str, job_ids: Collection[str], settled_by: str) -> None:
    """Notes in the records of these jobs that what they left behind has been settled, and by which job."""
    for record in read_records(output):
        if record["job_id"] in job_ids:
            write_record(output, {**record, "status": "settled", "settled_by": settled_by})
