"""Prefetch: work done in threads ahead of the one who takes its results, bounded in count and in bytes.

The consumer (a DoFn whose outputs run through the model before it gets control back) finds results ready, and the
threads never run away from it. Reading may happen elsewhere (HTTP has one thread for all its transfers); the threads
then only make results of what has arrived. A piece of work whose first part, reading, hangs in a thread is given up,
and another takes the place of the one that hangs: Python can't interrupt a thread.

Not `concurrent.futures`: its executors are stuck with a thread that hangs, and wait for it when the process ends.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ...storage.http_client import Fetch, TakeRoom
from ...storage.size_limit import SMALL_BYTES
from .encoded_budget import EncodedBudget

T = TypeVar("T")
R = TypeVar("R")


class Reserve(Protocol):
    """What a piece of work calls for the memory that it needs, before it takes it."""

    def __call__(self, num_bytes: int) -> None:
        """Ends the reading part; returns when there is room for so many bytes of a result."""

    def encoded(self, num_bytes: int) -> None:
        """Returns when there is room for so many bytes to be read. Its first call counts."""


_MAX_LOST_THREADS_FACTOR = 4
_GIVEN_UP = object()
_LOOK_AGAIN_S = 0.02  # for items that nobody starts: nobody tells when reads begin to hang
_USUAL_OF_LAST = 0.1  # weight of the last item in what items usually take


class ReadsHangError(RuntimeError):
    """So many reads hang that something other than single images must be wrong."""


class _GivenUp(BaseException):
    """Ends work that nobody waits for any more. Not an Exception: the work's own handlers must let it pass."""


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    item: T
    elsewhere: Fetch | None = None  # what reads it, where no thread does
    arrived: Any = None  # what has been read there
    read_by: float = 0.0  # moment at which its reading is given up
    given_up: bool = False
    started_at: float = 0.0
    making_since: float | None = None  # None before it has room, and for items that reserve none
    num_bytes: int = 0  # of the budget, from `reserve` until the result is taken
    result: Any = None
    error: BaseException | None = None


class Prefetch(Generic[T, R]):
    """Calls `work(item, reserve)` in threads for every item submitted; gives the results in the order they are ready.

    `work` first reads, then calls `reserve(num_bytes)` once at most, when it knows how much memory its result takes,
    and then makes it. `submit`, `results` and `close` are called from one thread.

    There may be far more threads than processors, for reads that wait. Where they don't wait, no more threads are
    awake than keep the producers busy: others would only take processors, locks and caches from them and from the
    consumer (`benchmarks/jobs/pipeline_overhead.py`).

    Args:
      work: makes a result of an item. What it raises is raised to the consumer of results.
      give_up: makes the result of an item whose reading has taken longer than `read_s`.
      threads: items that threads read at once.
      producers: items that are past `reserve` and not done yet, at once; None for any number.
      max_bytes: bytes reserved at once. One item that needs more passes when it is alone.
      max_encoded_bytes: bytes read and not yet made a result of, at once, small pieces aside; one larger piece passes
        alone.
      max_made: results that reserved room, made or being made, and not taken; None for any number.
      at_once: results that the consumer waits for before it takes the first of them, so that it's woken once for all.
      read_s: seconds from when a thread starts on an item until it calls `reserve` or ends.
      start: begins to read an item elsewhere, calls its second argument with what has arrived, from any thread, and
        `work` gets that as its third; returns None for an item that a thread has to read.
    """

    def __init__(
        self,
        work: Callable[..., R],
        give_up: Callable[[T], R],
        *,
        threads: int,
        max_bytes: int,
        read_s: float,
        max_encoded_bytes: int = sys.maxsize,
        producers: int | None = None,
        max_made: int | None = None,
        at_once: int = 1,
        start: Callable[[T, Callable[[Any], None], TakeRoom], Fetch | None] | None = None,
    ):
        self._work = work
        self._start = start
        self._give_up = give_up
        self._max_threads = threads
        self._max_producers = producers or threads
        self._max_bytes = max_bytes
        self._encoded = EncodedBudget(max_encoded_bytes)
        self._max_made = max_made or sys.maxsize
        self._at_once = at_once
        self._read_s = read_s
        self._lock = lock = threading.Lock()  # of everything below
        self._job_waiting = threading.Condition(lock)
        self._result_ready = threading.Condition(lock)
        self._jobs: deque[_Job] = deque()
        self._reading: dict[_Job, None] = {}  # in the order in which they were started: the first is the first overdue
        # First come, first served: a large image is not overtaken for ever. Each waits by itself: none is woken in
        # vain.
        self._reserving: deque[tuple[_Job, threading.Condition]] = deque()
        self._elsewhere: set[_Job] = set()
        self._arrived: deque[_Job] = deque()
        self._ready: deque[_Job] = deque()
        self._outstanding = 0
        self._to_hand_on = 0  # results that the consumer waited for together and hasn't taken yet
        self._consumer_waits_for = 0
        self._producers = self._made = self._reserved_bytes = 0
        self._usual_read_s = self._usual_make_s = None
        self._threads = 0
        self._idle_threads = 0
        self._reading_threads = 0  # at work on items that they read themselves
        self._looking_again = False  # whether an idle thread looks, every now and then, for items that nobody starts
        self._started = 0
        self._lost_threads = 0
        self._closed = False

    def submit(self, item: T) -> None:
        """Queues an item; never waits."""
        job = _Job(item)
        self._outstanding += 1
        if self._start is not None:
            self._elsewhere.add(job)
            job.elsewhere = self._start(
                item, lambda what: self._arrive(job, what), lambda *room: self._encoded.ask(job, *room)
            )
            if job.elsewhere is not None:
                return
        with self._lock:
            self._elsewhere.discard(job)
            self._jobs.append(job)
            self._staff()

    def results(self, leave: int = 0) -> Iterator[R]:
        """Yields results, the first ready first, while more than `leave` of the submitted items are left: `at_once` at
        a time, or as many as there is room for; waits for them.

        No more than that, even if they are ready: what a consumer takes in one go isn't ahead of it any more, and the
        threads have nothing to do while it is busy. A result's bytes are free for others as soon as it is yielded.

        Raises:
          ReadsHangError: if more threads hang than could be put down to single items.
          BaseException: whatever `work` raised.
        """
        while (job := self._next(leave)) is not None:
            if job.error is not None:
                raise job.error
            yield job.result
            del job  # while this waits for the next, the consumer alone decides how long an image lives

    def close(self) -> None:
        """Lets the threads end, without waiting for them; results that nobody has taken are dropped."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            self._arrived.clear()
            self._ready.clear()
            self._job_waiting.notify_all()
            for _, admitted in self._reserving:
                admitted.notify()
            elsewhere = [job.elsewhere for job in self._elsewhere if job.elsewhere is not None]
        self._encoded.close()
        for reading in elsewhere:
            reading.cancel()

    def _next(self, leave: int) -> _Job | None:
        with self._lock:
            if not self._to_hand_on:
                if self._outstanding <= leave:
                    return None
                self._consumer_waits_for = min(self._at_once, self._outstanding)
                while not self._enough_ready():
                    self._result_ready.wait(self._seconds_to_next_overdue())
                    self._give_up_overdue()
                self._to_hand_on = min(self._at_once, len(self._ready))
                self._consumer_waits_for = 0
            job = self._ready.popleft()
            self._to_hand_on -= 1
            self._outstanding -= 1
            if job.making_since is not None:
                self._made -= 1
                self._reserved_bytes -= job.num_bytes
                self._admit()
            return job

    def _enough_ready(self) -> bool:
        """Whether the consumer has what it waits for, or will get no more before it takes some."""
        all_wait_for_room = bool(self._reserving) and not self._producers
        return len(self._ready) >= self._consumer_waits_for or (bool(self._ready) and all_wait_for_room)

    def _tell_consumer(self) -> None:
        if self._consumer_waits_for and self._enough_ready():
            self._result_ready.notify()

    def _seconds_to_next_overdue(self) -> float:
        if self._reading:
            return max(0.0, min(job.read_by for job in self._reading) - time.monotonic())
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
            self._reading_threads -= 1
            self._lost_threads += 1
            self._staff()
        if self._lost_threads > _MAX_LOST_THREADS_FACTOR * self._max_threads:
            raise ReadsHangError(
                f"{self._lost_threads} reads have been hanging for more than {self._read_s:g} s: a "
                "disk or a store doesn't answer. See that it does, and run the job again"
            )

    def _arrive(self, job: _Job, what: Any) -> None:
        with self._lock:
            self._elsewhere.discard(job)
            if not self._closed:
                job.arrived = what
                self._arrived.append(job)
                if len(self._arrived) == 1:  # whoever takes it sees to the others
                    self._staff()

    def _staff(self) -> None:
        """Wakes or starts a thread for what has arrived or is queued if too few are awake, or else, if none does so
        yet, to look again."""
        if self._closed or not (self._arrived or self._jobs):
            return
        can_make = bool(self._arrived) and self._threads_making() < self._max_producers
        if not can_make and (not self._jobs or (self._awake() >= self._threads_wanted() and self._looking_again)):
            return
        if self._idle_threads > (0 if can_make else self._looking_again):
            self._job_waiting.notify()
        elif can_make or self._threads < self._max_threads:
            self._threads += 1
            threading.Thread(target=self._run, name="labelbeam-fetch", daemon=True).start()

    def _threads_making(self) -> int:
        """Threads that make results of what has arrived, or are about to look for it."""
        return self._awake() - self._reading_threads

    def _awake(self) -> int:
        return self._threads - self._idle_threads

    def _threads_wanted(self) -> int:
        """As many as keep all producers busy, by what reading and making have taken lately."""
        if self._usual_read_s is None or self._usual_make_s is None:
            return self._max_threads
        return int(self._max_producers * (1 + self._usual_read_s / self._usual_make_s))

    def _run(self) -> None:
        while (job := self._take_job()) is not None:
            try:
                arrived = () if job.arrived is None else (job.arrived,)
                job_result, error = self._work(job.item, _Reservation(self, job), *arrived), None
            except BaseException as raised:  # raised again in `results`, or dropped with the rest
                job_result, error = None, raised
            self._encoded.free(job)
            with self._lock:
                self._reading.pop(job, None)
                if job.making_since is not None:
                    self._usual_make_s = _usual(self._usual_make_s, time.monotonic() - job.making_since)
                    self._producers -= 1
                    self._admit()
                if job.given_up:
                    self._lost_threads -= 1
                    return
                self._reading_threads -= job.arrived is None
                if self._closed:
                    return
                job.arrived = None
                job.result, job.error = job_result, error
                self._ready.append(job)
                self._tell_consumer()
            del job, job_result, error, arrived  # an idle thread must not keep an image alive

    def _take_job(self) -> _Job | None:
        with self._lock:
            nobody_starts = False
            while not self._closed:
                if self._arrived and self._threads_making() <= self._max_producers:
                    job = self._arrived.popleft()
                    self._staff()
                    return job
                if self._jobs and (nobody_starts or self._awake() <= self._threads_wanted()):
                    job = self._jobs.popleft()
                    job.started_at = time.monotonic()
                    job.read_by = job.started_at + self._read_s
                    self._reading[job] = None
                    self._reading_threads += 1
                    self._started += 1
                    self._staff()
                    return job
                nobody_starts = self._wait_for_jobs()
            return None

    def _wait_for_jobs(self) -> bool:
        """Waits until there may be something to start; True if there was all the while, and no thread started
        anything."""
        look_again = bool(self._jobs) and not self._looking_again  # one thread is enough
        self._looking_again |= look_again
        started = self._started
        self._idle_threads += 1
        self._job_waiting.wait(_LOOK_AGAIN_S if look_again else None)
        self._idle_threads -= 1
        if look_again:
            self._looking_again = False
        return look_again and self._started == started

    def _reserve_encoded(self, job: _Job, num_bytes: int) -> None:
        if num_bytes <= SMALL_BYTES:
            return
        has_room = threading.Event()
        with self._lock:
            seconds_left = job.read_by - time.monotonic()
            if self._reading.pop(job, _GIVEN_UP) is _GIVEN_UP:
                raise _GivenUp
        self._encoded.ask(job, num_bytes, has_room.set)
        has_room.wait()
        with self._lock:
            if self._closed:
                raise _GivenUp
            job.read_by = time.monotonic() + seconds_left  # waiting isn't reading
            self._reading[job] = None

    def _reserve(self, job: _Job, num_bytes: int) -> None:
        with self._lock:
            self._reading.pop(job, None)
            if job.arrived is None:
                self._usual_read_s = _usual(self._usual_read_s, time.monotonic() - job.started_at)
            if job.given_up or self._closed:
                raise _GivenUp
            job.num_bytes = num_bytes
            if not self._reserving and self._begins_to_make(job):
                return
            admitted = threading.Condition(self._lock)
            self._reserving.append((job, admitted))
            self._tell_consumer()
            while job.making_since is None and not self._closed:
                admitted.wait()
            if job.making_since is None:
                raise _GivenUp

    def _admit(self) -> None:
        """Lets those that wait go on making their results, as far as there is room."""
        while self._reserving and self._begins_to_make(self._reserving[0][0]):
            self._reserving.popleft()[1].notify()

    def _begins_to_make(self, job: _Job) -> bool:
        """Takes the room that a result needs, if there is so much."""
        no_bytes = self._reserved_bytes and self._reserved_bytes + job.num_bytes > self._max_bytes
        if no_bytes or self._producers >= self._max_producers or self._made >= self._max_made:
            return False
        self._producers += 1
        self._made += 1
        self._reserved_bytes += job.num_bytes
        job.making_since = time.monotonic()
        return True


class _Reservation:
    """The `Reserve` of one piece of work."""

    def __init__(self, ahead: Prefetch, job: _Job):
        self._ahead = ahead
        self._job = job

    def __call__(self, num_bytes: int) -> None:
        self._ahead._reserve(self._job, num_bytes)

    def encoded(self, num_bytes: int) -> None:
        self._ahead._reserve_encoded(self._job, num_bytes)


def _usual(seconds: float | None, last: float) -> float:
    return last if seconds is None else seconds + _USUAL_OF_LAST * (last - seconds)
