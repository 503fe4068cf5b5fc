"""Standard streams that may be closed, full, or ASCII: what can't be said there never changes how a job ends."""

import contextlib
import io
import os
import sys
from typing import NoReturn, TextIO


def open_missing_streams() -> None:
    """Gives closed streams the null device, so that no other file gets their number; makes text of any kind
    printable."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    sys.stdout = sys.stdout or _null()
    sys.stderr = sys.stderr or _null()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a test, a notebook or a server has put another one
            stream.reconfigure(errors="backslashreplace")


def _null() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def say(text: str) -> None:
    """Prints to standard output what is good to know and needn't be: if nobody can read it, the work is done all the
    same."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def discard(stream) -> None:
    """Lets a stream that can't be written to go to the null device: Python would complain at its exit otherwise."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def end_at_once(code: int) -> NoReturn:
    """Ends the process; what was printed and can be written is."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
