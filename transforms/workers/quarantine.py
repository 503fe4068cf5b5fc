"""What follows for the images that were in flight when a process died: they run alone, are quarantined, or get less
memory.

`read_death` reads the journal of a dead process, which `in_flight.py` has written; `judge` draws the conclusions from
all.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from ...labelset.rows import ErrorKind

Stage = Literal["open", "decode", "model"]  # "open": its header is read
STAGES: tuple[Stage, ...] = get_args(Stage)

# How a journal's lines begin, after a first line of JSON: work on images begins, ends; the model doesn't answer for
# images; how much of the memory that the process may have is in use, in percent. At a fatal signal, faulthandler adds
# its own.
BEGIN, END, HANGS, MEMORY, CRASH = "+", "-", "?", "~", "Fatal Python error: "

MAX_HALVINGS = 4  # of the budgets; deaths by lack of memory after that count as all others
_MEMORY_SHORT_PERCENT = 75
_SIGNALS = {"Segmentation fault": "SIGSEGV", "Aborted": "SIGABRT", "Bus error": "SIGBUS"}  # in faulthandler's words
_ID_LENGTH = 32


@dataclass(frozen=True)
class Death:
    """A process that died at its work.

    Attributes:
      cause: what it died of, for a person.
      candidates: ids of the images that may have been the cause, and their stages.
      memory_event: None if it wasn't lack of memory. Processes that died of one event name the same.
    """

    cause: str
    candidates: Mapping[str, Stage]
    memory_event: str | None = None


class Quarantine(NamedTuple):
    """Why an image isn't to be worked on again."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True)
class Verdicts:
    """What follows from deaths.

    Attributes:
      alone: ids of images to be worked on with nothing else in flight, so that the next death tells.
      quarantined: image id -> why it isn't to be worked on again.
      halvings: how many times the budgets of memory are to be halved.
    """

    alone: frozenset[str] = frozenset()
    quarantined: Mapping[str, Quarantine] = field(default_factory=dict)
    halvings: int = 0


def judge(deaths: Iterable[Death]) -> Verdicts:
    """Candidates run alone from then on. One that was a candidate twice, once as the only one, is quarantined: never a
    bystander of another image's deaths. For lack of memory no image is blamed as long as budgets can be halved."""
    strikes: defaultdict[str, list[Death]] = defaultdict(list)
    memory_events: set[str] = set()
    for death in deaths:
        if death.memory_event is not None and len(memory_events | {death.memory_event}) <= MAX_HALVINGS:
            memory_events.add(death.memory_event)
            continue
        for image_id in death.candidates:
            strikes[image_id].append(death)
    quarantined = {
        image_id: _quarantine(image_id, died)
        for image_id, died in strikes.items()
        if len(died) > 1 and any(len(death.candidates) == 1 for death in died)
    }
    return Verdicts(frozenset(strikes.keys() - quarantined.keys()), quarantined, len(memory_events))


def _quarantine(image_id: str, deaths: list[Death]) -> Quarantine:
    causes = " and ".join(sorted({death.cause for death in deaths}))
    in_model = any(death.candidates[image_id] == "model" for death in deaths)
    where = "in the model" if in_model else "while it was decoded"
    return Quarantine(
        "inference" if in_model else "unsupported",
        f"the process died {len(deaths)} times on this image ({causes} {where}), at least once with no other in "
        "flight. It wasn't tried again",
    )


def read_death(name: str, journal: str, oom_kills: int) -> Death | None:
    """How the process of a journal died; None if somebody killed it, which says nothing of its images.

    Args:
      name: the journal's.
      journal: its text; the last line may be torn.
      oom_kills: processes that this machine's out-of-memory killer has ended so far.

    Raises:
      ValueError: if it isn't a journal.
    """
    first, _, rest = journal.partition("\n")
    header = json.loads(first)
    if not isinstance(header, dict) or not isinstance(header.get("oom_kills"), int):
        raise ValueError(f"expected a journal, got {first[:80]!r}")
    in_flight: dict[str, Stage] = {}
    hanging: dict[str, str] = {}
    crash, memory_percent = "", 0
    for line in rest.splitlines():
        sign, *words = line.split(" ")
        ids = [word for word in words if len(word) == _ID_LENGTH]
        if sign == BEGIN and (stage := _stage_of(words)) is not None:
            in_flight.update(dict.fromkeys(ids, stage))
        elif sign == END:
            for image_id in ids:
                in_flight.pop(image_id, None)
                hanging.pop(image_id, None)
        elif sign == HANGS and words:
            hanging.update(dict.fromkeys(ids, f"no answer for {words[0]} s"))
        elif sign == MEMORY and words and words[0].isdecimal():
            memory_percent = int(words[0])
        elif line.startswith(CRASH):
            crash = line.removeprefix(CRASH)
    # Headers are read while another image runs alone: they count where there is nothing else.
    candidates: dict[str, Stage] = {i: stage for i, stage in in_flight.items() if stage != "open"} or in_flight
    if crash:
        memory_event = name if memory_percent >= _MEMORY_SHORT_PERCENT else None
        return Death(_SIGNALS.get(crash, crash), candidates, memory_event)
    if hanging:
        return Death(max(hanging.values()), {i: stage for i, stage in in_flight.items() if i in hanging})
    if oom_kills > header["oom_kills"]:
        return Death("the out-of-memory killer", candidates, f"out-of-memory kill {header['oom_kills'] + 1}")
    return None


def _stage_of(words: Sequence[str]) -> Stage | None:
    return next((stage for stage in STAGES if [stage] == words[:1]), None)
