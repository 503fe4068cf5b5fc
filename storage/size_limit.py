"""The limit of bytes (`max_bytes`) of what is read whole."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

from .errors import StorageError

SMALL_BYTES = 2 << 20  # up to here, the number of files that are read at once bounds the memory well enough

_of_thread = threading.local()


@contextlib.contextmanager
def announcing(take_room: Callable[[int], None]) -> Iterator[None]:
    """Within it, `take_room` is called with a size that is known, in the same thread, before so many bytes are read.

    It may wait until there is room for them.
    """
    _of_thread.take_room = take_room
    try:
        yield
    finally:
        del _of_thread.take_room


def check_size(num_bytes: int, max_bytes: int) -> None:
    """Raises StorageError (`too_large`) if a size that is known is above the limit; else `announcing` tells of it."""
    if num_bytes > max_bytes:
        raise StorageError("too_large", f"{num_bytes:,} bytes, the limit is {max_bytes:,} (max_bytes)")
    if take_room := getattr(_of_thread, "take_room", None):
        take_room(num_bytes)


def more_than(max_bytes: int) -> StorageError:
    """The error for a body that has no declared size and turns out larger than allowed."""
    return StorageError("too_large", f"more than {max_bytes:,} bytes, which is the limit (max_bytes)")


def join_chunks(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """All chunks as one; raises StorageError (`too_large`) as soon as there are more bytes than allowed."""
    taken, num_bytes = [], 0
    for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise more_than(max_bytes)
        taken.append(chunk)
    return b"".join(taken)
