"""Turns: pieces of work go on side by side, but for those that are to run alone."""

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Lets threads work together, or one of them alone. Turns must not be nested."""

    def __init__(self):
        self._changed = threading.Condition()  # guards everything below
        self._at_work = 0
        self._one_is_alone = False
        self._waiting_to_be_alone = 0

    @contextlib.contextmanager
    def turn(self, alone: bool) -> Iterator[None]:
        """Waits until the calling thread may work; for `alone`, until no other works, and others wait meanwhile."""
        with self._changed:
            if alone:
                self._waiting_to_be_alone += 1
                self._changed.wait_for(lambda: not self._at_work)
                self._waiting_to_be_alone -= 1
            else:  # those that are to be alone come first: others would never let them have their turn
                self._changed.wait_for(lambda: not self._one_is_alone and not self._waiting_to_be_alone)
            self._at_work += 1
            self._one_is_alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._one_is_alone = False
                self._changed.notify_all()
