"""Standard streams that may be closed, full, or ASCII: what can't be said there never changes how a job ends."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
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
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        discard(sys.stdout)


def print_result(text: str) -> None:
    """Prints to standard output what the command is for.

    Raises:
      OSError: says that it couldn't be printed. BrokenPipeError if whoever reads it has enough.
    """
    with _saying_what_failed():
        print(text, flush=True)


def flush_results() -> None:
    """Makes sure that what was printed is written.

    Raises:
      OSError: as `print_result`.
    """
    with _saying_what_failed():
        sys.stdout.flush()


@contextlib.contextmanager
def _saying_what_failed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"standard output can't be written ({error.strerror}): not all was printed") from error


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
