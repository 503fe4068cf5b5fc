"""Parts of an output folder: their names, and how they are put in place, found, read and taken away.

A part is one Parquet file a table with one stem, for the same images. Its `images` file is put in place last: a part is
finished when that file exists. Whether it counts, the log says (`counting.py`).
"""

import hashlib
import io
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from ..storage import files
from ..storage.uris import join
from .part_files import count_file, iter_file, read_file, verify_file, write_file
from .schemas import TABLES

_STEM = re.compile(r"part-(.+)-(c?)[0-9a-f]{12}")
COUNTED = ("image_id", "uri", "error_kind", "error_message")  # columns of `images` of which a part's figures are made
TABLES_IN_ORDER = ("images", *(table for table in TABLES if table != "images"))  # put in place from the last


@dataclass(frozen=True)
class Part:
    """What a part holds.

    Attributes:
      stem: the common name of its files, `part-<job>-<12 hex digits>`.
      rows: rows by table.
      num_bytes: bytes of its files, by table.
      failures: failed images by error kind; None if that isn't known: of a part that an older labelbeam put in the log.
      ids_sum: of its image ids, see `ids_sum`; not known of a part that is read from the log.
      examples: URI and message of one failed image by error kind; likewise.
    """

    stem: str
    rows: Mapping[str, int] = field(default_factory=dict)
    num_bytes: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] | None = field(default_factory=dict)
    ids_sum: int = 0
    examples: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def new_stem(job_id: str) -> str:
    """`part-<job id>-<12 hex digits>`."""
    return f"part-{job_id}-{uuid.uuid4().hex[:12]}"


def replacing_stem(job_id: str, content: Iterable[str]) -> str:
    """`part-<job id>-c<12 hex digits>` of a part that is made of others when a job closes.

    The same for the same content: a runner that tries again writes the same file.

    Args:
      content: stems of the parts it is made of, and what else decides its rows.
    """
    return f"part-{job_id}-c{hashlib.sha256(' '.join(sorted(content)).encode()).hexdigest()[:12]}"


def job_of(stem: str) -> str:
    """The id of the job that wrote a part; empty for a name that isn't ours."""
    match = _STEM.fullmatch(stem)
    return match[1] if match else ""


def is_replacing(stem: str) -> bool:
    """Whether a part was made of others when a job closed."""
    match = _STEM.fullmatch(stem)
    return bool(match and match[2])


def part_path(output: str, table: str, stem: str) -> str:
    return join(output, table, f"{stem}.parquet")


def write_part(output: str, stem: str, tables: Mapping[str, pa.Table]) -> Part:
    """Puts a part in place, all of it or nothing.

    Args:
      tables: by name; `images` among them.
    """
    buffers = {}
    for name in reversed(TABLES_IN_ORDER):
        if name in tables:
            buffers[name] = io.BytesIO()
            write_file(buffers[name], tables[name])
    files.write_together([(part_path(output, name, stem), buffer.getbuffer()) for name, buffer in buffers.items()])
    return part_of_tables(stem, tables, {name: buffer.getbuffer().nbytes for name, buffer in buffers.items()})


def part_of_tables(stem: str, tables: Mapping[str, pa.Table], num_bytes: Mapping[str, int]) -> Part:
    """What a part with these tables holds; of `images`, only the columns of `COUNTED` are looked at."""
    images = tables["images"]
    failed = images.select(COUNTED).filter(images.column("error_kind").is_valid()).to_pylist()
    return Part(
        stem,
        {name: table.num_rows for name, table in tables.items()},
        dict(num_bytes),
        dict(Counter(row["error_kind"] for row in failed)),
        ids_sum(map(str, images.column("image_id").to_pylist())),
        {row["error_kind"]: (row["uri"], row["error_message"]) for row in reversed(failed)},
    )


def add_up(parts: Iterable[Part]) -> Part:
    """What parts hold together; its stem and bytes mean nothing."""
    rows, failures, total, examples = Counter(), Counter(), 0, {}
    for part in parts:
        examples = {**part.examples, **examples}
        rows.update(part.rows)
        failures.update(part.failures or {})
        total += part.ids_sum
    return Part("", dict(rows), {}, dict(sorted(failures.items())), total % (1 << 128), examples)


def count_part(output: str, stem: str, num_bytes: Mapping[str, int], images: pa.Table | None = None) -> Part:
    """What a part holds, from its files.

    Args:
      num_bytes: of its files, by table, as `list_parts` has them.
      images: the columns of `COUNTED`, if they have been read.
    """
    images = read_part(output, stem, "images", COUNTED) if images is None else images
    others = {table: count_rows(output, stem, table) for table in num_bytes if table != "images"}
    return replace(part_of_tables(stem, {"images": images}, num_bytes), rows={"images": len(images), **others})


def delete_parts(output: str, parts: Mapping[str, Collection[str]]) -> None:
    """Takes parts away, `images` first: from then on, a part isn't finished.

    Args:
      parts: tables by stem, those that are there.
    """
    for table in TABLES_IN_ORDER:
        files.delete(part_path(output, table, stem) for stem, tables in parts.items() if table in tables)


def list_parts(output: str, job_id: str | None = None) -> dict[str, dict[str, int]]:
    """Stem -> table -> bytes of all files that lie where parts' files do and are named like them, by stem.

    Args:
      job_id: only of this job, which a store tells without listing the others.
    """
    prefix = "part-" if job_id is None else f"part-{job_id}-"
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for table in TABLES:
        for path, num_bytes in files.list_sizes(part_path(output, table, f"{prefix}*")).items():
            found[path.rpartition("/")[2].removesuffix(".parquet")][table] = num_bytes
    return {stem: tables for stem, tables in sorted(found.items()) if job_id is None or job_of(stem) == job_id}


def written_parts(output: str, job_id: str) -> dict[str, dict[str, int]]:
    """Likewise, of the finished parts that a job wrote while it labelled, without those that it made when it closed."""
    return {
        stem: tables
        for stem, tables in list_parts(output, job_id).items()
        if "images" in tables and not is_replacing(stem)
    }


def read_part(
    output: str,
    stem: str,
    table: str,
    columns: Sequence[str] | None = None,
    filters: pc.Expression | None = None,
) -> pa.Table:
    """A part's rows of one table; all of them without `filters`. See `read_file`."""
    return read_file(part_path(output, table, stem), table, columns, filters)


def iter_part(output: str, stem: str, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """A part's rows of one table, in portions. Raises as `read_file`."""
    return iter_file(part_path(output, table, stem), table, columns)


def count_rows(output: str, stem: str, table: str = "images") -> int:
    """Rows of a part's table, from its footer. Raises as `read_file`."""
    return count_file(part_path(output, table, stem))


def verify_part(output: str, part: Part) -> list[str]:
    """Reads all of a part; returns the paths of the files that are damaged: each with why."""
    paths = {part_path(output, table, part.stem): rows for table, rows in part.rows.items()}
    return [f"{path}: {why}" for path, rows in paths.items() if (why := verify_file(path, rows)) is not None]


def ids_sum(image_ids: Iterable[str]) -> int:
    """The sum of image ids as numbers, modulo 2**128: two sets of images with one sum and one size are the same set.

    Adding doesn't mind the order, so that workers can add up their shares without anybody seeing all ids.
    """
    return sum(int(image_id, 16) for image_id in image_ids) % (1 << 128)
