"""Compacts: makes few parts of many small ones, which are slow to open, above all in object stores; and rewrites parts
without the images that don't count.

The new parts count when the job has closed, in place of those that they are made of. However large they are, memory
holds little of them: small files are sorted together in portions, which wait on the local disk, and all is merged in
the order of image ids, row group by row group. The row groups of all tables end at the same images.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..storage import files
from ..storage.temporary import temporary_folder
from .part_files import is_sorted, iter_file, writer
from .parts import COUNTED, TABLES_IN_ORDER, Part, add_up, part_of_tables, part_path, read_part, replacing_stem
from .side_by_side import side_by_side

TARGET_BYTES = 256 << 20  # of a part's largest file
MIN_PARTS = 8  # fewer small parts than that aren't worth writing again
RUN_BYTES = 8 << 20  # of files that are sorted in memory together, which takes ten times as much and more
GROUP_BYTES = 16 << 20  # of a row group, all tables together
_BATCH_BYTES = 4 << 20  # of rows in memory, of each portion that is merged

Batches = Iterator[pa.Table]  # in the order of image ids


def plan_compaction(
    parts: Mapping[str, Part], target_bytes: int = TARGET_BYTES, min_parts: int = MIN_PARTS
) -> list[list[Part]]:
    """Groups of parts to make one of: small ones, oldest first, until a group reaches the target.

    Args:
      parts: by stem.
      target_bytes: of the largest table's file; parts of less than half of it are small.
      min_parts: a last group that doesn't reach the target is left alone unless it has so many.
    """
    groups, group, total = [], [], 0
    for _, part in sorted(parts.items()):
        size = max(part.num_bytes.values())
        if size >= target_bytes / 2:
            continue
        group.append(part)
        total += size
        if total >= target_bytes:
            groups.append(group)
            group, total = [], 0
    return [*groups, group] if len(group) >= min_parts else groups


def compact_parts(output: str, job_id: str, parts: Sequence[Part]) -> Part:
    """Makes one part of several; done again, it writes the same one. Parts of an older labelbeam get today's columns.

    Args:
      job_id: of the job that closes, whose the new part is.
    """
    made = rewrite_parts(output, replacing_stem(job_id, [part.stem for part in parts]), parts, {})
    assert made is not None, "a part that counts holds an image"
    return made


def rewrite_parts(output: str, stem: str, parts: Sequence[Part], leave_out: Mapping[str, pa.Array]) -> Part | None:
    """Writes one part with what is in some; done again, it writes the same one. Parts of an older labelbeam get today's
    columns.

    Args:
      output: the output folder.
      stem: of the new part.
      parts: of which no two hold the same image, but for what is left out.
      leave_out: ids of images that are left out, by the part's stem.

    Returns:
      The new part; None, and nothing is written, if no image is left.
    """
    num_images = sum(part.rows["images"] for part in parts)
    num_bytes = sum(sum(part.num_bytes.values()) for part in parts)
    group_images = max(1, num_images * GROUP_BYTES // max(num_bytes, 1))
    figures, rows, ends, written = [], {}, [], {}
    with temporary_folder("parts") as folder:
        for table in (table for table in TABLES_IN_ORDER if any(table in part.rows for part in parts)):
            runs, schema = _sorted_runs(output, table, parts, leave_out, Path(folder))
            merged = _merge([_aligned(run, schema) for run in runs])
            groups = _by_number(merged, group_images) if table == "images" else _by_end(merged, ends)
            path, rows[table] = Path(folder) / table, 0
            with writer(path, schema) as file:
                for group in groups:
                    rows[table] += len(group)
                    file.write_table(group, row_group_size=max(1, len(group)))
                    if table == "images":
                        ends.append(_ids(group)[-1])
                        figures.append(part_of_tables(stem, {table: group.select(COUNTED)}, {}))
            if not figures:
                return None
            written[table] = pa.memory_map(str(path)).read_buffer()
        files.write_together([(part_path(output, table, stem), data) for table, data in reversed(written.items())])
        sizes = {table: data.size for table, data in written.items()}
    return replace(add_up(figures), stem=stem, rows=rows, num_bytes=sizes)


def _sorted_runs(
    output: str, table: str, parts: Sequence[Part], leave_out: Mapping[str, pa.Array], folder: Path
) -> tuple[list[Batches], pa.Schema]:
    """A table's rows in portions that are sorted each, with the schema that all of them fit into."""
    holding = [part for part in parts if table in part.rows]
    runs, schemas, metadata = [], [], None
    for number, portion in enumerate(_portions(holding, table)):
        path = part_path(output, table, portion[0].stem)
        if portion[0].num_bytes[table] > RUN_BYTES and is_sorted(path):
            run, schema = _peeked(_large(path, table, leave_out.get(portion[0].stem)))
            metadata, schema = schema.metadata or metadata, schema.remove_metadata()
        else:
            read = side_by_side(output, lambda part: read_part(output, part.stem, table), portion)
            found = [_without(rows, leave_out.get(part.stem)) for part, rows in zip(portion, read, strict=True)]
            metadata = found[-1].schema.metadata
            found = [rows.replace_schema_metadata(None) for rows in found]
            together = sorted_by_image(pa.concat_tables(found, promote_options="default"))
            kept_at = None if len(holding) == len(portion) else folder / f"{table}-{number}"
            run, schema = _kept(together, kept_at), together.schema
        runs.append(run)
        schemas.append(schema)
    return runs, pa.unify_schemas(schemas, promote_options="default").with_metadata(metadata or {})


def _portions(parts: Sequence[Part], table: str) -> Iterator[list[Part]]:
    """Parts to be sorted together; a large one comes alone."""
    portion, total = [], 0
    for part in parts:
        size = part.num_bytes[table]
        if portion and total + size > RUN_BYTES:
            yield portion
            portion, total = [], 0
        portion.append(part)
        total += size
    if portion:
        yield portion


def _large(path: str, table: str, gone: pa.Array | None) -> Batches:
    """The rows of a large file, which is sorted, as they are asked for."""
    for batch in iter_file(path, table, None):
        found = _without(pa.Table.from_batches([batch]), gone)
        if len(found):
            yield found


def _peeked(batches: Batches) -> tuple[Batches, pa.Schema]:
    first = next(batches, None)
    return (iter(()), pa.schema([])) if first is None else (itertools.chain([first], batches), first.schema)


def _without(table: pa.Table, gone: pa.Array | None) -> pa.Table:
    return table if gone is None else table.filter(pc.invert(pc.is_in(table.column("image_id"), gone)))


def sorted_by_image(table: pa.Table) -> pa.Table:
    """By image id; an image's rows keep their order."""
    return table.take(np.argsort(_ids(table), kind="stable"))


def _kept(table: pa.Table, path: Path | None) -> Batches:
    """A sorted table in small batches, from a file meanwhile if there is a path."""
    rows = max(1, min(1 << 16, _BATCH_BYTES * len(table) // max(table.nbytes, 1)))
    batches = table.to_batches(max_chunksize=rows)
    if path is not None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as file:
            for batch in batches:
                file.write_batch(batch)
        return _from_file(path)
    return (pa.Table.from_batches([batch]) for batch in batches)


def _from_file(path: Path) -> Batches:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            yield pa.Table.from_batches([file.get_batch(number)])


def _aligned(batches: Batches, schema: pa.Schema) -> Batches:
    empty = schema.remove_metadata().empty_table()
    for table in batches:
        found = pa.concat_tables([empty, table.replace_schema_metadata(None)], promote_options="default")
        yield found.replace_schema_metadata(schema.metadata)


def _merge(runs: Sequence[Batches]) -> Batches:
    """Sorted runs as one, as far as the first that has to go on reads."""
    heads: list[tuple[pa.Table, np.ndarray, Batches]] = []
    waiting = list(runs)
    while waiting or heads:
        for run in waiting:
            if (table := next(run, None)) is not None:
                heads.append((table, _ids(table), run))
        waiting = []
        if not heads:
            return
        end = min(ids[-1] for _, ids, _ in heads)
        taken, left = [], []
        for table, ids, run in heads:
            place = int(np.searchsorted(ids, end, side="right"))
            taken.append(table.slice(0, place))
            if place == len(ids):
                waiting.append(run)
            else:
                left.append((table.slice(place), ids[place:], run))
        heads = left
        merged = pa.concat_tables(taken)
        yield sorted_by_image(merged) if len(taken) > 1 else merged


def _by_number(batches: Batches, rows: int) -> Batches:
    """In groups of so many rows."""
    held, number = [], 0
    for table in batches:
        while number + len(table) >= rows:
            held.append(table.slice(0, rows - number))
            yield pa.concat_tables(held).combine_chunks()
            table, held, number = table.slice(rows - number), [], 0
        if len(table):
            held.append(table)
            number += len(table)
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _by_end(batches: Batches, ends: Sequence[Any]) -> Batches:
    """In groups that end at these ids."""
    held, wanted = [], iter(ends)
    end = next(wanted, None)
    for table in batches:
        ids = _ids(table)
        while end is not None and ids[-1] > end:
            place = int(np.searchsorted(ids, end, side="right"))
            held.append(table.slice(0, place))
            yield pa.concat_tables(held).combine_chunks()
            table, ids, held, end = table.slice(place), ids[place:], [], next(wanted, None)
        held.append(table)
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _ids(table: pa.Table) -> np.ndarray:
    return ids_array(table.column("image_id"))


def ids_array(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Image ids as NumPy's `S32`, which sorts fast."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    fixed = whole.cast(pa.binary()).cast(pa.binary(32))
    data: Any = fixed.buffers()[1]
    return np.frombuffer(data, "S32", len(fixed), 32 * fixed.offset)
