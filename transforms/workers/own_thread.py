"""A thread for what one owner calls, one call after the other, so that the owner can go on, or give up on a call that
hangs, which Python can't interrupt.

Not `concurrent.futures`: its threads are waited for when the process ends.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class OwnThread:
    """A thread that begins with the first call and ends after `close`. Called from one thread.

    Args:
      name: of the thread.
    """

    def __init__(self, name: str):
        self._name = name
        self._calls: SimpleQueue[tuple[Future, Callable[[], Any]] | None] = SimpleQueue()
        self._has_begun = False

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Calls a function after all that was asked for before; never waits."""
        if not self._has_begun:
            self._has_begun = True
            threading.Thread(target=_run, args=(self._calls,), name=self._name, daemon=True).start()
        done: Future[T] = Future()
        self._calls.put((done, function))
        return done

    def close(self) -> None:
        """Ends the thread once it has nothing to do; never waits."""
        self._calls.put(None)


def _run(calls: "SimpleQueue[tuple[Future, Callable[[], Any]] | None]") -> None:
    while (asked := calls.get()) is not None:
        done, function = asked
        try:
            done.set_result(function())
        except BaseException as error:  # raised again by whoever asks for the result
            done.set_exception(error)
        del asked, done, function  # an idle thread must not keep an image alive
