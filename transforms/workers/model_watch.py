"""A watch over the model: says which images it doesn't answer for, and ends the process if it never does.

Python can't interrupt a thread that is inside a model, and a device that hangs serves nobody else. So the process ends;
the next start runs those images alone (`quarantine.py`).
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...storage.redaction import redact
from ..elements import ImageReference
from .in_flight import InFlight

WARN_AFTER_S = 30.0
_WARN_AFTER_CALLS = 10  # of the longest call so far: a batch may take minutes on a slow machine
_LOOK_EVERY_S = 0.5
_NAMED = 5  # images in a message

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Call:
    references: Sequence[ImageReference]
    began: float
    warned: bool = False

    def names(self) -> str:
        uris = [redact(reference.uri) for reference in self.references]
        more = f" and {len(uris) - _NAMED} more" if len(uris) > _NAMED else ""
        return ", ".join(uris[:_NAMED]) + more


class ModelWatch:
    """Watches the calls of a model in this process, in a thread of its own. Thread-safe.

    Args:
      in_flight: is told of images that the model doesn't answer for.
      timeout_s: seconds after which a call that hasn't ended ends the process, with exit code 1; None for never.
    """

    def __init__(self, in_flight: InFlight, timeout_s: float | None):
        self._in_flight = in_flight
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # of the three below
        self._calls: set[_Call] = set()
        self._longest_s = 0.0
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def call(self, references: Sequence[ImageReference]) -> Iterator[None]:
        """For as long as the model works on images."""
        call = _Call(references, time.monotonic())
        with self._lock:
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="labelbeam-model-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)
                self._longest_s = max(self._longest_s, time.monotonic() - call.began)

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            with self._lock:
                calls, warn_after_s = list(self._calls), max(WARN_AFTER_S, _WARN_AFTER_CALLS * self._longest_s)
            for call in calls:
                self._look_at(call, time.monotonic() - call.began, warn_after_s)

    def _look_at(self, call: _Call, seconds: float, warn_after_s: float) -> None:
        # Of an image that a process has ended with before, no answer when others have long had theirs is enough. But
        # not of the first call, which may compile the model.
        seen_before = bool(self._longest_s) and any(self._in_flight.runs_alone(r.image_id) for r in call.references)
        limit_s = min(warn_after_s, self._timeout_s) if seen_before and self._timeout_s else self._timeout_s
        overdue = limit_s is not None and seconds >= limit_s
        if not overdue and (call.warned or seconds < warn_after_s):
            return
        call.warned = True
        self._in_flight.note_hanging([reference.image_id for reference in call.references], seconds)
        _log.warning("The model hasn't answered for %.0f s. It has: %s", seconds, call.names())
        with self._lock:
            if not overdue or call not in self._calls:
                return
            what = "again, which is once too often" if seen_before else "which is too long (--model-timeout-s)"
            sys.stderr.write(
                f"labelbeam: the model hasn't answered for {seconds:.0f} s, {what}, so this process ends. It has: "
                f"{call.names()}. Run the same command again: it runs each of them alone, and passes over one for "
                "which that happens again.\n"
            )
            sys.stderr.flush()
            os._exit(1)
