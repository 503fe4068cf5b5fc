"""`-` as an input: a list of URIs on standard input."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..storage.temporary import temporary_folder
from ..storage.uris import absolute


@contextlib.contextmanager
def with_standard_input(inputs: Sequence[str]) -> Iterator[list[str]]:
    """The inputs, with a file for `-` that exists while the context does: what standard input has, one URI a line.

    Relative paths start where the command was started.
    """
    if "-" not in inputs:
        yield list(inputs)
        return
    with temporary_folder("stdin") as folder:
        file = Path(folder, "stdin.txt")
        with file.open("w", encoding="utf-8", errors="surrogateescape") as listed:
            for line in sys.stdin:
                entry = line.rstrip("\r\n")
                listed.write(f"{absolute(entry) if entry.strip() else entry}\n")
        yield [str(file) if name == "-" else name for name in inputs]
