"""Shows how far a job is: a live bar on a terminal, lines at intervals elsewhere.

Images are counted through `DriverLink` where workers run on this machine, else by the parts in the output folder.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...labelset.heartbeat import stop_path
from ...labelset.parts import count_rows, written_parts
from ...results.text import counted, duration
from ...storage import files
from ...storage.temporary import temporary_folder
from ...transforms.workers.driver_link import Counts, DriverLink, TallyReader

LINE_EVERY_S = 30.0
PARTS_EVERY_S = 60.0
_BAR_EVERY_S = 0.5

_log = logging.getLogger(__name__)


class Following:
    """What is known of a job that runs: its workers' link, and how far they are."""

    def __init__(self, link: DriverLink, output: str, job_id: str):
        self.link = link
        self._tallies, self._output, self._job_id = TallyReader(link), output, job_id
        self._rows: dict[str, int] = {}  # of the parts seen
        self._next_look = time.monotonic() + PARTS_EVERY_S
        self._lock = threading.Lock()
        self._first: tuple[float, int] | None = None  # when the first images were done, and how many that were

    def counts(self) -> Counts:
        """How many images are done so far. Looks into the output folder now and then where workers tell nothing."""
        with self._lock:
            counts = self._tallies.read()
            if not (counts.listed or counts.done):
                counts = Counts(labelled=self._rows_of_parts())
            if counts.done and self._first is None:
                self._first = time.monotonic(), counts.done
            return counts

    def rate(self, counts: Counts) -> float | None:
        """Images a second since the first ones were done, which leaves out loading; None if that isn't known yet."""
        if self._first is None or counts.done <= self._first[1]:
            return None
        return (counts.done - self._first[1]) / max(time.monotonic() - self._first[0], 1e-3)

    def facts(self) -> dict[str, Any]:
        """The same for others, such as `labelbeam status`: JSON types."""
        counts = self.counts()
        total = counts.listed - counts.passed_over if counts.listed else None
        return {"done": counts.done, "failed": counts.failed, "total": total, "images_per_s": self.rate(counts)}

    def _rows_of_parts(self) -> int:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + PARTS_EVERY_S
            try:
                for stem in written_parts(self._output, self._job_id).keys() - self._rows.keys():
                    self._rows[stem] = count_rows(self._output, stem)
            except Exception as error:  # a store that is down comes back; the job has its own errors
                _log.info("%s: parts can't be counted now: %s", self._output, error)
        return sum(self._rows.values())


@contextlib.contextmanager
def following(
    output: str,
    job_id: str,
    stream: TextIO | None = None,
    line_every_s: float = LINE_EVERY_S,
    has_remote_workers: bool = False,
) -> Iterator[Following]:
    """Shows what a job's workers tell until the context ends.

    Args:
      output, job_id: of the job.
      stream: where to show it; standard error if None.
      line_every_s: between lines, where the stream isn't a terminal.
      has_remote_workers: whether workers are on other machines, where they are told to stop through the output folder.
    """
    stop_file = stop_path(output, job_id) if has_remote_workers else None
    with temporary_folder("job") as folder:
        follow, ended = Following(DriverLink(folder, stop_file), output, job_id), threading.Event()
        shown = threading.Thread(
            target=_show, args=(follow, ended, stream or sys.stderr, line_every_s), daemon=True, name="progress"
        )
        shown.start()
        try:
            yield follow
        finally:
            ended.set()
            shown.join(timeout=10)
            if stop_file is not None and follow.link.is_stopping():
                with contextlib.suppress(Exception):  # the next job has another one
                    files.delete([stop_file])


def _show(follow: Following, ended: threading.Event, stream: TextIO | None, line_every_s: float) -> None:
    if stream is None:  # as with `2>&-`
        return
    try:
        if stream.isatty():
            _show_bar(follow, ended, stream)
            return
        started = time.monotonic()
        while not ended.wait(line_every_s):
            counts = follow.counts()
            print(describe(counts, time.monotonic() - started, follow.rate(counts)), file=stream, flush=True)
    except (OSError, ValueError):  # a stream that was closed: nobody looks any more
        return


def _show_bar(follow: Following, ended: threading.Event, stream: TextIO) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images {task.fields[rate]}, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(file=stream, force_terminal=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="", failed=0, left="")
        while not ended.wait(_BAR_EVERY_S):
            counts = follow.counts()
            rate = follow.rate(counts)
            total = counts.listed - counts.passed_over if counts.listed else None
            left = f"{duration((total - counts.done) / rate)} left" if total and rate else ""
            bar.update(
                task,
                total=total,
                completed=counts.done,
                failed=counts.failed,
                rate=describe_rate(rate) if rate else "",
                left=left,
            )


def describe(counts: Counts, seconds: float, rate: float | None) -> str:
    """A line for a log: what is done of all, the rate, failures, time left."""
    return f"labelbeam: {describe_progress(counts, rate)}, {duration(seconds)} so far"


def describe_progress(counts: Counts, rate: float | None) -> str:
    """What is done of all, time left, the rate, failures.

    Args:
      rate: images a second; None if it isn't known yet.
    """
    text = counted(counts.done, "image")
    if counts.listed:
        total = counts.listed - counts.passed_over
        text = f"{counts.done:,} of {counted(total, 'image')} ({counts.done / max(total, 1):.0%})"
        if rate:
            text += f", {duration((total - counts.done) / rate)} left"
    return f"{text}{f', {describe_rate(rate)}' if rate else ''}, {counts.failed:,} failed"


def describe_rate(rate: float) -> str:
    """Images a second, or seconds an image where they are more than one."""
    return f"{rate:.1f} images/s" if rate >= 1 else f"{1 / rate:.1f} s an image"
