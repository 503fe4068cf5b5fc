"""How a job closes: with a list of all parts that count from then on, each image in them once."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .begin import OpenJob, lost
from .clean_up import clean_up
from .deduplicate import Compared, deduplicate, find_losers, to_compare
from .log import CLOSE, append, find_entry
from .parts import Part, count_part, written_parts
from .side_by_side import side_by_side

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a job finds when it closes.

    Attributes:
      parts: all parts that are to count, by stem, but for rows of images that have several.
      own: stems of those that the job wrote itself.
      compared: the parts in which such rows may be.
    """

    parts: Mapping[str, Part]
    own: Collection[str]
    compared: Sequence[Compared]


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
    """Brings together what is to count: `find`, then writes new parts where images repeat. Arguments as `find` has."""
    found = find(job, reported, agree, without)
    with job.reading():
        losers = find_losers(job.output, found.compared)
    return left(found, {stem: leave_out(job, found.parts[stem], ids) for stem, ids in losers.items()})


def find(job: OpenJob, reported: Iterable[Part], agree: bool, without: Collection[str] = ()) -> Found:
    """Finds what is to count, and where rows may be that don't. Writes nothing.

    Args:
      reported: what the runner says was written.
      agree: whether the images of these are exactly those that were to be labelled.
      without: stems of damaged parts, which are not to count any more.
    """
    with job.reading():
        return _find(job, {part.stem: part for part in reported}, agree, set(without))


def _find(job: OpenJob, known: Mapping[str, Part], agree: bool, without: set[str]) -> Found:
    state = job.state()
    counting = {stem: part for stem, part in state.parts.items() if stem not in without}
    adopted = {stem: part for stem, part in state.adopted.items() if stem not in without}
    there = written_parts(job.output, job.job_id)
    unknown = [stem for stem in there if stem not in known]
    counted = side_by_side(job.output, lambda stem: count_part(job.output, stem, there[stem]), unknown)
    own = {stem: known[stem] for stem in there if stem in known} | {part.stem: part for part in counted}
    mine = {**adopted, **own}
    found = {**counting, **mine}
    if agree and known.keys() == there.keys() and not adopted and not job.may_repeat:
        return Found(found, list(own), [])
    return Found(found, list(own), to_compare(job.job_id, found if job.may_repeat else mine, mine))


def leave_out(job: OpenJob, part: Part, image_ids: pa.Array) -> Part | None:
    """Writes a new part in place of one in which rows don't count; None if no image is left."""
    with job.reading():
        return deduplicate(job.output, job.job_id, part, image_ids)


def left(found: Found, made: Mapping[str, Part | None]) -> Gathered:
    """What is to count after repeats were left out.

    Args:
      made: the new part by the stem of the old, as `leave_out` gives it.
    """
    parts = {stem: part for stem, part in found.parts.items() if stem not in made}
    parts |= {part.stem: part for part in made.values() if part is not None}
    written = [part for stem in found.own if (part := made.get(stem, found.parts[stem])) is not None]
    repeats = sum(
        found.parts[stem].rows["images"] - (part.rows["images"] if part else 0) for stem, part in made.items()
    )
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
