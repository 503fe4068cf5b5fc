"""Keeps the tables of modules in docs/architecture.md true: python -m docs.site.modules writes them anew.

A module's line is the first sentence of its docstring.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
_TABLE = re.compile(r"(<!-- modules of ([\w/]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page, with a table in each place that a pair of comments marks."""
    return _TABLE.sub(lambda match: match[1] + table(match[2]) + match[4], page)


def table(room: str) -> str:
    """A line for each module of a room, folder by folder; empty `__init__.py` files have none."""
    lines = ["| module | its job |", "|---|---|"]
    for path in sorted((ROOT / room).rglob("*.py"), key=lambda path: (path.parent, path.name)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if docstring:
            lines.append(f"| `{path.relative_to(ROOT / room)}` | {_first_sentence(docstring)} |")
    return "\n".join(lines) + "\n"


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?!]) (?=[A-Z`])", paragraph)[0]
    return sentence.rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
