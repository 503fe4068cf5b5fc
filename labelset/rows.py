"""An image's rows in every table, its id, and the closed list of reasons why an image has no labels."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ErrorKind = Literal[
    "not_found",
    "forbidden",
    "timeout",
    "unreachable",
    "too_large",
    "not_an_image",
    "truncated",
    "unsupported",
    "inference",
    "out_of_memory",
    "bad_input",
    "internal",
]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

MaskFormat = Literal["rle", "png", "none"]
MASK_FORMATS: tuple[str, ...] = get_args(MaskFormat)


def image_id(uri: str) -> str:
    """The first 32 hex digits of SHA-256 over the URI's UTF-8 bytes (lone surrogates of odd file names included)."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass
class ImageRows:
    """One image's rows for every table, as columns: `tables[table][column]` is a sequence, one item a row.

    `tables["images"]` has exactly one row. `files` are files that the rows refer to (PNG masks): path relative to the
    output folder -> bytes.
    """

    image_id: str
    tables: dict[str, dict[str, Any]]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def num_bytes_in_memory(self) -> int:
        """About what the rows take in memory: what can be large is counted, the rest is a flat rate a row."""
        large = [*self.files.values(), *self.tables.get("tensors", {}).get("data", ())]
        num_rows = sum(len(next(iter(columns.values()))) for columns in self.tables.values())
        return sum(map(len, large)) + 256 * num_rows
