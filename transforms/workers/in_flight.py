"""Notes on the images that this process has in hand, which outlive it if it dies of them (a fault in a decoder or a kernel).

A job that dies of an image would die of it again at each start. So each process keeps a small memory-mapped table of the images
that its threads decode or run the model on: what is written there survives the process, and costs microseconds, no system call.
faulthandler, aimed at a file beside it, tells a crash from a kill. The next process to start reads both (`past_crashes.py`) and
works on suspects alone, so that a second crash names the image; from then on it is a failed row and nobody touches it.

The files lie in `OUT/_in_flight/` for an output folder on disk. For one in an object store they lie in the worker's temporary
folder, under a name made from the output's URI: on a cluster that helps as far as the worker's disk survives its process, and
what is known of an image stays there until that disk is cleared. They are removed when a process ends in good order; those of
crashes when the job does (`remove_notes`).

Not for anything that must survive the machine: nothing is synced to disk. Interpreter-level fatal errors, which write their own
report to stderr, and stack overflows outside the main thread leave no dump and aren't seen.
"""

import atexit
import contextlib
import errno
import faulthandler
import fcntl
import functools
import hashlib
import logging
import mmap
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...storage.uris import is_local
from ..elements import ImageFailure
from .quarantine import DUMP_SUFFIX, ENTRY, NOTES_SUFFIX, STAGES, PastCrashes, Stage, Verdicts, remove_files

_ENTRIES = 512  # in a new table: 16 KiB; it grows with what is in hand
_FOLDER = "_in_flight"  # readers of tables pass over names with an underscore

_log = logging.getLogger(__name__)

_lock = threading.RLock()  # of the three below; re-entrant, since garbage collection may close notes at any point
_open: "dict[Path, CrashNotes]" = {}  # of this process; crashes are dumped beside those opened last
_dump = None  # the file to which faulthandler writes for us
_enabled_before = False  # whether it was enabled before we took it over


def notes_folder(output: str) -> Path:
    """Where processes on this machine keep their notes for an output folder."""
    if is_local(output):
        return Path(output).absolute() / _FOLDER
    name = hashlib.sha256(output.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"labelbeam{_FOLDER}-{os.getuid()}-{name}"


def open_notes(output: str | None) -> "CrashNotes":
    """This process's notes for an output folder; each call needs a `close`. None keeps no notes and suspects nobody.

    Where notes can't be written, work goes on without them, with a warning.
    """
    if output is None:
        return CrashNotes(None)
    folder = notes_folder(output)
    with _lock:
        _watch_process()
        notes = _open.get(folder)
        if notes is None:
            notes = _open[folder] = CrashNotes(folder)
            _aim_dumps()
        notes.users += 1
    return notes


def remove_notes(output: str) -> None:
    """Forgets all that is known of crashes on this machine: the job has ended in good order."""
    folder = notes_folder(output)
    with _lock:
        notes = _open.get(folder)
        if notes is not None:
            notes.remove()
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:  # the job is done; what stays behind would only set images aside that are labelled
        _log.warning("%s can't be removed (%s); remove it by hand.", folder, error)


class CrashNotes:
    """What this process has in hand, and what earlier crashes say. Thread-safe. To be had from `open_notes`."""

    def __init__(self, folder: Path | None):
        self.users = 0  # guarded by the module's lock, like `file`
        self.file: _NotesFile | None = None
        self._folder = folder
        self._past = None if folder is None else PastCrashes(folder)
        self._verdicts = Verdicts()
        self._changed = threading.Condition()  # guards everything below, and the file's entries
        self._busy = 0  # pieces of work in hand
        self._alone = False  # whether the one piece in hand is a suspect
        self._suspects_waiting = 0
        if folder is not None:
            self.refresh()
            try:
                self.file = _NotesFile(folder)
            except OSError as error:
                _log.warning(
                    "%s: no notes can be kept there (%s). Work goes on; should an image end the process, the next start "
                    "won't know which one it was.",
                    folder,
                    error,
                )

    def refresh(self) -> None:
        """Looks for crashes that happened since; a listing of a folder."""
        if self._past is not None:
            with self._changed:
                self._verdicts = self._past.judge()

    def is_suspect(self, image_id: str) -> bool:
        """Whether a process may have died of this image once: it's worked on with no other in hand."""
        return image_id in self._verdicts.suspects

    def why_set_aside(self, image_id: str) -> ImageFailure | None:
        """Why an image is not to be touched any more; None for one that may be."""
        return self._verdicts.set_aside.get(image_id)

    @contextlib.contextmanager
    def in_hand(self, stage: Stage, image_ids: Sequence[str]) -> Iterator[None]:
        """Notes that the calling thread works on images.

        In the stages `decode` and `model`, a suspect waits until no other thread of this process is in one of them, and keeps
        others waiting. So they must not be nested, nor wait for another thread that may call this. `open` never waits: it's
        part of reading, which has a deadline.
        """
        with contextlib.nullcontext() if stage == "open" else self._turn(alone=any(map(self.is_suspect, image_ids))):
            with self._changed:
                file = self.file
                entries = file.write(stage, image_ids) if file else ()
            try:
                yield
            finally:
                with self._changed:
                    if file:
                        file.clear(entries)

    @contextlib.contextmanager
    def _turn(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._wait_for_turn(alone)
            self._busy += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._alone = False
                self._changed.notify_all()

    def _wait_for_turn(self, alone: bool) -> None:
        if not alone:  # suspects first: others would never let them have their turn
            self._changed.wait_for(lambda: not self._alone and not self._suspects_waiting)
            return
        self._suspects_waiting += 1
        try:
            self._changed.wait_for(lambda: not self._busy)
        finally:
            self._suspects_waiting -= 1

    def close(self) -> None:
        """To be called once for each `open_notes`; the last one removes this process's files."""
        with _lock:
            self.users -= 1
            if self.users <= 0:
                self.remove()

    def remove(self) -> None:
        """Removes this process's files. Threads that are still at work go on, unnoted."""
        with _lock:
            file, self.file = self.file, None
            if _open.get(self._folder) is self:
                del _open[self._folder]
                _aim_dumps()
            if file is not None:
                remove_files(file.path)

    def leave_to_parent(self) -> None:
        """After a fork, in the child: lets go of the parent's files, whose lock would otherwise outlive the parent."""
        if self.file is not None:
            self.file.close()
            self.file = None


class _NotesFile:
    """The table, and the file for faulthandler beside it. Not thread-safe.

    Raises:
      OSError: if the files can't be made, there is no room for them, or the filesystem has no locks.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{NOTES_SUFFIX}"
        temporary = self.path.with_suffix(".tmp")  # under its name only when it is locked: unlocked ones are swept
        self.dump = self.path.with_suffix(DUMP_SUFFIX).open("wb", buffering=0)
        self._table = temporary.open("x+b", buffering=0)
        self._free: list[int] = []  # offsets of entries
        try:
            fcntl.flock(self._table, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._grow(_ENTRIES)
            temporary.rename(self.path)
        except OSError:
            self.close()
            temporary.unlink(missing_ok=True)
            remove_files(self.path)
            raise

    def _grow(self, entries: int) -> None:
        # Zeros are really written: a page for which the disk has no room would end the process when it is first touched.
        start = self._table.seek(0, os.SEEK_END)
        size = start + entries * ENTRY.size
        if self._table.write(bytes(size - start)) < size - start:
            self._table.truncate(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._map = mmap.mmap(self._table.fileno(), size)
        self._free.extend(range(start, size, ENTRY.size))

    def write(self, stage: Stage, image_ids: Sequence[str]) -> list[int]:
        """Notes images of the calling thread; returns what `clear` wants."""
        if len(self._free) < len(image_ids):
            try:
                self._grow(max(_ENTRIES, len(image_ids)))
            except OSError as error:
                _log.warning("%s: no room for more notes (%s); %d images go unnoted.", self.path, error, len(image_ids))
                return []
        thread_id, stage_number = threading.get_ident(), 1 + STAGES.index(stage)
        offsets = [self._free.pop() for _ in image_ids]
        for offset, image_id in zip(offsets, image_ids):
            ENTRY.pack_into(self._map, offset, thread_id, stage_number, bytes.fromhex(image_id))
        return offsets

    def clear(self, offsets: Sequence[int]) -> None:
        for offset in offsets:
            ENTRY.pack_into(self._map, offset, 0, 0, b"")
        self._free.extend(offsets)

    def close(self) -> None:
        """Lets go of the files; of the map, too, which holds on to the table by itself."""
        self.dump.close()
        self._table.close()
        if hasattr(self, "_map"):
            self._map.close()


def _aim_dumps() -> None:
    """Has faulthandler write beside the notes opened last.

    Somebody may have enabled it before (PYTHONFAULTHANDLER, a test runner). It has one file a process, and a crash that isn't
    dumped beside the notes isn't known as one: so it is taken over, and given back to stderr afterwards; where it wrote
    before can't be asked.
    """
    global _dump, _enabled_before
    dumps = [notes.file.dump for notes in list(_open.values()) if notes.file is not None]
    previous, _dump = _dump, dumps[-1] if dumps else None
    if _dump is previous:
        return
    if previous is None:
        _enabled_before = faulthandler.is_enabled()
    if _dump is not None:
        faulthandler.enable(_dump, all_threads=True)
    elif _enabled_before and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    else:
        faulthandler.disable()


@functools.cache
def _watch_process() -> None:
    atexit.register(_remove_all)
    os.register_at_fork(after_in_child=_leave_to_parent)


def _remove_all() -> None:
    for notes in list(_open.values()):
        notes.remove()


def _leave_to_parent() -> None:
    global _lock, _dump
    _lock = threading.RLock()  # another thread of the parent may have held it
    if _dump is not None:
        faulthandler.disable()  # the parent's dump is not for a child's crash
        _dump = None
    for notes in _open.values():
        notes.leave_to_parent()
    _open.clear()
