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
_MIN_BYTES = len('{"job_id": "", "status": ""}')


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
    """Every job's record, oldest first; of one that can't be read, `job_id`, `status` `unreadable`, and its `file`."""
    for path in files.list_files(record_path(output, "*")):
        job_id = path.rpartition("/")[2].removesuffix(".json")
        try:
            record = json.loads(files.read(path))
        except FileNotFoundError:  # deleted since it was listed
            continue
        except ValueError:
            record = None
        if not (isinstance(record, dict) and record.get("job_id") == job_id and _is_as_written(record)):
            record = {"job_id": job_id, "status": "unreadable", "file": path}
        yield record


def describe_unreadable(path: str) -> str:
    """A sentence about a file that is no job's record."""
    return f"{path}: can't be read as a job's record. No label depends on it: delete it, or restore it from a backup"


def find_stumps(output: str) -> list[str]:
    """Paths of records that are empty or cut so short that they can't be any: found without reading one."""
    return [path for path, size in files.list_sizes(record_path(output, "*")).items() if size < _MIN_BYTES]


def _is_as_written(record: Mapping[str, Any]) -> bool:
    """Whether what people are shown of a record has its types."""
    try:
        for name in ("started_at", "finished_at"):
            datetime.fromisoformat(record.get(name, utc_now()))
    except (ValueError, TypeError):
        return False
    numbers = [record.get(name, 0) for name in ("written", "skipped")]
    texts = [record.get("status"), record.get("error", "")]
    return all(isinstance(n, int) for n in numbers) and all(isinstance(text, str) for text in texts)
