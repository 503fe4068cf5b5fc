"""docs/tables.md says what schemas.py says. To mend it: python -m tests.labelset.test_tables_document"""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from labelbeam.labelset.schemas import TABLES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def described(schema: pa.Schema) -> str:
    """A schema as a Markdown table."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for field in schema:
        type_name = str(field.type).replace("element: ", "").replace(" not null", "")
        lines.append(f"| `{field.name}` | {type_name} | {field.metadata[b'description'].decode()} |")
    return "\n".join(lines) + "\n"


def section(table: str, text: str) -> re.Match:
    return re.search(rf"(?<=<!-- columns of {table} -->\n).*?(?=<!-- end -->)", text, re.DOTALL)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_documented_as_it_is(table):
    assert section(table, DOCUMENT.read_text(encoding="utf-8")).group() == described(TABLES[table])


def rewrite() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for table, schema in TABLES.items():
        found = section(table, text)
        text = text[: found.start()] + described(schema) + text[found.end() :]
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
