"""How much of a process is spent on one host: requests at once, and rests for hosts that answer 429 Too Many Requests.

Promised for each host (name and port), over all threads and DoFns of a process:

- no more than `max_requests` requests at once, from connecting to the last byte; who waits to try again isn't counted;
- after each 429 half as many, one at least, until one of them is answered otherwise;
- after a second 429 in a row, none at all for as long as its `Retry-After` says. A single one doesn't stop a host:
servers
  that are merely busy answer so now and then, and its image waits in any case;
- a host that has answered nothing but 429 for as long as an image may take is asked once per rest; all other images
of it
  fail meanwhile, so that nothing waits for ever.

`HostLimits.admit` is for schedulers: who asks it before starting on an image keeps threads free for other hosts.
"""

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_MAX_REMEMBERED_HOSTS = 10_000


class HostRestsError(Exception):
    """A host wants to be left alone for longer than there is time."""

    def __init__(self, seconds: float):
        super().__init__(f"asks for no requests for {seconds:.0f} s more")


class HostBusyError(Exception):
    """A host has had as many requests under way as it may, for all the time there was."""


class Slot:
    """One request under way. Any end of it counts as another answer than 429, unless `refused` is called."""

    def __init__(self, ends_by: float):
        self.ends_by = ends_by
        self.refused_for_s: float | None = None

    def refused(self, retry_after_s: float) -> None:
        """The answer is 429; `retry_after_s` is what its header says, 0 without one."""
        self.refused_for_s = retry_after_s


@dataclass
class _Host:
    clock: Callable[[], float]
    admitted: int = 0
    slots: list[Slot] = field(default_factory=list)
    waiting: int = 0
    refusals: int = 0  # answers 429 in a row
    refusing_since: float = 0.0
    rests_until: float = 0.0

    def is_used(self) -> bool:
        return bool(self.admitted or self.slots or self.waiting or self.rest_s() > 0)

    def has_room(self, max_requests: int) -> bool:
        # A request whose time is up hangs where nothing can end it (in the resolver); it must not hold up others for
        # ever.
        now = self.clock()
        num_active = self.admitted + sum(slot.ends_by > now for slot in self.slots)
        return num_active < max(1, max_requests >> self.refusals)

    def rest_s(self) -> float:
        return max(0.0, self.rests_until - self.clock())

    def is_hopeless(self, deadline_s: float) -> bool:
        """Whether it rests, and will have refused everything for as long as an image may take."""
        return self.refusals > 0 and self.rest_s() > 0 and self.rests_until - self.refusing_since >= deadline_s

    def note(self, slot: Slot, deadline_s: float) -> None:
        """Takes notice of how a request has ended."""
        if slot.refused_for_s is None:
            self.refusals = 0  # a rest that others were asked for goes on
            return
        now = self.clock()
        self.refusals += 1
        if self.refusals == 1:
            self.refusing_since = now
        else:
            # No longer than an image may take: a server that says "tomorrow" in error is asked again in this job.
            self.rests_until = max(self.rests_until, now + min(slot.refused_for_s, deadline_s))


class HostLimits:
    """Slots for requests, by host. Thread-safe.

    Args:
      clock: seconds, as `time.monotonic` has them.
      max_remembered: hosts that are remembered at most for having answered 429.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_remembered: int = _MAX_REMEMBERED_HOSTS):
        self._changed = threading.Condition()
        self._clock = clock
        self._max_remembered = max_remembered
        self._hosts: dict[str, _Host] = {}
        self._admitted: contextvars.ContextVar[str | None] = contextvars.ContextVar("admitted", default=None)

    def __len__(self) -> int:
        """Hosts that are remembered: those in use, and those that answered 429 last."""
        return len(self._hosts)

    def admit(self, name: str, max_requests: int, deadline_s: float) -> bool:
        """Whether a request to this host could be made right now, or would fail at once. If so, its slot is taken:
        use it in `admitted`.

        Args:
          name: of the host, with its port.
          max_requests: at once.
          deadline_s: seconds that an image may take.
        """
        with self._changed:
            host = self._host(name)
            rests = host.rest_s() > 0 and not host.is_hopeless(deadline_s)
            if may := host.has_room(max_requests) and not rests:
                host.admitted += 1
            self._forget_if_unused(name)
            return may

    @contextlib.contextmanager
    def admitted(self, name: str) -> Iterator[None]:
        """The first slot of this host in the block is the one that `admit` has taken; given back if there is none."""
        token = self._admitted.set(name)
        try:
            yield
        finally:
            if self._admitted.get() is not None:
                with self._changed:
                    self._hosts[name].admitted -= 1
                    self._let_others(name)
            self._admitted.reset(token)

    @contextlib.contextmanager
    def slot(self, name: str, max_requests: int, deadline_s: float, remaining_s: float) -> Iterator[Slot]:
        """Waits until there is room for a request to this host, and counts it while the block lasts.

        Args:
          name: of the host, with its port.
          max_requests: at once.
          deadline_s: seconds that any image may take: no rest is longer.
          remaining_s: seconds that this image has left.

        Raises:
          HostRestsError: if the host's rest is longer than the time left, or it has been refusing everything.
          HostBusyError: if no room was found in time.
        """
        slot = Slot(self._clock() + remaining_s)
        with self._changed:
            host = self._host(name)
            if self._admitted.get() == name:
                self._admitted.set(None)
                host.admitted -= 1  # it takes its slot right away, if nothing has changed
            self._occupy(host, name, slot, max_requests, deadline_s)
        try:
            yield slot
        finally:
            with self._changed:
                host.slots.remove(slot)
                host.note(slot, deadline_s)
                self._let_others(name)

    def _occupy(self, host: _Host, name: str, slot: Slot, max_requests: int, deadline_s: float) -> None:
        host.waiting += 1
        try:
            while (rest_s := host.rest_s()) > 0 or not host.has_room(max_requests):
                left_s = slot.ends_by - self._clock()
                if rest_s >= left_s or host.is_hopeless(deadline_s):
                    raise HostRestsError(rest_s) if rest_s > 0 else HostBusyError(name)
                self._changed.wait(min(rest_s, left_s) if rest_s > 0 else left_s)
            host.slots.append(slot)
        finally:
            host.waiting -= 1
            self._forget_if_unused(name)

    def _let_others(self, name: str) -> None:
        self._forget_if_unused(name)
        self._changed.notify_all()

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= self._max_remembered:  # all of them answered 429 last
                self._hosts = {name: host for name, host in self._hosts.items() if host.is_used()}
            host = self._hosts[name] = _Host(self._clock)
        return host

    def _forget_if_unused(self, name: str) -> None:
        host = self._hosts.get(name)
        if host is not None and not (host.is_used() or host.refusals):
            del self._hosts[name]
