"""How much of a process is spent on one host: requests at once, and when it backs off from one that
answers 429 Too Many Requests.

Promised for each host (name and port):

- no more than `max_requests` requests at once, from connecting to the last byte; what waits to be tried again isn't
  counted;
- after each 429 half as many, one at least, until one of them is answered otherwise;
- after a second 429 in a row, none at all for as long as its `Retry-After` says. A single one doesn't stop a host:
  servers that are merely busy answer so now and then, and its image waits in any case;
- a host that has answered nothing but 429 for as long as an image may take is asked once each time that it has backed
  off; all other images of it fail meanwhile, so that nothing waits for ever.

Waits for nothing and locks nothing: it belongs to the thread that makes the requests.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MAX_REMEMBERED_HOSTS = 10_000


class ThrottledError(Exception):
    """A host wants to be left alone for longer than there is time."""

    def __init__(self, seconds: float):
        super().__init__(f"asks for no requests for {seconds:.0f} s more")


@dataclass(slots=True)
class _Host:
    active: int = 0
    throttlings: int = 0  # answers 429 in a row
    throttled_since: float = 0.0
    backs_off_until: float = 0.0


class HostLimits:
    """Slots for requests, by host.

    Args:
      clock: seconds, as `time.monotonic` has them.
      max_remembered: hosts that are remembered at most for having answered 429.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_remembered: int = _MAX_REMEMBERED_HOSTS):
        self._clock = clock
        self._max_remembered = max_remembered
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Hosts that are remembered: those in use, and those that answered 429 last."""
        return len(self._hosts)

    def take(self, name: str, max_requests: int, deadline_s: float, remaining_s: float) -> bool:
        """Whether a request to this host may be made now. If so, it's counted until `give_back`.

        Args:
          name: of the host, with its port.
          max_requests: at once.
          deadline_s: seconds that any image may take: it backs off no longer.
          remaining_s: seconds that this image has left.

        Raises:
          ThrottledError: if it backs off for longer than the time left, or the host has answered nothing but 429.
        """
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= self._max_remembered:  # all of them answered 429 last
                self._hosts = {
                    name: host for name, host in self._hosts.items() if host.active or self._backs_off_s(host)
                }
            host = self._hosts[name] = _Host()
        if left_s := self._backs_off_s(host):
            if left_s >= remaining_s or (
                host.throttlings and host.backs_off_until - host.throttled_since >= deadline_s
            ):
                raise ThrottledError(left_s)
            return False
        if host.active >= max(1, max_requests >> host.throttlings):
            return False
        host.active += 1
        return True

    def give_back(self, name: str, deadline_s: float, throttled_for_s: float | None = None) -> None:
        """A request has ended.

        Args:
          name: of the host, with its port.
          deadline_s: seconds that any image may take.
          throttled_for_s: None for any end but 429; else what its `Retry-After` says, 0 without one.
        """
        host = self._hosts[name]
        host.active -= 1
        if throttled_for_s is None:
            host.throttlings = 0  # what others were told goes on
            if not (host.active or self._backs_off_s(host)):
                del self._hosts[name]
            return
        now = self._clock()
        host.throttlings += 1
        if host.throttlings == 1:
            host.throttled_since = now
        else:
            # No longer than an image may take: a server that says "tomorrow" in error is asked again in this job.
            host.backs_off_until = max(host.backs_off_until, now + min(throttled_for_s, deadline_s))

    def _backs_off_s(self, host: _Host) -> float:
        return max(0.0, host.backs_off_until - self._clock()) if host.backs_off_until else 0.0
