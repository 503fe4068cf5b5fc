"""`docs/commands.md`, the command reference: what `labelbeam COMMAND --help` says of every command."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from unittest import mock

from labelbeam.pipeline.cli import build_parser

_HEAD = """# Commands
What `labelbeam COMMAND --help` says. What codes commands end with: [exit codes](exit-codes.md).
"""
_COMMAND = re.compile(r"^ {4}([a-z][a-z-]*)(?: |$)", re.MULTILINE)


def command_reference() -> str:
    """The page as Markdown: a section a command."""
    sections = (f"## labelbeam {' '.join(words)}\n\n```text\n{help_of(*words)}```\n" for words in commands())
    return "\n".join([_HEAD, *sections])


def commands(*above: str) -> Iterator[tuple[str, ...]]:
    """The words of each command that has none below it: `("label",)`, `("weights", "import")`."""
    names = _COMMAND.findall(help_of(*above))
    if not names and above:
        yield above
    for name in names:
        yield from commands(*above, name)


def help_of(*words: str) -> str:
    """The help of a command, 100 columns wide."""
    with (
        mock.patch.dict(os.environ, COLUMNS="100"),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.suppress(SystemExit),
    ):
        build_parser().parse_args([*words, "--help"])
    return printed.getvalue()
