"""When a failed request is tried again: the one policy for images, lists, tables and weights."""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .errors import StorageError

T = TypeVar("T")


class Deadline:
    """A moment after which nothing is worth waiting for."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining_s(self) -> float:
        return self._end - time.monotonic()

    def extend(self, seconds: float) -> None:
        """Time that was spent waiting isn't counted."""
        self._end += seconds

    def error(self) -> StorageError:
        return StorageError("timeout", f"not read within the deadline of {self.seconds:g} s")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long, and how often, something is asked for.

    Attributes:
      deadline_s: seconds for the whole, whatever happens: redirects, retries and servers that send a byte now and
        then included.
      retries: how often a failed request is repeated if its error is retryable; 0 for a single try.
      backoff_s: the n-th retry waits a random time between 0 and `backoff_s` * 2**(n-1) seconds ("full jitter"), or
        what the server asks for in `Retry-After` if that is longer.
      max_backoff_s: no random wait is longer.
      connect_timeout_s: seconds for a server to accept a connection (and for TLS to be agreed).
      read_timeout_s: seconds of silence after which a server has stopped answering. Over HTTP rounded up
        to whole seconds.
    """

    deadline_s: float = 60.0
    retries: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 20.0

    def __post_init__(self):
        check_positive(self, "deadline_s", "max_backoff_s", "connect_timeout_s", "read_timeout_s")
        check_not_negative(self, "retries", "backoff_s")

    def call(
        self, request: Callable[[Deadline], T], on_first_failure: Callable[[StorageError, Deadline], None] | None = None
    ) -> T:
        """What `request` returns, called until it doesn't fail or the policy says that it's enough.

        Args:
          request: called with the deadline of the whole.
          on_first_failure: called before the first retry.

        Raises:
          StorageError: that of the last try; a `timeout` that took all the time there was names the deadline.
        """
        deadline = Deadline(self.deadline_s)
        for retry in itertools.count():
            try:
                return request(deadline)
            except StorageError as failure:
                error = failure
            pause_s = self.pause_s(error, retry, deadline)
            if retry == 0 and on_first_failure:
                on_first_failure(error, deadline)
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def pause_s(self, error: StorageError, retry: int, deadline: Deadline) -> float:
        """Seconds to wait before the next try.

        Args:
          error: of the last try.
          retry: how often it has been tried again before.
          deadline: of the whole.

        Raises:
          StorageError: if there is to be none: what `call` raises.
        """
        if not error.retryable:
            raise error
        if deadline.remaining_s() <= 0:
            raise deadline.error() if error.kind == "timeout" else error
        longest_s = min(self.backoff_s * 2 ** min(retry, 16), self.max_backoff_s)
        pause_s = max(error.retry_after_s, random.uniform(0, longest_s))
        if retry == self.retries or pause_s >= deadline.remaining_s():
            raise error
        return pause_s


def check_positive(options: object, *names: str) -> None:
    """Raises ValueError if an attribute isn't above 0."""
    for name in names:
        value = getattr(options, name)
        if not value > 0:
            raise ValueError(f"{name}: expected a number above 0, got {value!r}")


def check_not_negative(options: object, *names: str) -> None:
    """Raises ValueError if an attribute is below 0."""
    for name in names:
        value = getattr(options, name)
        if not value >= 0:
            raise ValueError(f"{name}: expected 0 or more, got {value!r}")
