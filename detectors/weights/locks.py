"""One process at a time on an entry of the machine's cache."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(entry: Path) -> Iterator[None]:
    """Waits until no other process works on this file or folder of the cache; a lock file beside it stays."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with open(entry.with_name(f"{entry.name}.lock"), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
