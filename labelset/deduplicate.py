"""Deduplicates: one row an image among the parts that are to count.

Runners try bundles again, and a part that the first try put in place stays; `--retry-failed` and `--relabel-changed`
label images anew that have a row. Of an image's rows the one that counts is this job's, else a dead one's that it took
over from, else that which has counted; among equals an `ok` row before a failed one, then the latest. The others, and
what belongs to them in the other tables, are left out of new parts that take the place of the old. Nothing is deleted
here.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .compact import ids_array, rewrite_parts
from .part_files import iter_file
from .parts import Part, job_of, part_path, read_part, replacing_stem
from .side_by_side import side_by_side

MAX_IDS_AT_ONCE = 5_000_000  # of parts that don't count yet, compared in memory: about 500 MB

Losers = Mapping[str, pa.Array]  # ids of images by the stem of the part where their row doesn't count


def find_losers(
    output: str, job_id: str, parts: Mapping[str, Part], candidates: Collection[str]
) -> dict[str, pa.Array]:
    """Finds the rows that don't count.

    Ids are read, a column of 16 bytes a row: those of the candidates, then of the others only the row groups that may
    hold one of them. With more than `MAX_IDS_AT_ONCE` in the candidates that happens in several goes, each for a range
    of ids.

    Args:
      output: the output folder.
      job_id: of the job that closes, whose the new parts are.
      parts: by stem.
      candidates: stems of the parts that don't count yet, of this job or of dead ones, which are newer than all others;
        only images in these can have several rows.

    Returns:
      Ids whose row in that part doesn't count, by stem.
    """
    candidates = set(candidates) & set(parts)
    if not candidates:
        return {}
    ages = {stem: (stem in candidates) + (job_of(stem) == job_id) for stem in parts}
    losers: dict[str, list[pa.Array]] = {}
    goes = -(-sum(parts[stem].rows["images"] for stem in candidates) // MAX_IDS_AT_ONCE)
    for go in range(goes):
        first, end = (f"{(1 << 128) * number // goes:032x}" for number in (go, go + 1))
        for stem, ids in _losing_rows(output, ages, _repeated_ids(output, parts, candidates, first, end)):
            losers.setdefault(stem, []).append(ids)
    return {stem: pa.concat_arrays(found) for stem, found in losers.items()}


def deduplicate(output: str, job_id: str, part: Part, image_ids: pa.Array) -> Part | None:
    """Writes a new part like this one without these images; None if no image is left."""
    stem = replacing_stem(job_id, [part.stem, *map(str, image_ids.to_pylist())])
    return rewrite_parts(output, stem, [part], {part.stem: image_ids})


def _repeated_ids(
    output: str, parts: Mapping[str, Part], candidates: set[str], first: str, end: str
) -> dict[str, np.ndarray]:
    """Ids from the first up to the end that have several rows, at least one of them in a candidate: by the stems of all
    parts that hold them, sorted."""
    begin, behind = np.bytes_(first), np.bytes_(end)
    whole = len(end) > 32  # 2 ** 128: no id lies behind

    def within(low: str, high: str) -> bool:
        return high >= first and (whole or low < end)

    def read(stem: str) -> tuple[str, np.ndarray]:
        ids = _read_ids(output, stem, within)
        return stem, ids[(ids >= begin) & (whole | (ids < behind))]

    own = dict(side_by_side(output, read, [stem for stem in parts if stem in candidates]))
    known = np.sort(np.concatenate(list(own.values())))

    def may_hold(low: str, high: str) -> bool:
        place = np.searchsorted(known, np.bytes_(low))
        return bool(place < len(known) and known[place] <= np.bytes_(high))

    def read_known(stem: str) -> tuple[str, np.ndarray]:
        return stem, _among(_read_ids(output, stem, may_hold), known)

    earlier = dict(side_by_side(output, read_known, [stem for stem in parts if stem not in candidates]))
    repeated = np.unique(np.concatenate([known[1:][known[1:] == known[:-1]], *earlier.values()]))
    held = {stem: _among(ids, repeated) for stem, ids in own.items()} | earlier
    return {stem: ids for stem, ids in held.items() if len(ids)}


def _read_ids(output: str, stem: str, wanted) -> np.ndarray:
    batches = iter_file(part_path(output, "images", stem), "images", ["image_id"], wanted)
    return np.concatenate([np.empty(0, "S32"), *(ids_array(batch.column(0)) for batch in batches)])


def _among(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of the ids that are among others, which are sorted."""
    places = np.searchsorted(known, ids)
    places[places == len(known)] = 0
    return ids[known[places] == ids] if len(known) else ids[:0]


def _losing_rows(
    output: str, ages: Mapping[str, int], repeated: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, pa.Array]]:
    """Stems, and ids whose row in that part doesn't count.

    Args:
      ages: a larger number for a newer part, by stem. Not by clocks alone, of which each machine has its own.
      repeated: ids that have several rows, by the stems of the parts that hold them.
    """
    if not repeated:
        return
    stems = list(repeated)

    def read(number: int) -> pa.Table:
        stem = stems[number]
        ids = pa.array(repeated[stem].astype("U32"))
        found = read_part(
            output, stem, "images", ["image_id", "status", "labelled_at"], pc.field("image_id").isin(ids)
        ).replace_schema_metadata(None)
        found = found.append_column("age", pa.array(np.full(len(found), ages[stem])))
        return found.append_column("part", pa.array(np.full(len(found), number)))

    table = pa.concat_tables(side_by_side(output, read, range(len(stems))))
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
    ids = table.column("image_id").combine_chunks()
    losing = np.concatenate([[False], ids_array(ids)[1:] == ids_array(ids)[:-1]])
    numbers = table.column("part").to_numpy()
    for number in np.unique(numbers[losing]).tolist():
        yield stems[number], ids.filter(pa.array(losing & (numbers == number)))
