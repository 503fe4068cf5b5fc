"""How a job closes: with a list of all parts that count from then on, each image in them once."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .begin import OpenJob, lost
from .clean_up import clean_up
from .deduplicate import deduplicate
from .log import CLOSE, append, find_entry
from .parts import Part, count_part, written_parts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gathered:
    """What a job has brought together when it closes.

    Attributes:
      parts: all parts that are to count, by stem.
      written: of what the job wrote itself, what is left; the images in it.
      repeats: rows of images that had several, which were left out.
    """

    parts: Mapping[str, Part]
    written: Sequence[Part]
    repeats: int


def gather(job: OpenJob, reported: Iterable[Part], agree: bool, without: Collection[str] = ()) -> Gathered:
    """Brings together what is to count. Writes new parts where images repeat.

    Args:
      reported: what the runner says was written.
      agree: whether the images of these are exactly those that were to be labelled.
      without: stems of damaged parts, which are not to count any more.
    """
    with job.reading():
        return _gather(job, {part.stem: part for part in reported}, agree, set(without))


def _gather(job: OpenJob, known: Mapping[str, Part], agree: bool, without: set[str]) -> Gathered:
    state = job.state()
    counting = {stem: part for stem, part in state.parts.items() if stem not in without}
    adopted = {stem: part for stem, part in state.adopted.items() if stem not in without}
    there = written_parts(job.output, job.job_id)
    own = {
        stem: known[stem] if stem in known else count_part(job.output, stem, num_bytes)
        for stem, num_bytes in there.items()
    }
    mine = {**adopted, **own}
    candidates = {**counting, **mine} if job.may_repeat else mine
    agree = agree and known.keys() == there.keys() and not adopted
    if agree and not job.may_repeat:
        return Gathered({**counting, **mine}, list(own.values()), 0)
    replaced, repeats = deduplicate(job.output, job.job_id, candidates, mine)
    parts = {stem: part for stem, part in {**counting, **mine}.items() if stem not in replaced}
    parts |= {part.stem: part for part in replaced.values() if part is not None}
    written = [part for stem in own if (part := replaced.get(stem, own[stem])) is not None]
    return Gathered(parts, written, repeats)


def close_job(job: OpenJob, status: str, parts: Mapping[str, Part], facts: Mapping[str, Any] | None = None) -> int:
    """Closes a job, and deletes what doesn't count any more. Done again, it does nothing.

    Args:
      status: how the job ended.
      parts: all that count from now on, by stem.
      facts: what else the log says of it, JSON types.

    Returns:
      How many parts and temporary files were deleted.

    Raises:
      JobLostError: if another job has taken over.
    """
    entry = {"entry": CLOSE, "job_id": job.job_id, "status": status, **(facts or {})}
    if (existing := find_entry(job.output, job.number + 1)) is None:
        job.check_open()
        if not append(job.output, job.number + 1, entry, parts.values()):
            existing = find_entry(job.output, job.number + 1)
    if existing is not None and not _is_close_of(existing, job):
        raise lost(job, existing)
    try:
        return clean_up(job.output)
    except OSError as error:  # the job has closed: what is left behind doesn't count, and is deleted by the next one
        _log.warning("%s: what doesn't count any more couldn't be deleted: %s", job.output, error)
        return 0


def closed_as(job: OpenJob) -> dict[str, Any] | None:
    """What the log says of a job's end; None if it is still open.

    Raises:
      JobLostError: if another job has taken over.
    """
    entry = find_entry(job.output, job.number + 1)
    if entry is not None and not _is_close_of(entry, job):
        raise lost(job, entry)
    return entry


def close_early(job: OpenJob, status: str, facts: Mapping[str, Any] | None = None) -> None:
    """Closes a job that failed or was interrupted: its finished parts count. Raises as `close_job`."""
    if closed_as(job) is None:
        job.check_open()
        close_job(job, status, gather(job, (), agree=False).parts, facts)


def replaced(parts: Mapping[str, Part], groups: Iterable[tuple[Sequence[str], Part]]) -> dict[str, Part]:
    """Parts after compaction.

    Args:
      parts: by stem.
      groups: stems, and the part that was made of them.
    """
    kept = dict(parts)
    for stems, part in groups:
        for stem in stems:
            kept.pop(stem, None)
        kept[part.stem] = part
    return kept


def _is_close_of(entry: Mapping[str, Any], job: OpenJob) -> bool:
    return entry["entry"] == CLOSE and entry["job_id"] == job.job_id
