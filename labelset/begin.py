"""How a job begins: it adds an entry to the log, and takes over from a job that is held for dead."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..storage.errors import UsageError
from .counting import find_damage
from .heartbeat import Heartbeat, attend, watch
from .label_set_file import LabelSet, check_label_set, write_label_set
from .log import BEGIN, CLOSE, JobLostError, LogState, append, find_entry, last_number, read_log
from .part_files import DamagedPartError, damaged
from .parts import COUNTED, Part, count_part, job_of, list_parts, read_part, written_parts
from .side_by_side import side_by_side

MAX_IDS_COMPARED = 2_000_000  # in memory, of the parts that a dead job left: about 250 MB

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenJob:
    """A job that has begun.

    Attributes:
      output: the output folder.
      job_id: its id.
      number: of its `begin` in the log.
      label_set: what it writes; None for a job that only tidies up.
      may_repeat: whether its parts may hold images that the parts that count hold already.
    """

    output: str
    job_id: str
    number: int
    label_set: LabelSet | None = None
    may_repeat: bool = False

    def state(self) -> LogState:
        """The log as it was when the job began."""
        return read_log(self.output, self.number)

    def check_open(self) -> None:
        """To be called before each part is written, so that a loser stops early.

        Raises:
          JobLostError: if another job has begun since, this one has closed, or the folder isn't there any more.
        """
        if find_entry(self.output, self.number) is None:
            raise JobLostError(
                f"{self.output}: not there any more: it was moved or deleted while job {self.job_id} was at work. What "
                "was labelled until then is in it, wherever it is now; the same command with its new place goes on "
                "from there"
            )
        if (entry := find_entry(self.output, self.number + 1)) is not None:
            raise lost(self, entry)

    def attend(self) -> None:
        """To be called on a worker by each step at work on the job: from then on its process keeps the job alive."""
        attend(self.output, self.job_id, self.number)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """For what reads parts: those that another job has deleted since it took over aren't damaged.

        Raises:
          JobLostError: if that is so.
        """
        try:
            yield
        except (DamagedPartError, FileNotFoundError):
            self.check_open()
            raise

    def bind(self) -> None:
        """Makes the folder that of this job's label set, before the first part of it is written.

        Raises:
          UsageError: if it is another label set's by now.
        """
        if self.label_set is not None:
            write_label_set(self.output, self.label_set)


def lost(job: OpenJob, entry: Mapping[str, Any]) -> JobLostError:
    """The error for a job after whose beginning this entry was added."""
    if entry["entry"] == CLOSE and entry["job_id"] == job.job_id:
        return JobLostError(f"{job.output}: job {job.job_id} has closed already; what comes later doesn't count")
    return JobLostError(
        f"{job.output}: job {entry['job_id']} has taken over from job {job.job_id}, which had given no sign of life "
        "for a while (asleep, or cut off from its storage). What it had labelled until then counts; the other job "
        "does the rest"
    )


def begin_job(
    output: str,
    job_id: str,
    label_set: LabelSet | None = None,
    *,
    may_repeat: bool = False,
    facts: Mapping[str, Any] | None = None,
    heartbeat: Heartbeat | None = None,
    dead_after_s: float | None = None,
    on_wait: Callable[[dict[str, Any]], None] = lambda content: None,
    mend: bool = False,
) -> OpenJob:
    """Begins a job on an output folder.

    Args:
      output: the output folder, which needn't exist yet.
      job_id: a new one.
      label_set: what the job writes; None for one that only tidies up.
      may_repeat: whether it labels images anew that have a row.
      facts: what else the log says of it, JSON types.
      heartbeat: gives a first sign of life; None gives none.
      dead_after_s: how long another job must have given no sign of life; `DEAD_AFTER_S` if None.
      on_wait: called once with another job's last sign of life, if it has to be watched for a while.
      mend: begin although parts are damaged.

    Raises:
      UsageError: if another job that lives is at work on the folder, or it holds another label set, or one of a newer
        version.
      DamagedPartError: if files of parts that count are damaged.
    """
    while True:
        if label_set is not None:
            check_label_set(output, label_set)
        state = read_log(output)
        over = state.open_job
        if over is not None and (content := watch(output, over, on_wait, dead_after_s)) is not None:
            raise _at_work(output, over, content)
        listed = list_parts(output)
        try:
            if not mend:
                for damage in find_damage(output, state.parts, listed):
                    raise damaged(damage.path, damage.why, output)
            kept, adopted = taken_over(output, state, listed)
        except DamagedPartError:
            if last_number(output) != state.number:  # another job has closed since, and deleted what doesn't count
                continue
            raise
        if heartbeat is not None:
            heartbeat.beat()
        entry = {
            "entry": BEGIN,
            "job_id": job_id,
            "takes_over": over,
            "may_repeat": may_repeat or bool(adopted),
            "label_set": label_set and label_set.fingerprint,
            **({"earlier_jobs": sorted({job_of(part.stem) for part in kept + adopted})} if state.number < 0 else {}),
            **(facts or {}),
        }
        if append(output, state.number + 1, entry, kept, adopted):
            if over is not None:
                _log.warning("%s: job %s is dead; taking over what it has labelled", output, over)
            return OpenJob(output, job_id, state.number + 1, label_set, may_repeat or bool(adopted))


def taken_over(output: str, state: LogState, listed: Mapping[str, Mapping[str, int]]) -> tuple[list[Part], list[Part]]:
    """The parts of a dead job that are to count from now on, and those that may repeat images, until the next close.

    Before there was a log, all finished parts are taken over. What a job wrote that labels nothing anew can't repeat
    images which count: only the new parts are read, however many there are in all. Beyond `MAX_IDS_COMPARED` images,
    parts are held to repeat some.
    """
    if state.number < 0:
        stems = {stem: dict(tables) for stem, tables in listed.items() if "images" in tables}
    elif state.open_job is None:
        return [], []
    else:
        stems = {stem: dict(part.num_bytes) for stem, part in state.adopted.items()}
        stems |= written_parts(output, state.open_job)
    kept, adopted = [], []
    may_repeat = bool(state.entry.get("may_repeat"))
    known: set[bytes] = set()
    for part, image_ids in side_by_side(output, lambda item: _counted(output, *item), stems.items()):
        if part is None:
            continue
        ids = {bytes.fromhex(image_id) for image_id in image_ids}
        few = len(known) + len(ids) <= MAX_IDS_COMPARED
        if few and not may_repeat and known.isdisjoint(ids) and len(ids) == len(image_ids):
            kept.append(part)
            known |= ids
        else:
            adopted.append(part)
    return kept, adopted


def _counted(output: str, stem: str, num_bytes: Mapping[str, int]) -> tuple[Part | None, list[str]]:
    """What a part holds, and its image ids; None if it is damaged."""
    try:
        images = read_part(output, stem, "images", COUNTED)
        return count_part(output, stem, num_bytes, images), list(map(str, images.column("image_id").to_pylist()))
    except DamagedPartError as error:
        _log.warning("%s. It didn't count yet: its images are labelled again", error)
        return None, []


def _at_work(output: str, job_id: str, content: Mapping[str, Any]) -> UsageError:
    return UsageError(
        f"--output {output}: job {job_id} is at work on it (host {content.get('host', '?')}, pid "
        f"{content.get('pid', '?')}). Wait for it to end, or give another folder"
    )
