"""Parts of an output folder: their names, and how they are put in place, found, read and taken away.

A part is one Parquet file a table with one stem, for the same images. Its `images` file is put in place last and taken away
first: the part exists while that file exists. A part may take the place of others (when repeats are settled or small parts
merged): it then names them in its own metadata, so that whatever happens in between, they can be told and taken away later.
"""

import hashlib
import io
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..storage import files as output_files
from ..storage.uris import join
from .schemas import TABLES

REPLACES_KEY = "labelbeam.replaces"
_STEM = re.compile(r"part-(.+)-(r?)[0-9a-f]{12}")
_TABLES_LAST_FIRST = ("images", *(table for table in TABLES if table != "images"))


def new_stem(job_id: str) -> str:
    """`part-<job id>-<12 hex digits>`."""
    return f"part-{job_id}-{uuid.uuid4().hex[:12]}"


def replacing_stem(job_id: str, content: Iterable[str]) -> str:
    """`part-<job id>-r<12 hex digits>` of a part that replaces others; the same for the same content, so that a runner
    that tries again finds what it did before.

    Args:
      content: stems of the parts it replaces, and what else decides its rows.
    """
    return f"part-{job_id}-r{hashlib.sha256(' '.join(sorted(content)).encode()).hexdigest()[:12]}"


def job_of(stem: str) -> str:
    """The id of the job that wrote a part; empty for a name that isn't ours."""
    match = _STEM.fullmatch(stem)
    return match[1] if match else ""


def replaces_others(stem: str) -> bool:
    match = _STEM.fullmatch(stem)
    return bool(match and match[2])


def part_path(output: str, table: str, stem: str) -> str:
    return join(output, table, f"{stem}.parquet")


def write_part(output: str, stem: str, tables: Mapping[str, pa.Table], replaces: Iterable[str] = ()) -> None:
    """Puts a part in place, all of it or nothing, and takes away those that it replaces.

    Args:
      tables: by name; `images` among them.
      replaces: stems of the parts whose rows these are.
    """
    replaces = sorted(replaces)
    if replaces:
        images = tables["images"]
        metadata = {**(images.schema.metadata or {}), REPLACES_KEY: json.dumps(replaces)}
        tables = {**tables, "images": images.replace_schema_metadata(metadata)}
    files = []
    for name in reversed(_TABLES_LAST_FIRST):
        if name in tables:
            buffer = io.BytesIO()
            pq.write_table(tables[name], buffer, compression="zstd")
            files.append((part_path(output, name, stem), buffer.getbuffer()))
    output_files.write_together(files)
    for replaced in replaces:
        delete_part(output, replaced)


def delete_part(output: str, stem: str) -> None:
    """Takes a part away: from the moment that its `images` file is gone, it doesn't exist."""
    output_files.delete(part_path(output, table, stem) for table in _TABLES_LAST_FIRST)


def list_parts(output: str) -> dict[str, dict[str, int]]:
    """Stem -> table -> bytes of every file that belongs to a part or would; a part exists if it has `images`."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for table in TABLES:
        for path, num_bytes in output_files.list_sizes(part_path(output, table, "part-*")).items():
            found[path.rpartition("/")[2].removesuffix(".parquet")][table] = num_bytes
    return dict(found)


def finished_parts(output: str) -> dict[str, dict[str, int]]:
    """Likewise, of the parts that exist: the rows that count are theirs. By stem."""
    return only_finished(list_parts(output))


def only_finished(parts: Mapping[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Those of `list_parts` that exist, by stem."""
    return {stem: tables for stem, tables in sorted(parts.items()) if "images" in tables}


def replaced_by(output: str, stem: str) -> list[str]:
    """Stems of the parts that a part took the place of."""
    with output_files.open_to_read(part_path(output, "images", stem)) as file:
        metadata = pq.read_schema(file).metadata or {}
    return json.loads(metadata.get(REPLACES_KEY.encode(), b"[]"))


def read_part(
    output: str, stem: str, table: str, columns: list[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """A part's rows of one table; all of them without `filters`."""
    with output_files.open_to_read(part_path(output, table, stem)) as file:
        if filters is None:
            return pq.ParquetFile(file).read(columns)
        return pq.read_table(file, columns=columns, filters=filters)


def iter_part(output: str, stem: str, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """A part's rows of one table, in portions."""
    return iter_file(part_path(output, table, stem), columns)


def iter_file(path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Likewise, of one of a part's files."""
    with output_files.open_to_read(path) as file:
        yield from pq.ParquetFile(file).iter_batches(columns=columns)


def count_rows(output: str, stem: str) -> int:
    """Images in a part, from its footer."""
    with output_files.open_to_read(part_path(output, "images", stem)) as file:
        return pq.read_metadata(file).num_rows


def ids_sum(image_ids: Iterable[str]) -> int:
    """The sum of image ids as numbers, modulo 2**128: two sets of images with one sum and one size are the same set.

    Adding doesn't mind the order, so that workers can add up their shares without anybody seeing all ids.
    """
    return sum(int(image_id, 16) for image_id in image_ids) % (1 << 128)
