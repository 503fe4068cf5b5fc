"""Deletes what doesn't count any more: of an output folder's files, only those with names of exactly our form.

- Files of parts that the log doesn't name, of jobs that have closed or were taken over.
- Lists of parts that an earlier close left; heartbeats of jobs that have ended, and what asked their workers to stop.
- Temporary files of such jobs.

Files are listed first and the log is read afterwards: so what is found in the log later than a file was listed
protects it.
"""

import logging
import re

from ..storage import files
from ..storage.uris import is_local, join
from .job_records import JOBS_FOLDER
from .label_set_file import LABEL_SET_FILE
from .log import LOG_FOLDER, find_jobs, is_current, read_log, snapshots
from .parts import delete_parts, job_of, list_parts
from .schemas import TABLES

_OF_JOB = re.compile(r"(?:heartbeat-|stop-)(.+?)(?:\.json)?")
_TEMPORARY = r"\.{name}\.[0-9a-f]{{8}}" + re.escape(files.TEMPORARY_SUFFIX)
_STEM_FILE = r"part-.+-c?[0-9a-f]{12}\.parquet"

_log = logging.getLogger(__name__)


def clean_up(output: str) -> int:
    """Deletes what doesn't count any more; returns how many parts and temporary files that were."""
    listed = list_parts(output)
    beats = _matching(join(output, LOG_FOLDER), _OF_JOB.pattern)
    old_snapshots = snapshots(output)
    temporary = _temporary_files(output) if is_local(output) else []
    state = read_log(output)
    strays = {
        stem: job_of(stem)
        for stem in listed
        if stem not in state.parts and stem not in state.adopted and job_of(stem) not in ("", state.open_job)
    }
    beats = {path: match[1] for path, match in beats.items() if match[1] != state.open_job}
    ended = find_jobs(output, {*strays.values(), *beats.values()})
    stems = [stem for stem, job_id in strays.items() if job_id in ended]
    old, left = [path for path, job_id in beats.items() if job_id in ended], []
    if state.open_job is None:  # so whatever was listed before is of a job that has ended
        old += [path for path, number in old_snapshots.items() if not is_current(state, path, number)]
        left = [path for path in temporary if not _of_next_entry(path, state.number)]
    delete_parts(output, {stem: listed[stem] for stem in stems})
    files.delete([*old, *left])
    if stems or left:
        _log.info("%s: deleted %d parts that don't count and %d temporary files", output, len(stems), len(left))
    return len(stems) + len(left)


def _temporary_files(output: str) -> list[str]:
    """Temporary files of our writing, in the folders where we write, by their names."""
    entry, log_folder = r"(?:\d{8}\.json|\d{8}-[0-9a-f]{12}\.parquet|heartbeat-.+\.json)", join(output, LOG_FOLDER)
    found = [*_matching(log_folder, _TEMPORARY.format(name=entry))]
    found += _matching(join(output, JOBS_FOLDER), _TEMPORARY.format(name=r"\d{8}T\d{6}-[0-9a-f]{6}\.json"))
    found += _matching(output, _TEMPORARY.format(name=re.escape(LABEL_SET_FILE)))
    for table in TABLES:
        found += _matching(join(output, table), _TEMPORARY.format(name=_STEM_FILE))
    for number in range(256):
        masks = join(output, "masks_png", f"{number:02x}")
        found += _matching(masks, _TEMPORARY.format(name=r"[0-9a-f]{32}-\d+\.png"))
    return found


def _of_next_entry(path: str, number: int) -> bool:
    """Whether a temporary file may be of a job that is about to begin."""
    match = re.match(r"\.(?:(\d{8})[.-]|heartbeat-)", path.rpartition("/")[2])
    return bool(match) and (match[1] is None or int(match[1]) > number)


def _matching(folder: str, pattern: str) -> dict[str, re.Match]:
    """Path -> match, of a folder's own files whose whole names match."""
    found = {}
    for file in files.list_below(folder, recursive=False):
        if match := re.fullmatch(pattern, file.path.rpartition("/")[2]):
            found[file.path] = match
    return found
