"""A job's life on the machine that started it: which phase it is in, and what signals and losses make of that.

starting ─ running ─ closing ─ closed
              ├─ stopping ─┘
              └─ lost
"""

import _thread
import contextlib
import enum
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from ...storage.errors import StorageError
from ...transforms.workers.driver_link import Counts, DriverLink, TallyReader
from .children import kill_children
from .exit_codes import ExitCode

_log = logging.getLogger(__name__)

# Kubernetes and Slurm send SIGTERM, a terminal that is closed SIGHUP: they end a job as Ctrl-C does.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Phase(enum.Enum):
    STARTING = "starting"  # nothing is labelled yet
    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop: what is under way is finished
    LOST = "lost"  # another job has taken over the output folder
    CLOSING = "closing"  # all that is to be labelled is labelled, or has failed
    CLOSED = "closed"


_NEXT = {
    Phase.STARTING: {Phase.RUNNING, Phase.CLOSING, Phase.LOST},
    Phase.RUNNING: {Phase.STOPPING, Phase.LOST, Phase.CLOSING},
    Phase.STOPPING: {Phase.LOST, Phase.CLOSING},
    Phase.LOST: set(),
    Phase.CLOSING: {Phase.LOST, Phase.CLOSED},
    Phase.CLOSED: set(),
}


class JobControl:
    """Knows the phase, and is told of signals and losses. Thread-safe."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._lock = threading.RLock()  # a signal may come while it's held
        self._link = DriverLink()
        self._tallies: TallyReader | None = None
        self._stopped = False

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def was_stopped(self) -> bool:
        """Whether somebody asked the job to stop."""
        return self._stopped

    def move(self, phase: Phase) -> bool:
        """Goes to a phase, if that can follow; returns whether it did."""
        with self._lock:
            if phase not in _NEXT[self._phase]:
                return False
            self._phase = phase
            return True

    def run(self, link: DriverLink) -> None:
        """The job's workers can be told to stop through `link`."""
        self._link, self._tallies = link, TallyReader(link)
        self.move(Phase.RUNNING)

    def lose(self) -> None:
        """Another job has taken over: nothing that is made from now on counts."""
        if self.move(Phase.LOST):
            self._ask_to_stop()
            _thread.interrupt_main()

    @contextlib.contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """While the context lasts, the first signal lets workers of this machine finish what is under way; the second
        ends it all."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are none of ours there
            return
        # nohup has SIGHUP ignored, and means it. A script's shell has SIGINT ignored for what it starts with `&`.
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heeded = [number for number in _SIGNALS if not (nohup and number == signal.SIGHUP)]
        before = {number: signal.signal(number, self._on_signal) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number, frame) -> None:
        if self._phase is Phase.LOST:
            if not self._is_heard():
                raise KeyboardInterrupt
            return
        if self._stopped:
            _say("stopped at once. The same command goes on from the last finished part.")
            kill_children()
            os._exit(ExitCode.INTERRUPTED)  # threads of a runner would be waited for otherwise
        self._stopped = True
        if self._phase is Phase.CLOSING:
            _say("closing the job; once more stops at once.")
            return
        if not self.move(Phase.STOPPING) or not self._is_heard():
            raise KeyboardInterrupt
        self._ask_to_stop()
        _say("finishing what is under way; Ctrl-C again stops at once.")

    def _ask_to_stop(self) -> None:
        """Never waits for a store, which may be down."""
        if self._link.stop_file is None:
            self._link.ask_to_stop()
        else:
            threading.Thread(target=self._tell_others, daemon=True, name="ask-to-stop").start()

    def _tell_others(self) -> None:
        try:
            self._link.ask_to_stop()
        except (OSError, StorageError) as error:
            _log.warning("workers on other machines can't be told to stop: %s", error)

    def _is_heard(self) -> bool:
        """Whether workers are at work that can be told: those of this machine through a local folder, those of others
        through a file in the output folder. Never asks a store."""
        return self._link.stop_file is not None or (self._tallies is not None and self._tallies.read() != Counts())


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
        print(f"labelbeam: {text}", file=sys.stderr, flush=True)
