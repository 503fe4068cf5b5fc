"""ReadAhead: work done in threads ahead of the one who takes its results, bounded in count and in bytes.

The taker (a DoFn whose outputs run through the model before it gets control back) finds results ready, and the threads
never run away from it. A piece of work whose first part, reading, hangs is given up, and another thread takes the place
of the one that hangs: Python can't interrupt a thread.

Not `concurrent.futures`: its executors are stuck with a thread that hangs, and wait for it when the process ends.
"""
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Reserve = Callable[[int], None]  # ends the reading part; returns when there is room for so many bytes

_MAX_LOST_THREADS_FACTOR = 4
_LOOK_AGAIN_S = 0.02  # for items that may not start yet: nobody tells when they may


class ReadsHangError(RuntimeError):
    """So many reads hang that something other than single images must be wrong."""


class _GivenUp(BaseException):
    """Ends work that nobody waits for any more. Not an Exception: the work's own handlers must let it pass."""


@dataclass(eq=False)
class _Job(Generic[T]):
    item: T
    lane: Hashable
    read_by: float = 0.0  # moment at which its reading is given up
    given_up: bool = False
    num_bytes: int = 0  # of the budget, from `reserve` until the result is taken
    result: Any = None
    error: BaseException | None = None


class ReadAhead(Generic[T, R]):
    """Calls `work(item, reserve)` in threads for every item submitted; gives the results in the order they are ready.

    `work` first reads, then calls `reserve(num_bytes)` once at most, when it knows how much memory its result takes,
    and then makes it. `submit`, `results` and `close` are called from one thread.

    Items that may not start yet are passed over for later ones, so threads never wait for them.

    Args:
      work: makes a result of an item. What it raises is raised to the taker of results.
      give_up: makes the result of an item whose reading has taken longer than `read_s`.
      threads: items worked on at once.
      max_bytes: bytes reserved at once. One item that needs more passes when it is alone.
      read_s: seconds from when a thread starts on an item until it calls `reserve` or ends.
      lane_of: what an item has in common with others that may have to wait at the same time, as the host it is read from.
      may_start: whether an item of a lane may be started now; if it says so, one is. Must not wait.
    """

    def __init__(self, work: Callable[[T, Reserve], R], give_up: Callable[[T], R], *, threads: int, max_bytes: int,
                 read_s: float, lane_of: Callable[[T], Hashable] = lambda item: None,
                 may_start: Callable[[Any], bool] = lambda lane: True):
        self._work = work
        self._lane_of = lane_of
        self._may_start = may_start
        self._give_up = give_up
        self._max_threads = threads
        self._max_bytes = max_bytes
        self._read_s = read_s
        lock = threading.Lock()  # of everything below
        self._job_waiting = threading.Condition(lock)
        self._result_ready = threading.Condition(lock)
        self._bytes_free = threading.Condition(lock)
        self._jobs: deque[_Job] = deque()
        self._reading: dict[_Job, None] = {}  # in the order in which they were started: the first is the first overdue
        self._reserving: deque[_Job] = deque()  # first come, first served: a large picture is not overtaken for ever
        self._ready: deque[_Job] = deque()
        self._outstanding = 0
        self._reserved_bytes = 0
        self._threads = 0
        self._idle_threads = 0
        self._looking_again = False  # whether an idle thread looks, every now and then, for items that may start by now
        self._lost_threads = 0
        self._closed = False

    def submit(self, item: T) -> None:
        """Queues an item; never waits."""
        with self._job_waiting:
            self._outstanding += 1
            self._jobs.append(_Job(item, self._lane_of(item)))
            self._staff()

    def results(self, leave: int = 0) -> Iterator[R]:
        """Yields results, the first ready first, until `leave` of the submitted items are left; waits if none is ready.

        No more than that, even if they are ready: what a taker takes in one go isn't ahead of it any more, and the
        threads have nothing to do while it is busy. A result's bytes are free for others as soon as it is yielded.

        Raises:
          ReadsHangError: if more threads hang than could be put down to single items.
          BaseException: whatever `work` raised.
        """
        while (job := self._next(leave)) is not None:
            if job.error is not None:
                raise job.error
            yield job.result
            del job  # while this waits for the next, the taker alone decides how long a picture lives

    def close(self) -> None:
        """Lets the threads end, without waiting for them; results that nobody has taken are dropped."""
        with self._job_waiting:
            self._closed = True
            self._jobs.clear()
            self._ready.clear()
            self._job_waiting.notify_all()
            self._bytes_free.notify_all()

    def _next(self, leave: int) -> _Job | None:
        with self._result_ready:
            if self._outstanding <= leave:
                return None
            while not self._ready:
                self._result_ready.wait(self._seconds_to_next_overdue())
                self._give_up_overdue()
            job = self._ready.popleft()
            self._outstanding -= 1
            self._reserved_bytes -= job.num_bytes
            self._bytes_free.notify_all()
            return job

    def _seconds_to_next_overdue(self) -> float:
        for job in self._reading:
            return max(0.0, job.read_by - time.monotonic())
        # Nobody reads, so a thread is busy with what always ends; or it is about to start reading, and may hang.
        return self._read_s

    def _give_up_overdue(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._reading if job.read_by <= now]:
            del self._reading[job]
            job.given_up = True
            job.result = self._give_up(job.item)
            self._ready.append(job)
            self._threads -= 1
            self._lost_threads += 1
            self._staff()
        if self._lost_threads > _MAX_LOST_THREADS_FACTOR * self._max_threads:
            raise ReadsHangError(f"{self._lost_threads} reads have been hanging for more than {self._read_s:g} s: a "
                                 "disk or a store doesn't answer. See that it does, and run the job again")

    def _staff(self) -> None:
        if self._idle_threads >= len(self._jobs):
            self._job_waiting.notify()
        elif self._threads < self._max_threads:
            self._threads += 1
            threading.Thread(target=self._run, name="labelbeam-fetch", daemon=True).start()

    def _run(self) -> None:
        while (job := self._take_job()) is not None:
            try:
                job_result, error = self._work(job.item, lambda num_bytes: self._reserve(job, num_bytes)), None
            except BaseException as raised:  # raised again in `results`, or dropped with the rest
                job_result, error = None, raised
            with self._result_ready:
                self._reading.pop(job, None)
                if job.given_up:
                    self._lost_threads -= 1
                    return
                if self._closed:
                    return
                job.result, job.error = job_result, error
                self._ready.append(job)
                self._result_ready.notify()
            del job, job_result, error  # an idle thread must not keep a picture alive

    def _take_job(self) -> _Job | None:
        with self._job_waiting:
            while (job := self._next_to_start()) is None:
                if self._closed:
                    return None
                self._wait_for_jobs()
            job.read_by = time.monotonic() + self._read_s
            self._reading[job] = None
            if self._jobs and not self._looking_again:
                self._job_waiting.notify()  # somebody has to
            return job

    def _next_to_start(self) -> _Job | None:
        full = set()
        for place, job in enumerate(self._jobs):
            if job.lane not in full:
                if self._may_start(job.lane):
                    del self._jobs[place]
                    return job
                full.add(job.lane)
        return None

    def _wait_for_jobs(self) -> None:
        look_again = bool(self._jobs) and not self._looking_again  # one thread is enough
        self._looking_again |= look_again
        self._idle_threads += 1
        self._job_waiting.wait(_LOOK_AGAIN_S if look_again else None)
        self._idle_threads -= 1
        if look_again:
            self._looking_again = False

    def _reserve(self, job: _Job, num_bytes: int) -> None:
        with self._bytes_free:
            self._reading.pop(job, None)
            if self._jobs:
                self._job_waiting.notify()  # what has been read may have made room for one that couldn't start
            self._reserving.append(job)
            try:
                while not (job.given_up or self._closed):
                    fits = not self._reserved_bytes or self._reserved_bytes + num_bytes <= self._max_bytes
                    if fits and self._reserving[0] is job:
                        self._reserved_bytes += num_bytes
                        job.num_bytes = num_bytes
                        return
                    self._bytes_free.wait()
            finally:
                self._reserving.remove(job)
                self._bytes_free.notify_all()  # the next in the line may fit as well
            raise _GivenUp
