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

LISTED, LABELLED, FAILED, PASSED_OVER = b"l", b"o", b"f", b"s"  # what one byte of a tally says of one image
_STOP = "stop"
_WRITE_EVERY_S = 0.2


@dataclass(frozen=True)
class DriverLink:
    """The folder, and what can be said through it. Picklable; without a folder, nothing is said.

    Attributes:
      folder: made by the driver, or None.
    """

    folder: str | None = None

    def ask_to_stop(self) -> None:
        """Workers take no new images after this."""
        if self.folder is not None:
            Path(self.folder, _STOP).touch()

    def is_stopping(self) -> bool:
        return self.folder is not None and os.path.exists(os.path.join(self.folder, _STOP))

    def tally(self) -> "Tally":
        """For one DoFn instance; to be made on the worker."""
        return Tally(self.folder)


class Tally:
    """Appends to a file of its own: one byte an image. What has been written survives whatever happens to the worker;
    that is done a few times a second: a system call an image makes the calling thread wait for those that decode."""

    def __init__(self, folder: str | None):
        self._file = None
        self._unwritten = bytearray()
        self._next_write = 0.0
        if folder is not None and os.path.isdir(folder):
            self._file = Path(folder, uuid.uuid4().hex).open("ab", buffering=0)

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
