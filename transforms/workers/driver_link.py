"""What workers on the driver's machine tell the driver while a job runs, and the driver them, through a local folder.

Runners show no counters, or stale ones, before a job ends; a byte appended to a small file works on all that run here.
Workers on other machines don't see the folder and tell nothing: then the parts in the output folder are what can be
counted. Never more than information: nothing that must be right depends on it.
"""

import os
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...storage import files
from ...storage.errors import StorageError

LISTED, LABELLED, FAILED, PASSED_OVER = b"l", b"o", b"f", b"s"  # what one byte of a tally says of one image
_STOP = "stop"
_WRITE_EVERY_S = 0.2
_LOOK_EVERY_S, _LOOK_FAR_EVERY_S = 0.1, 5.0


@dataclass(frozen=True)
class DriverLink:
    """The folder, and what can be said through it. Picklable; without a folder, nothing is said.

    Attributes:
      folder: made by the driver, or None.
      stop_file: path or URI of a file that asks workers on other machines to stop, or None; it's in the output folder.
    """

    folder: str | None = None
    stop_file: str | None = None

    def ask_to_stop(self) -> None:
        """Workers begin nothing new after this.

        Raises:
          OSError: if those on other machines can't be told.
        """
        if self.folder is not None:
            Path(self.folder, _STOP).touch()
        if self.stop_file is not None:
            files.write_atomically(self.stop_file, b"")

    def is_stopping(self) -> bool:
        if self.folder is not None and os.path.isdir(self.folder):
            return os.path.exists(os.path.join(self.folder, _STOP))
        if self.stop_file is None:
            return False
        try:
            files.read(self.stop_file)
        except (OSError, StorageError):  # none there; or a store that is down now, and will be asked again
            return False
        return True

    def stop_check(self) -> "StopCheck":
        """For one DoFn instance."""
        return StopCheck(self)

    def tally(self) -> "Tally":
        """For one DoFn instance; to be made on the worker."""
        return Tally(self.folder)


class StopCheck:
    """Whether the job is to stop, asked as often as one likes: it looks a few times a second on the driver's machine,
    where a look is a system call, and every few seconds elsewhere."""

    def __init__(self, link: DriverLink):
        self._link = link
        self._every_s = _LOOK_EVERY_S if link.folder is not None and os.path.isdir(link.folder) else _LOOK_FAR_EVERY_S
        self._stopping = False
        self._next_look = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look and not self._stopping:
            self._next_look, self._stopping = now + self._every_s, self._link.is_stopping()
        return self._stopping


class Tally:
    """Appends to a file of its own: one byte an image. What has been written survives whatever happens to the worker;
    that is done a few times a second: a system call an image makes the calling thread wait for those that decode."""

    def __init__(self, folder: str | None):
        self._file = None
        self._unwritten = bytearray()
        self._next_write = 0.0
        if folder is not None and os.path.isdir(folder):
            self._file = Path(folder, uuid.uuid4().hex).open("ab", buffering=0)  # noqa: SIM115 – stays open

    def add(self, word: bytes, times: int = 1) -> None:
        if self._file is not None and times:
            self._unwritten += word * times
            now = time.monotonic()
            if now >= self._next_write:
                self._next_write = now + _WRITE_EVERY_S
                self.flush()

    def flush(self) -> None:
        """Writes what has been added; to be called when nothing more may come for a while."""
        if self._file is not None and self._unwritten:
            self._file.write(self._unwritten)
            self._unwritten.clear()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()


class TallyReader:
    """Adds up what all workers tell; each byte is read once."""

    def __init__(self, link: DriverLink):
        assert link.folder is not None, "of a driver"
        self._folder = Path(link.folder)
        self._offsets: dict[str, int] = {}
        self._counts: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def read(self) -> "Counts":
        """What has been told so far."""
        with self._lock:
            for name in os.listdir(self._folder):
                if name != _STOP:
                    with open(self._folder / name, "rb") as file:
                        file.seek(self._offsets.get(name, 0))
                        said = file.read()
                        self._offsets[name] = file.tell()
                    self._counts.update({word: said.count(word) for word in (LISTED, LABELLED, FAILED, PASSED_OVER)})
            return Counts(*(self._counts[word] for word in (LISTED, LABELLED, FAILED, PASSED_OVER)))


@dataclass(frozen=True)
class Counts:
    """How many images were listed, labelled, failed, and passed over (labelled earlier, or listed twice)."""

    listed: int = 0
    labelled: int = 0
    failed: int = 0
    passed_over: int = 0

    @property
    def done(self) -> int:
        return self.labelled + self.failed
