"""Records of jobs, `_jobs/<job id>.json`: what a job was asked to do, and what came of it, for people and their tools.

A record is written when a job starts (`running`), and again when it ends: `complete`, or `incomplete` when rows are
missing, `failed`, `interrupted`. A job that was killed leaves `running` behind. Which parts count is told by the log,
not here.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ..storage import files
from ..storage.uris import join

JOBS_FOLDER = "_jobs"


def record_path(output: str, job_id: str) -> str:
    return join(output, JOBS_FOLDER, f"{job_id}.json")


def utc_now() -> str:
    """ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_record(output: str, record: Mapping[str, Any]) -> None:
    """Writes a record; it must have `job_id`. JSON types."""
    files.write_atomically(
        record_path(output, record["job_id"]),
        json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )


def read_record(output: str, job_id: str) -> dict[str, Any]:
    """Raises `FileNotFoundError` if there's none."""
    return json.loads(files.read(record_path(output, job_id)))


def read_records(output: str) -> Iterator[dict[str, Any]]:
    """Every job's record, oldest first. One that can't be read comes as `{"job_id": …, "status": "unreadable"}`."""
    for path in files.list_files(record_path(output, "*")):
        job_id = path.rpartition("/")[2].removesuffix(".json")
        try:
            record = json.loads(files.read(path))
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.get("job_id") != job_id or not isinstance(record.get("status"), str):
            record = {"job_id": job_id, "status": "unreadable", "file": path}
        yield record
