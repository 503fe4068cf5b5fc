"""The journal of what this process works on. It outlives the process if that dies of a fault in a decoder or in the
model.

A job that dies of an image would die of it again at each start. So each process appends a line to a file when work on
images begins and ends, and faulthandler appends to it when a fatal signal ends the process; the next process draws its
conclusions (`quarantine.py`). Journals lie in `OUT/_in_flight/`; for an output in an object store, in the worker's
temporary folder. Each is locked as long as its process lives, and removed when that ends in good order; the others are
when the job does.
"""

import atexit
import contextlib
import faulthandler
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...storage.uris import is_local
from .quarantine import BEGIN, END, HANGS, MEMORY, Death, Quarantine, Stage, Verdicts, judge, read_death
from .turns import Turns

_FOLDER = "_in_flight"  # readers of tables pass over names with an underscore
_SUFFIX = ".journal"
_MAX_BYTES = 4 << 20  # of a journal, before it is begun anew

_log = logging.getLogger(__name__)

_lock = threading.Lock()
_of_this_process: "dict[Path, InFlight]" = {}


def journals_folder(output: str) -> Path:
    """Where processes on this machine keep their journals for an output folder."""
    if is_local(output):
        return Path(output).resolve() / _FOLDER
    name = hashlib.sha256(output.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"labelbeam{_FOLDER}-{os.getuid()}-{name}"


def in_flight_of(output: str | None) -> "InFlight":
    """What this process works on for an output folder, the same for all callers; without a journal if that is None."""
    if output is None:
        return InFlight(None)
    folder = journals_folder(output)
    with _lock:
        if folder not in _of_this_process:
            _of_this_process[folder] = InFlight(folder)
        return _of_this_process[folder]


def remove_journals(output: str) -> None:
    """Forgets all deaths on this machine: the job has ended in good order."""
    folder = journals_folder(output)
    with _lock:
        in_flight = _of_this_process.pop(folder, None)
    if in_flight is not None:
        in_flight.close()
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:  # the job is done; what stays behind can only quarantine images that are labelled
        _log.warning("%s can't be removed (%s); remove it by hand.", folder, error)


@atexit.register
def _close_all() -> None:
    while _of_this_process:
        _of_this_process.popitem()[1].close()


class InFlight:
    """What this process works on, and what follows from the deaths of others. Thread-safe. To be had from
    `in_flight_of`.

    Where no journal can be kept, work goes on without one, with a warning.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._turns = Turns()
        self._lock = threading.Lock()  # guards everything below
        self._deaths: dict[str, Death | None] = {}  # by the journal's name
        self._verdicts = Verdicts()
        self._stages: dict[str, Stage] = {}  # of the images in flight
        self._journal: _Journal | None = None
        self.refresh()
        if folder is not None:
            try:
                self._journal = _Journal(folder)
            except OSError as error:
                self._give_up_journal(folder, error)

    def refresh(self) -> None:
        """Reads the journals of processes that have died since; a listing of a folder."""
        if self._folder is None:
            return
        with self._lock:
            own = self._journal and self._journal.path.name
            for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
                if path.name != own and path.name not in self._deaths:
                    self._read(path)
            self._verdicts = judge(death for death in self._deaths.values() if death is not None)

    @property
    def budget_share(self) -> float:
        """What to take of each budget of memory: all, or after deaths by lack of it a half, a quarter, …"""
        return 0.5**self._verdicts.halvings

    def runs_alone(self, image_id: str) -> bool:
        """Whether a process may have died of this image: it's worked on with no other in flight."""
        return image_id in self._verdicts.alone

    def quarantined(self, image_id: str) -> Quarantine | None:
        """Why an image is not to be worked on any more; None for one that may be."""
        return self._verdicts.quarantined.get(image_id)

    @contextlib.contextmanager
    def work(self, stage: Stage, image_ids: Sequence[str], alone: bool = False) -> Iterator[None]:
        """For as long as the calling thread works on images.

        In the stages `decode` and `model`, an image that runs alone (or is to, `alone`) waits until no other thread of
        this process is in one of them, and keeps others waiting; so they must not be nested, nor wait for a thread that
        may come here. `open` never waits: it's part of reading, which has a deadline.
        """
        alone = alone or not self._verdicts.alone.isdisjoint(image_ids)
        with contextlib.nullcontext() if stage == "open" else self._turns.turn(alone):
            self._note(f"{BEGIN} {stage}", image_ids, stage)
            try:
                yield
            finally:
                self._note(END, image_ids, None)

    def note_hanging(self, image_ids: Sequence[str], seconds: float) -> None:
        """The model hasn't answered for images so long: they are candidates, however the process ends."""
        self._note(f"{HANGS} {seconds:.0f}", image_ids, "model")

    def close(self) -> None:
        """Removes the journal. Threads that are still at work go on without."""
        with self._lock:
            if self._journal is not None:
                self._journal.remove()
                self._journal = None

    def _note(self, words: str, image_ids: Sequence[str], stage: Stage | None) -> None:
        with self._lock:
            for image_id in image_ids:
                self._stages.pop(image_id, None)
                if stage is not None:
                    self._stages[image_id] = stage
            if self._journal is not None:
                try:
                    self._journal.append(" ".join([words, *image_ids]), self._stages)
                except OSError as error:
                    self._give_up_journal(self._journal.path, error)
                    self._journal.remove()
                    self._journal = None

    def _give_up_journal(self, path: Path, error: OSError) -> None:
        _log.warning(
            "%s: no journal can be kept there (%s). If an image ends the process, the next start won't know which.",
            path,
            error,
        )

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                text = file.read(2 * _MAX_BYTES).decode("utf-8", "replace")
            if not text:  # its process has yet to lock it
                return
            death = read_death(path.name, text, _oom_kills())
        except (BlockingIOError, PermissionError, FileNotFoundError):  # its process lives; another has just removed it
            return
        except (OSError, ValueError) as error:
            self._deaths[path.name] = None
            _log.warning("%s: the journal of a process that died can't be read (%s); passed over.", path, error)
            return
        if death is None:
            path.unlink(missing_ok=True)
            return
        self._deaths[path.name] = death
        if death.memory_event is not None:
            what = "for lack of memory. Budgets of memory and batches are halved; no image is blamed"
        else:
            what = f"with {len(death.candidates)} images in flight that may be the cause. Each runs alone now, and is "
            what += "quarantined if it happens again"
        _log.warning("A process died (%s) %s. Its journal: %s", death.cause, what, path)


class _Journal:
    """The file. Not thread-safe.

    Raises:
      OSError: if it can't be written, or the filesystem has no locks.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        self._pid = os.getpid()
        self._memory_limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        self._file = self.path.open("xb", buffering=0)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # one that a forked child doesn't inherit
            self._begin({})
        except OSError:
            self._file.close()
            self.path.unlink(missing_ok=True)
            raise
        faulthandler.enable(self._file, all_threads=False)

    def append(self, line: str, stages: dict[str, Stage]) -> None:
        """Appends a line, or all that is in flight to a file that is begun anew."""
        if os.getpid() != self._pid:
            return  # a forked child
        if self._memory_limit != resource.RLIM_INFINITY:
            self._write(f"{MEMORY} {100 * _address_space() // self._memory_limit}")
        self._write(line)
        if self._num_bytes > _MAX_BYTES:
            self._begin(stages)

    def _begin(self, stages: dict[str, Stage]) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._num_bytes = 0
        lines = [json.dumps({"pid": self._pid, "oom_kills": _oom_kills()})]
        self._write("\n".join([*lines, *(f"{BEGIN} {stage} {image_id}" for image_id, stage in stages.items())]))

    def _write(self, text: str) -> None:
        self._num_bytes += self._file.write(f"{text}\n".encode())

    def remove(self) -> None:
        if os.getpid() == self._pid:
            faulthandler.disable()
            with contextlib.suppress(ValueError, OSError):
                if sys.__stderr__ is not None:  # somebody may have enabled it before
                    faulthandler.enable(sys.__stderr__)
            self._file.close()
            self.path.unlink(missing_ok=True)


def _oom_kills() -> int:
    """Processes that this machine's out-of-memory killer has ended so far; 0 where the system doesn't say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the system doesn't say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0
