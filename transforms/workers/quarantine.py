"""What processes that died left behind, and what follows for the images that they had in hand.

A process keeps two files while it works (see `crash_notes.py`, which writes them): `<name>.notes`, a table of the images that
its threads have in hand, locked as long as the process lives, and `<name>.dump`, to which faulthandler writes when a fatal signal
ends it. A dump that isn't empty is a crash. A process that was killed (SIGKILL, by a person, a scheduler or the kernel's
out-of-memory killer) leaves an empty one, and nothing follows for its images.

Not for exceptions, which never end a process: see `detect.py` and `fetch_images.py`.
"""

import fcntl
import logging
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, get_args

from ..elements import ImageFailure

Stage = Literal["open", "decode", "model"]  # "open": its header is read
STAGES: tuple[Stage, ...] = get_args(Stage)

NOTES_SUFFIX, DUMP_SUFFIX = ".notes", ".dump"

# An image in hand: the thread (threading.get_ident), 1 + the index of the stage (0: nobody's entry), the image id.
ENTRY = struct.Struct("<QB7x16s")
_MAX_BYTES = 16 << 20  # of a file that is read: half a million images in hand; dumps are much smaller

# faulthandler's words; the rest it calls by the signal's own name or number
_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
}
_CAUSE = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_CRASHED_THREAD = re.compile(r"^Current thread 0x([0-9a-fA-F]+)", re.MULTILINE)

_log = logging.getLogger(__name__)


class InHand(NamedTuple):
    """An image that a thread was busy with."""

    thread_id: int
    stage: Stage
    image_id: str


@dataclass(frozen=True)
class Crash:
    """A process that died of a fatal signal: the signal, and the images that may have been the cause, by stage."""

    signal: str
    candidates: Mapping[str, Stage]


@dataclass(frozen=True)
class Verdicts:
    """What follows from crashes.

    Attributes:
      suspects: ids of images that are to be worked on with nothing else in hand, so that the next crash tells.
      set_aside: image id -> why it isn't to be touched again.
    """

    suspects: frozenset[str] = frozenset()
    set_aside: Mapping[str, ImageFailure] = field(default_factory=dict)


def judge(crashes: Iterable[Crash]) -> Verdicts:
    """An image that may have been the cause of a crash is suspect; it is set aside after two, of one of which it was the only
    possible cause. Suspects are worked on alone, so that comes of itself, and never to a bystander of another image's crashes.
    """
    crashes_of: dict[str, list[Crash]] = defaultdict(list)
    sole = set()
    for crash in crashes:
        for image_id in crash.candidates:
            crashes_of[image_id].append(crash)
        if len(crash.candidates) == 1:
            sole.update(crash.candidates)
    set_aside = {
        image_id: _failure(image_id, crashes_of[image_id]) for image_id in sole if len(crashes_of[image_id]) > 1
    }
    return Verdicts(frozenset(crashes_of.keys() - set_aside.keys()), set_aside)


def _failure(image_id: str, crashes: list[Crash]) -> ImageFailure:
    signals = " and ".join(sorted({crash.signal for crash in crashes}))
    if all(crash.candidates[image_id] != "model" for crash in crashes):
        kind, where = "unsupported", "while it was decoded"
    else:
        kind, where = "inference", "in the model"
    return ImageFailure(
        kind,
        f"the process died {len(crashes)} times on this image ({signals} {where}), at least once with no "
        "other in hand. It wasn't tried again",
    )


class PastCrashes:
    """The crashes that the files of a folder tell of, each read once; removes what killed processes left there.

    Args:
      folder: of the notes; may not exist. Not to be used by several threads at once.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._read: dict[str, Crash | None] = {}  # by the notes' name; None for notes that can't be read

    def judge(self) -> Verdicts:
        """Reads what is new and judges all."""
        for notes in sorted(self._folder.glob(f"*{NOTES_SUFFIX}")):
            if notes.name not in self._read:
                self._look_at(notes)
        return judge(crash for crash in self._read.values() if crash is not None)

    def _look_at(self, notes: Path) -> None:
        dump = notes.with_suffix(DUMP_SUFFIX)
        try:
            with notes.open("rb") as file:
                if not _lock_shared(file):  # its process lives, or is about to die: a dump may be half written
                    return
                text = _read_dump(dump)
                if not text:
                    remove_files(notes)
                    return
                self._read[notes.name] = crash = find_candidates(read_notes(file.read(_MAX_BYTES + 1)), text)
        except FileNotFoundError:  # another process has just removed it
            return
        except (OSError, ValueError) as error:
            self._read[notes.name] = None
            _log.warning("%s: these notes of a process that died can't be read (%s); passed over.", notes, error)
            return
        _log.warning(
            "A process died (%s) with %d images in hand that may have been the cause; each is tried alone, and set "
            "aside if it happens again. Where it died: %s",
            crash.signal,
            len(crash.candidates),
            dump,
        )


def _read_dump(dump: Path) -> str:
    try:
        with dump.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _lock_shared(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_files(notes: Path) -> None:
    """Removes a process's two files, those of them that exist."""
    notes.with_suffix(DUMP_SUFFIX).unlink(missing_ok=True)
    notes.unlink(missing_ok=True)


def read_notes(data: bytes) -> list[InHand]:
    """The entries of a table of notes.

    Raises:
      ValueError: if it isn't one, or is damaged.
    """
    if not data or len(data) % ENTRY.size or len(data) > _MAX_BYTES:
        raise ValueError(f"{len(data)} bytes aren't a table of notes")
    found = []
    for thread_id, stage, image_id in ENTRY.iter_unpack(data):
        if stage > len(STAGES):
            raise ValueError(f"stage {stage}: expected at most {len(STAGES)}")
        if stage:
            found.append(InHand(thread_id, STAGES[stage - 1], image_id.hex()))
    return found


def find_candidates(in_hand: Iterable[InHand], dump: str) -> Crash:
    """Those of the images in hand that may have caused a crash: the crashed thread's if it had some, else all.

    A thread of TensorFlow's or of a codec's own has no images, and doesn't say whose work it did. Headers are not read by
    several threads, and are read while a suspect has its turn: they count when there's nothing else.

    Raises:
      ValueError: if the dump isn't one of faulthandler's.
    """
    cause = _CAUSE.search(dump)
    if cause is None:
        raise ValueError("the dump doesn't say what happened")
    in_hand = list(in_hand)
    thread = _CRASHED_THREAD.search(dump)  # missing: no thread of Python's, or beyond the hundred that are dumped
    guilty = (
        [image for image in in_hand if thread and image.thread_id == int(thread[1], 16)]
        or [image for image in in_hand if image.stage != "open"]
        or in_hand
    )
    return Crash(_SIGNALS.get(cause[1], cause[1]), {image.image_id: image.stage for image in guilty})
