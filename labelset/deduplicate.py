"""Settles repeats: one row an image in a whole output folder.

Runners try bundles again, and a part that the first try put in place stays; `--retry-failed` labels images anew that have a
row. Of an image's rows the one that counts is an `ok` row before a failed one, then the latest; the others, and what belongs
to them in the other tables, are taken out by replacing their parts. Every step leaves each image with a row, so a death in
the middle costs nothing but doing it again. Not for jobs whose figures agree: they have no repeats.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .parts import count_rows, delete_part, finished_parts, job_of, read_part, replacing_stem, write_part

MAX_ROWS_AT_ONCE = 20_000_000  # ids compared with each other in memory: about 1.5 GB

_log = logging.getLogger(__name__)


def settle_repeats(output: str, suspects: Collection[str] | None = None) -> int:
    """Removes the rows that don't count.

    Args:
      output: the output folder.
      suspects: stems; only images in these parts can have several rows. None: any can.

    Returns:
      How many rows of `images` were removed.
    """
    parts = finished_parts(output)
    suspects = set(parts) if suspects is None else set(suspects) & set(parts)
    losers = defaultdict(list)
    for repeated in _repeated_ids(output, list(parts), suspects):
        for stem, image_ids in _losing_rows(output, list(parts), repeated).items():
            losers[stem] += image_ids
    for stem, image_ids in sorted(losers.items()):
        _remove(output, stem, parts[stem], image_ids)
    removed = sum(map(len, losers.values()))
    if removed:
        _log.warning("%s: removed %d rows of images that had several", output, removed)
    return removed


def _repeated_ids(output: str, stems: list[str], suspects: set[str]) -> Iterator[pa.Array]:
    """Ids that have several rows, at least one of them in a suspect; in portions that fit in memory."""
    if not suspects:
        return
    if len(suspects) < len(stems):
        own = pa.concat_arrays([_ids(output, stem) for stem in suspects])
        found = [_several(own)] + [
            ids.filter(pc.is_in(ids, own)) for stem in stems if stem not in suspects for ids in [_ids(output, stem)]
        ]
        yield pc.unique(pa.concat_arrays(found))
        return
    num_rows = sum(count_rows(output, stem) for stem in stems)
    digits = 0
    while num_rows >> (4 * digits) > MAX_ROWS_AT_ONCE:
        digits += 1
    for prefix in (f"{i:0{digits}x}" if digits else "" for i in range(16**digits)):
        portions = (_ids(output, stem) for stem in stems)
        yield _several(
            pa.concat_arrays([ids.filter(pc.starts_with(ids, prefix)) if prefix else ids for ids in portions])
        )


def _several(ids: pa.Array) -> pa.Array:
    counts = pc.value_counts(ids)
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def _ids(output: str, stem: str) -> pa.Array:
    return read_part(output, stem, "images", ["image_id"]).column(0).combine_chunks()


def _losing_rows(output: str, stems: list[str], repeated: pa.Array) -> dict[str, list[str]]:
    """Stem -> ids whose row in that part doesn't count."""
    if not len(repeated):
        return {}
    rows = []
    for number, stem in enumerate(stems):
        table = read_part(output, stem, "images", ["image_id", "status", "labelled_at"])
        table = table.filter(pc.is_in(table.column("image_id"), repeated))
        rows.append(table.append_column("part", pa.array(np.full(len(table), number))))
    table = pa.concat_tables(rows)
    table = table.append_column("failed", pc.not_equal(table.column("status"), "ok"))
    table = table.sort_by(
        [("image_id", "ascending"), ("failed", "ascending"), ("labelled_at", "descending"), ("part", "descending")]
    )
    ids, numbers = table.column("image_id").to_pylist(), table.column("part").to_pylist()
    losers = defaultdict(list)
    for before, image_id, number in zip([None, *ids], ids, numbers):
        if image_id == before:
            losers[stems[number]].append(image_id)
    return losers


def _remove(output: str, stem: str, table_names: Collection[str], image_ids: list[str]) -> None:
    """Replaces a part by one without these images; takes it away if none is left."""
    gone = pa.array(image_ids)
    tables = {}
    for name in table_names:
        table = read_part(output, stem, name)
        tables[name] = table.filter(pc.invert(pc.is_in(table.column("image_id"), gone)))
    if len(tables["images"]):
        write_part(output, replacing_stem(job_of(stem), [stem, *image_ids]), tables, replaces=[stem])
    else:
        delete_part(output, stem)
