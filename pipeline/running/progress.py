"""Shows how far a job is: a live bar on a terminal, lines at intervals elsewhere. And makes Ctrl-C a clean end.

Images are counted through `DriverLink` where workers run on this machine, else by the parts in the output folder.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...labelset.parts import count_rows, finished_parts, job_of
from ...transforms.workers.driver_link import Counts, DriverLink, TallyReader

LINE_EVERY_S = 30.0
PARTS_EVERY_S = 60.0
_BAR_EVERY_S = 0.5


@contextlib.contextmanager
def following(
    output: str, job_id: str, stream: TextIO | None = None, line_every_s: float = LINE_EVERY_S
) -> Iterator[DriverLink]:
    """Gives the link for a job's workers, and shows what they tell until the context ends.

    Args:
      output, job_id: of the job.
      stream: where to show it; standard error if None.
      line_every_s: between lines, where the stream isn't a terminal.
    """
    folder = tempfile.mkdtemp(prefix="labelbeam-job-")
    link, ended = DriverLink(folder), threading.Event()
    count = _Count(TallyReader(link), output, job_id)
    follower = threading.Thread(
        target=_follow, args=(count, ended, stream or sys.stderr, line_every_s), daemon=True, name="progress"
    )
    follower.start()
    try:
        with _stopping_at_interrupt(link, count):
            yield link
    finally:
        ended.set()
        follower.join(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


class _Count:
    """Counts a job's images, by whatever way there is."""

    def __init__(self, tallies: TallyReader, output: str, job_id: str):
        self._tallies, self._output, self._job_id = tallies, output, job_id
        self._rows: dict[str, int] = {}  # of the parts seen
        self._next_look = time.monotonic() + PARTS_EVERY_S

    def __call__(self) -> Counts:
        counts = self._tallies.read()
        if counts.listed or counts.done:
            return counts
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + PARTS_EVERY_S
            for stem in finished_parts(self._output):
                if job_of(stem) == self._job_id and stem not in self._rows:
                    self._rows[stem] = count_rows(self._output, stem)
        return Counts(labelled=sum(self._rows.values()))


def _follow(count: _Count, ended: threading.Event, stream: TextIO, line_every_s: float) -> None:
    if stream.isatty():
        _show_bar(count, ended, stream)
        return
    started = time.monotonic()
    while not ended.wait(line_every_s):
        print(describe(count(), time.monotonic() - started), file=stream, flush=True)


def _show_bar(count: _Count, ended: threading.Event, stream: TextIO) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images {task.fields[rate]:.1f}/s, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=Console(file=stream, force_terminal=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate=0.0, failed=0)
        started = time.monotonic()
        while not ended.wait(_BAR_EVERY_S):
            counts = count()
            total = counts.listed - counts.passed_over if counts.listed else None
            bar.update(
                task,
                total=total,
                completed=counts.done,
                failed=counts.failed,
                rate=counts.done / (time.monotonic() - started),
            )


def describe(counts: Counts, seconds: float) -> str:
    """A line for a log: what is done of all, the rate, failures, time left."""
    rate = counts.done / seconds
    text = f"labelbeam: {counts.done:,} images"
    if counts.listed:
        total = counts.listed - counts.passed_over
        text = f"labelbeam: {counts.done:,} of {total:,} images ({counts.done / max(total, 1):.0%})"
        if counts.done:
            text += f", {_duration((total - counts.done) / rate)} left"
    return f"{text}, {rate:.1f} images/s, {counts.failed:,} failed, {_duration(seconds)} so far"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


@contextlib.contextmanager
def _stopping_at_interrupt(link: DriverLink, count: _Count) -> Iterator[None]:
    """The first Ctrl-C lets workers of this machine finish their open parts, the second one ends it all at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are none of ours there
        return

    def interrupted(signal_number, frame):
        if link.is_stopping():
            print("labelbeam: stopped at once. The same command goes on from the last finished part.", file=sys.stderr)
            sys.stderr.flush()
            os._exit(130)  # threads of a runner would be waited for otherwise
        if count() == Counts():
            raise KeyboardInterrupt  # nobody here to ask
        link.ask_to_stop()
        print("labelbeam: finishing what is under way; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
