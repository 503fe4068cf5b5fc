"""The log of an output folder: which parts count, told by entries that are only ever added.

    _log/00000012.json              an entry: a job begins, or closes
    _log/00000012-3f9a….parquet     its parts: stems with rows and bytes by table

An entry is created only if its number is free, so that all see one order, and only by who has read all entries before
it. A `begin` may take over from a job that is held for dead: it names the parts of that job which count from now on.
A `close` names all parts that count from now on. Nothing else makes a part count.
"""

import io
import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage import files
from ..storage.errors import UsageError
from ..storage.uris import join
from .label_set_file import FORMAT_VERSION, check_version
from .parts import Part
from .schemas import TABLES

LOG_FOLDER = "_log"
BEGIN, CLOSE = "begin", "close"
_ENTRY = re.compile(r"(\d{8})\.json")
_SNAPSHOT = re.compile(r"(\d{8})-[0-9a-f]{12}\.parquet")
_READ_TRIES = 5
_PARTS_SCHEMA = pa.schema(
    [
        pa.field("stem", pa.string(), nullable=False),
        pa.field("counts", pa.bool_(), nullable=False),
        *(pa.field(f"{table}_{what}", pa.int64()) for table in TABLES for what in ("rows", "bytes")),
        pa.field("failures", pa.map_(pa.string(), pa.int64())),  # which an older labelbeam doesn't write
    ]
)


class JobLostError(RuntimeError):
    """Another job has taken over the output folder, or the folder is gone: nothing more of this job will count."""


@dataclass(frozen=True)
class LogState:
    """What the log says up to an entry.

    Attributes:
      number: of that entry; -1 if there is none.
      parts: the parts that count, by stem.
      open_job: the job that has begun and not closed; None if there is none.
      adopted: parts of dead jobs that the open job treats as its own: they may repeat images, and so count only when
        the job has closed.
      entry: that entry; empty if there is none.
    """

    number: int = -1
    parts: Mapping[str, Part] = field(default_factory=dict)
    open_job: str | None = None
    adopted: Mapping[str, Part] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)


def entry_path(output: str, number: int) -> str:
    return join(output, LOG_FOLDER, f"{number:08d}.json")


def read_log(output: str, number: int | None = None) -> LogState:
    """Reads the log: the last close, and what has begun since.

    Args:
      output: the output folder.
      number: the last entry that is looked at; None for all there are.

    Raises:
      UsageError: if an entry can't be read, or is of a newer version.
    """
    for last_try in [False] * _READ_TRIES + [True]:
        try:
            return _read(output, number)
        except FileNotFoundError as error:  # a later close has had the snapshot cleaned up
            if last_try:
                raise _damaged(str(error.filename or error), "no such file") from error
    raise AssertionError


def _read(output: str, number: int | None) -> LogState:
    last = last_number(output) if number is None else number
    begins: list[dict[str, Any]] = []
    closed: dict[str, Any] = {}
    for i in range(last, -1, -1):
        entry = _read_entry(output, i)
        if entry["entry"] == CLOSE:
            closed = entry
            break
        begins.append(entry)
    parts = _counting(_read_parts(output, closed))
    adopted: dict[str, Part] = {}
    for entry in reversed(begins):
        taken = _read_parts(output, entry)
        parts |= _counting(taken)
        adopted = {stem: part for stem, (part, counts) in taken.items() if not counts}
    newest = begins[0] if begins else closed
    return LogState(last, parts, begins[0]["job_id"] if begins else None, adopted, newest)


def last_number(output: str) -> int:
    """The number of the last entry; -1 if there is none."""
    names = (path.rpartition("/")[2] for path in files.list_files(join(output, LOG_FOLDER, "*.json")))
    return max((int(match[1]) for match in map(_ENTRY.fullmatch, names) if match), default=-1)


def find_entry(output: str, number: int) -> dict[str, Any] | None:
    """One entry, or None if there's none of this number."""
    try:
        return _read_entry(output, number)
    except FileNotFoundError:
        return None


def find_jobs(output: str, job_ids: Collection[str]) -> set[str]:
    """Those of the ids that are of jobs which have begun at some time."""
    missing, number = set(job_ids), last_number(output)
    while missing and number >= 0:
        entry = _read_entry(output, number)
        missing -= {entry["job_id"], *entry.get("earlier_jobs", ())}
        number -= 1
    return set(job_ids) - missing


def append(
    output: str,
    number: int,
    entry: Mapping[str, Any],
    parts: Iterable[Part] = (),
    adopted: Iterable[Part] = (),
) -> bool:
    """Adds an entry, if its number is still free.

    Args:
      number: one more than that of the last entry, which the caller has read, and all before it.
      entry: `entry` (`begin` or `close`), `job_id`, and what else is to be said. JSON types.
      parts: those that it makes count.
      adopted: parts of a dead job that the beginning one treats as its own.

    Returns:
      Whether it was added; it is there, whole and durable. False if another entry has this number.
    """
    token = uuid.uuid4().hex[:12]
    content = {"version": FORMAT_VERSION, "token": token, **entry}
    table = _parts_table(parts, adopted)
    if len(table):
        content["parts"] = f"{number:08d}-{token}.parquet"
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        files.write_atomically(join(output, LOG_FOLDER, content["parts"]), buffer.getbuffer())
    data = json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if files.create_exclusive(entry_path(output, number), data):
        return True
    # A store may have done what was asked although its answer was lost, and a client that tried again was refused.
    return (find_entry(output, number) or {}).get("token") == token


def snapshots(output: str) -> dict[str, int]:
    """Path -> number of the entry, of all files of parts that lie beside the entries."""
    found = {}
    for path in files.list_files(join(output, LOG_FOLDER, "*.parquet")):
        if match := _SNAPSHOT.fullmatch(path.rpartition("/")[2]):
            found[path] = int(match[1])
    return found


def is_current(state: LogState, path: str, number: int) -> bool:
    """Whether a file of parts may be needed: by the last entry, if that is a close, or by one that comes next."""
    return number > state.number or path.rpartition("/")[2] == state.entry.get("parts")


def _read_entry(output: str, number: int) -> dict[str, Any]:
    path = entry_path(output, number)
    try:
        entry = json.loads(files.read(path))
        check_version(path, entry["version"])
        if entry["entry"] not in (BEGIN, CLOSE) or not isinstance(entry["job_id"], str):
            raise ValueError("neither a beginning nor an end of a job")
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, repr(error)) from error
    return entry


def _damaged(path: str, why: str) -> UsageError:
    return UsageError(f"{path}: damaged ({why}), so which parts count isn't known. Restore this file from a backup")


def _read_parts(output: str, entry: Mapping[str, Any]) -> dict[str, tuple[Part, bool]]:
    """The parts that an entry names, with whether they count."""
    if "parts" not in entry:
        return {}
    path = join(output, LOG_FOLDER, entry["parts"])
    data = files.read(path)
    try:
        rows = pq.read_table(io.BytesIO(data), page_checksum_verification=True).to_pylist()
        return {row["stem"]: (_part(row), row["counts"]) for row in rows}
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, " ".join(str(error).split())) from error


def _part(row: Mapping[str, Any]) -> Part:
    tables = [table for table in TABLES if row.get(f"{table}_bytes") is not None]
    return Part(
        row["stem"],
        rows={table: row[f"{table}_rows"] for table in tables},
        num_bytes={table: row[f"{table}_bytes"] for table in tables},
        failures=None if row.get("failures") is None else dict(row["failures"]),
    )


def _counting(parts: Mapping[str, tuple[Part, bool]]) -> dict[str, Part]:
    return {stem: part for stem, (part, counts) in parts.items() if counts}


def _parts_table(parts: Iterable[Part], adopted: Iterable[Part]) -> pa.Table:
    rows = [
        {
            "stem": part.stem,
            "counts": counts,
            **{f"{table}_rows": number for table, number in part.rows.items()},
            **{f"{table}_bytes": number for table, number in part.num_bytes.items()},
            "failures": None if part.failures is None else list(part.failures.items()),
        }
        for some, counts in ((parts, True), (adopted, False))
        for part in sorted(some, key=lambda part: part.stem)
    ]
    return pa.Table.from_pylist(rows, schema=_PARTS_SCHEMA)
