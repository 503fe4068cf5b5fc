"""Parts of an output folder: their names, and how they are put in place, found, read and taken away.

A part is one Parquet file a table with one stem, for the same images. Its `images` file is put in place last: a part is
finished when that file exists. Whether it counts, the log says (`counting.py`).
"""

import contextlib
import errno
import hashlib
import io
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..storage import files
from ..storage.errors import ResourcesError, UsageError
from ..storage.uris import join
from .schemas import TABLES, promoted

_STEM = re.compile(r"part-(.+)-(c?)[0-9a-f]{12}")
COUNTED = ("image_id", "uri", "error_kind", "error_message")  # columns of `images` of which a part's figures are made
_TABLES_LAST_FIRST = ("images", *(table for table in TABLES if table != "images"))


class DamagedPartError(UsageError):
    """A part's file is missing, cut short, or not what was written.

    Attributes:
      path: of the file.
      why: what is wrong with it.
    """

    def __init__(self, message: str, path: str, why: str):
        super().__init__(message, path, why)  # so that it can be pickled, and Beam can add to the message
        self.path, self.why = path, why

    def __str__(self) -> str:
        return self.args[0]


def damaged(path: str, why: str, output: str) -> DamagedPartError:
    """The error for a part's file that can't be used."""
    return DamagedPartError(
        f"{path}: damaged ({why}). `labelbeam repair {output}` takes its part out; the next `labelbeam label` labels "
        "the part's images again",
        path,
        why,
    )


@dataclass(frozen=True)
class Part:
    """What a part holds.

    Attributes:
      stem: the common name of its files, `part-<job>-<12 hex digits>`.
      rows: rows by table.
      num_bytes: bytes of its files, by table.
      failures: failed images by error kind; not known of a part that is read from the log.
      examples: URI and message of one failed image by error kind; likewise.
      ids_sum: of its image ids, see `ids_sum`; likewise.
    """

    stem: str
    rows: Mapping[str, int] = field(default_factory=dict)
    num_bytes: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
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
    for name in reversed(_TABLES_LAST_FIRST):
        if name in tables:
            buffers[name] = io.BytesIO()
            pq.write_table(tables[name], buffers[name], compression="zstd", write_page_checksum=True)
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
        failures.update(part.failures)
        total += part.ids_sum
    return Part("", dict(rows), {}, dict(sorted(failures.items())), total % (1 << 128), examples)


def count_part(output: str, stem: str, num_bytes: Mapping[str, int]) -> Part:
    """What a part holds, from its files.

    Args:
      num_bytes: of its files, by table, as `list_parts` has them.
    """
    counted = part_of_tables(stem, {"images": read_part(output, stem, "images", COUNTED)}, num_bytes)
    return replace(counted, rows={table: count_rows(output, stem, table) for table in num_bytes})


def delete_parts(output: str, stems: Iterable[str]) -> None:
    """Takes parts away, `images` first: from then on, a part isn't finished."""
    files.delete(part_path(output, table, stem) for stem in stems for table in _TABLES_LAST_FIRST)


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


def read_file(
    path: str, table: str, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """The rows of one of a part's files, with today's columns: those that it hasn't got, being older, are null.

    Raises:
      DamagedPartError: if the file isn't there or can't be read.
    """
    with _opened(path) as file:
        present = _present(file, columns)
        if filters is None:
            return promoted(table, pq.ParquetFile(file, page_checksum_verification=True).read(present), columns)
        found = pq.read_table(file, columns=present, filters=filters, page_checksum_verification=True)
        return promoted(table, found, columns)


def iter_part(output: str, stem: str, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """A part's rows of one table, in portions. Raises as `read_file`."""
    return iter_file(part_path(output, table, stem), table, columns)


def iter_file(path: str, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Likewise, of one of a part's files."""
    with _opened(path) as file:
        content = pq.ParquetFile(file, page_checksum_verification=True)
        for batch in content.iter_batches(columns=_present(file, columns)):
            yield from promoted(table, pa.Table.from_batches([batch]), columns).to_batches()


def count_rows(output: str, stem: str, table: str = "images") -> int:
    """Rows of a part's table, from its footer. Raises as `read_file`."""
    with _opened(part_path(output, table, stem)) as file:
        return pq.read_metadata(file).num_rows


def read_schema(path: str) -> pa.Schema:
    """The columns of a part's file, from its footer. Raises as `read_file`."""
    with _opened(path) as file:
        return pq.read_schema(file)


def verify_part(output: str, part: Part) -> list[str]:
    """Reads all of a part; returns the paths of the files that are damaged: each with why."""
    damaged = []
    for table, rows in part.rows.items():
        path = part_path(output, table, part.stem)
        try:
            with _opened(path) as file:
                found = pq.ParquetFile(file, page_checksum_verification=True).read().num_rows
                if found != rows:
                    damaged.append(f"{path}: {found:,} rows, expected {rows:,}")
        except DamagedPartError as error:
            damaged.append(f"{path}: {error.why}")
    return damaged


@contextlib.contextmanager
def _opened(path: str) -> Iterator:
    try:
        with files.open_to_read(path) as file:
            yield file
    except MemoryError as error:  # Arrow's is an ArrowException, too: a file isn't damaged since this process is full
        raise ResourcesError(errno.ENOMEM, f"{path}: this process has no memory left to read it ({error})") from error
    except (FileNotFoundError, IsADirectoryError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise damaged(path, why, path.rsplit("/", 2)[0]) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:  # of the filesystem; pyarrow's own have no number
            error.filename = error.filename or path
            raise
        raise damaged(path, " ".join(str(error).split()), path.rsplit("/", 2)[0]) from error


def _present(file, columns: Sequence[str] | None) -> list[str] | None:
    """Those of the columns that a Parquet file has. Raises `KeyError` if it's no table of a label set."""
    names = set(pq.read_schema(file).names)
    file.seek(0)
    if "image_id" not in names:  # every table has it
        raise KeyError("it has no column image_id, so it's no table of a label set")
    if columns is None:
        return None
    return [column for column in columns if column in names]


def ids_sum(image_ids: Iterable[str]) -> int:
    """The sum of image ids as numbers, modulo 2**128: two sets of images with one sum and one size are the same set.

    Adding doesn't mind the order, so that workers can add up their shares without anybody seeing all ids.
    """
    return sum(int(image_id, 16) for image_id in image_ids) % (1 << 128)
