"""Deduplicates: one row an image among the parts that are to count.

Runners try bundles again, and a part that the first try put in place stays; `--retry-failed` and `--relabel-changed`
label images anew that have a row. Of an image's rows the one that counts is this job's, else a dead one's that it took
over from, else that which has counted; among equals an `ok` row before a failed one, then the latest. The others, and
what belongs to them in the other tables, are left out of new parts that take the place of the old. Nothing is deleted
here.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .parts import Part, job_of, read_part, replacing_stem, write_part

MAX_ROWS_AT_ONCE = 20_000_000  # ids compared with each other in memory: about 1.5 GB

_log = logging.getLogger(__name__)


def deduplicate(
    output: str, job_id: str, parts: Mapping[str, Part], candidates: Collection[str]
) -> tuple[dict[str, Part | None], int]:
    """Writes new parts in place of those that hold rows which don't count.

    Args:
      output: the output folder.
      job_id: of the job that closes, whose the new parts are.
      parts: by stem.
      candidates: stems of the parts that don't count yet, of this job or of dead ones, which are newer than all others;
        only images in these can have several rows.

    Returns:
      The new part by the stem of the old, None where no image is left; and how many rows of `images` were left out.
    """
    candidates = set(candidates) & set(parts)
    ages = {stem: (stem in candidates) + (job_of(stem) == job_id) for stem in parts}
    losers = defaultdict(list)
    for repeated in _repeated_ids(output, parts, candidates):
        for stem, image_ids in _losing_rows(output, ages, repeated).items():
            losers[stem] += image_ids
    replaced = {stem: _without(output, job_id, parts[stem], image_ids) for stem, image_ids in losers.items()}
    removed = sum(map(len, losers.values()))
    if removed:
        _log.info("%s: left out %d rows of images that had several", output, removed)
    return replaced, removed


def _repeated_ids(output: str, parts: Mapping[str, Part], candidates: set[str]) -> Iterator[pa.Array]:
    """Ids that have several rows, at least one of them in a candidate; in portions that fit in memory."""
    if not candidates:
        return
    if len(candidates) < len(parts):
        own = pa.concat_arrays([_ids(output, stem) for stem in candidates])
        found = [_several(own)] + [
            ids.filter(pc.is_in(ids, own)) for stem in parts if stem not in candidates for ids in [_ids(output, stem)]
        ]
        yield pc.unique(pa.concat_arrays(found))
        return
    num_rows = sum(part.rows["images"] for part in parts.values())
    digits = 0
    while num_rows >> (4 * digits) > MAX_ROWS_AT_ONCE:
        digits += 1
    for prefix in (f"{i:0{digits}x}" if digits else "" for i in range(16**digits)):
        portions = (_ids(output, stem) for stem in parts)
        yield _several(
            pa.concat_arrays([ids.filter(pc.starts_with(ids, prefix)) if prefix else ids for ids in portions])
        )


def _several(ids: pa.Array) -> pa.Array:
    counts = pc.value_counts(ids)
    return counts.field("values").filter(pc.greater(counts.field("counts"), pa.scalar(1)))


def _ids(output: str, stem: str) -> pa.Array:
    return read_part(output, stem, "images", ["image_id"]).column(0).combine_chunks()


def _losing_rows(output: str, ages: Mapping[str, int], repeated: pa.Array) -> dict[str, list[str]]:
    """Stem -> ids whose row in that part doesn't count.

    Args:
      ages: a larger number for a newer part, by stem. Not by clocks alone, of which each machine has its own.
      repeated: ids that have several rows.
    """
    if not len(repeated):
        return {}
    rows, stems = [], list(ages)
    for number, (stem, age) in enumerate(ages.items()):
        table = read_part(output, stem, "images", ["image_id", "status", "labelled_at"]).replace_schema_metadata(None)
        table = table.filter(pc.is_in(table.column("image_id"), repeated))
        table = table.append_column("age", pa.array(np.full(len(table), age)))
        rows.append(table.append_column("part", pa.array(np.full(len(table), number))))
    table = pa.concat_tables(rows)
    table = table.append_column("failed", pc.not_equal(table.column("status"), pa.scalar("ok")))
    table = table.sort_by(
        [
            ("image_id", "ascending"),
            ("age", "descending"),
            ("failed", "ascending"),
            ("labelled_at", "descending"),
            ("part", "descending"),
        ]
    )
    ids, numbers = table.column("image_id").to_pylist(), table.column("part").to_pylist()
    losers = defaultdict(list)
    for before, image_id, number in zip([None, *ids], ids, numbers, strict=False):
        if image_id == before:
            losers[stems[cast(int, number)]].append(image_id)
    return losers


def _without(output: str, job_id: str, part: Part, image_ids: list[str]) -> Part | None:
    """A new part like this one without these images; None if no image is left."""
    gone = pa.array(image_ids)
    tables = {}
    for name in part.rows:
        table = read_part(output, part.stem, name)
        tables[name] = table.filter(pc.invert(pc.is_in(table.column("image_id"), gone)))
    if not len(tables["images"]):
        return None
    return write_part(output, replacing_stem(job_id, [part.stem, *image_ids]), tables)
