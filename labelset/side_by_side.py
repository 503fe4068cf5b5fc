"""Runs what waits for a store in several threads, a bounded number of results ahead of who takes them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..storage.uris import is_in_store

T = TypeVar("T")
R = TypeVar("R")

THREADS = 16


def side_by_side(output: str, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, in threads if the output folder is in a store: each request there waits for tens of milliseconds.

    Args:
      output: the output folder.
      function: called with each item, thread-safe; what it raises is raised in the item's turn.
      items: taken as results are.
    """
    if not is_in_store(output):
        yield from map(function, items)
        return
    pool, ahead = ThreadPoolExecutor(THREADS, thread_name_prefix="labelbeam-parts"), deque[Future[R]]()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= 2 * THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
