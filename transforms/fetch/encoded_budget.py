"""EncodedBudget: bytes of files that have been read, or are about to be, and of which no image has been made yet."""

import threading
from collections import deque
from collections.abc import Callable, Hashable


class EncodedBudget:
    """Room for bytes, first come, first served; one piece that needs more passes alone. Thread-safe.

    Args:
      max_bytes: taken at once.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._taken: dict[Hashable, int] = {}
        self._waiting: deque[tuple[Hashable, int, Callable[[], None]]] = deque()
        self._closed = False

    def ask(self, owner: Hashable, num_bytes: int, go_on: Callable[[], None]) -> None:
        """Calls `go_on` when there is room, now or later and from any thread; at once if the owner has some already."""
        with self._lock:
            if owner in self._taken:
                return go_on()
            self._waiting.append((owner, num_bytes, go_on))
            self._let_go_on()

    def free(self, owner: Hashable) -> None:
        """Makes an owner's room that of others. It may have none, and asks for no more."""
        if owner in self._taken:
            with self._lock:
                self._taken.pop(owner, None)
                self._let_go_on()

    def close(self) -> None:
        """Lets everybody go on: nobody cares any more."""
        with self._lock:
            self._closed = True
            self._let_go_on()

    def _let_go_on(self) -> None:
        while self._waiting:
            owner, num_bytes, go_on = self._waiting[0]
            if not self._closed and self._taken and sum(self._taken.values()) + num_bytes > self._max_bytes:
                return
            self._waiting.popleft()
            self._taken[owner] = num_bytes
            go_on()
