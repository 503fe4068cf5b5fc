"""Deduplicates: one row an image among the parts that are to count.

Runners try bundles again, and a part that the first try put in place stays; `--retry-failed` and `--relabel-changed`
label images anew that have a row. Of an image's rows the one that counts is this job's, else a dead one's that it took
over from, else that which has counted; among equals an `ok` row before a failed one, then the latest. The others, and
what belongs to them in the other tables, are left out of new parts that take the place of the old. Nothing is deleted
here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.temporary import temporary_folder
from .compact import ids_array, rewrite_parts
from .part_files import iter_file
from .parts import Part, job_of, part_path, replacing_stem
from .side_by_side import side_by_side

MAX_ROWS_AT_ONCE = 5_000_000  # of parts that don't count yet, compared in memory: about 500 MB
ROWS_TOGETHER = 1_000_000  # that are split by their ids at once

# What decides which of an image's rows counts. Not by clocks alone, of which each machine has its own.
_ROW = np.dtype([("id", "S16"), ("age", "u1"), ("ok", "u1"), ("labelled_us", "i8"), ("part", "u4")])


class Compared(NamedTuple):
    """A part whose rows are compared with those of others.

    Attributes:
      part: the part.
      number: its place among all that are compared.
      age: 0 if it counts already, 1 if a dead job wrote it, 2 if the job that closes did.
    """

    part: Part
    number: int
    age: int


def to_compare(job_id: str, parts: Mapping[str, Part], candidates: Collection[str]) -> list[Compared]:
    """What has to be compared to find the rows that don't count.

    Args:
      job_id: of the job that closes.
      parts: by stem.
      candidates: stems of the parts that don't count yet, of this job or of dead ones; only images in these can have
        several rows.
    """
    candidates = set(candidates) & set(parts)
    ages = {stem: (stem in candidates) + (job_of(stem) == job_id) for stem in parts if candidates}
    return [Compared(parts[stem], number, ages[stem]) for number, stem in enumerate(sorted(ages))]


def are_few(compared: Iterable[Compared]) -> bool:
    """Whether the new rows fit in one process's memory."""
    return sum(one.part.rows["images"] for one in compared if one.age) <= MAX_ROWS_AT_ONCE


def find_losers(output: str, compared: Sequence[Compared]) -> dict[str, pa.Array]:
    """Finds the rows that don't count.

    Few new rows are read, then of the others only the row groups that may hold one of their images. With more, all
    rows are read once and wait on the local disk, split by their ids. 30 bytes a row.

    Args:
      output: the output folder.
      compared: see `to_compare`.

    Returns:
      Ids whose row in that part doesn't count, by stem.
    """
    found: dict[str, list[pa.Array]] = {}
    for rows in _few(output, compared) if are_few(compared) else _split_on_disk(output, compared):
        for number, ids in losing_ids(rows):
            found.setdefault(compared[number].part.stem, []).append(hex_ids(ids))
    return {stem: pa.concat_arrays(ids) for stem, ids in found.items()}


def read_rows(
    output: str, compared: Compared, wanted: Callable[[str, str], bool] = lambda first, last: True
) -> np.ndarray:
    """The rows of a part, or of its row groups that are wanted (see `iter_file`), as an array for `losing_ids`."""
    path, columns = part_path(output, "images", compared.part.stem), ["image_id", "status", "labelled_at"]
    found = [np.empty(0, _ROW)]
    for batch in iter_file(path, "images", columns, wanted):
        rows = np.empty(len(batch), _ROW)
        rows["id"] = np.frombuffer(bytes.fromhex(ids_array(batch.column(0)).tobytes().decode()), "S16")
        rows["age"], rows["part"] = compared.age, compared.number
        rows["ok"] = pc.equal(batch.column(1), pa.scalar("ok")).to_numpy(zero_copy_only=False)
        rows["labelled_us"] = batch.column(2).cast(pa.int64()).to_numpy(zero_copy_only=False)
        found.append(rows)
    return np.concatenate(found)


def split_by_id(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows in up to 256 portions, each with its number: those of an image fall together."""
    first_bytes = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), _ROW.itemsize)[:, 0]
    return _grouped(first_bytes, rows)


def rows_from_bytes(portions: Iterable[bytes]) -> np.ndarray:
    """The array of what `tobytes` has made of several."""
    return np.frombuffer(b"".join(portions), _ROW)


def losing_ids(rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Numbers of parts, and the ids, of 16 bytes each, of images whose row in that part doesn't count.

    Args:
      rows: all rows of some images.
    """
    rows = rows[np.lexsort([rows[name] for name in ("part", "labelled_us", "ok", "age", "id")])]
    last = np.append(rows["id"][1:] != rows["id"][:-1], True)[: len(rows)]  # of its image: the row that counts
    image = np.cumsum(last) - last
    losing = rows[~last & (rows["age"][last][image] > 0)]  # images without a new row are left as they are
    for number, some in _grouped(losing["part"], losing["id"]):
        yield number, some.tobytes()


def hex_ids(ids: bytes) -> pa.Array:
    """Ids of 16 bytes each as the column `image_id` has them."""
    digits = ids.hex()
    return pa.array([digits[place : place + 32] for place in range(0, len(digits), 32)], pa.string())


def deduplicate(output: str, job_id: str, part: Part, image_ids: pa.Array) -> Part | None:
    """Writes a new part like this one without these images; None if no image is left."""
    stem = replacing_stem(job_id, [part.stem, *map(str, image_ids.to_pylist())])
    return rewrite_parts(output, stem, [part], {part.stem: image_ids})


def _grouped(keys: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each key, and the values that have it."""
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    yield from zip(found.tolist(), np.split(values[order], starts)[1:], strict=True)


def _few(output: str, compared: Sequence[Compared]) -> Iterator[np.ndarray]:
    new = [one for one in compared if one.age]
    if not new:
        return
    rows = np.concatenate(list(side_by_side(output, lambda one: read_rows(output, one), new)))
    known = np.sort(rows["id"])

    def may_hold(first: str, last: str) -> bool:
        place = np.searchsorted(known, np.bytes_(bytes.fromhex(first)))
        return bool(place < len(known) and known[place] <= np.bytes_(bytes.fromhex(last)))

    def read_known(one: Compared) -> np.ndarray:
        found = read_rows(output, one, may_hold)
        places = np.minimum(np.searchsorted(known, found["id"]), len(known) - 1)
        return found[known[places] == found["id"]]

    others = side_by_side(output, read_known, [one for one in compared if not one.age])
    yield np.concatenate([rows, *others])


def _split_on_disk(output: str, compared: Sequence[Compared]) -> Iterator[np.ndarray]:
    with temporary_folder("rows") as folder:
        for rows in _together(side_by_side(output, lambda one: read_rows(output, one), compared)):
            for number, some in split_by_id(rows):
                with Path(folder, f"{number:02x}").open("ab") as file:
                    file.write(some.tobytes())
        for path in sorted(Path(folder).iterdir()):
            yield np.fromfile(path, _ROW)


def _together(arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Arrays of rows, many small ones as a large one."""
    held, count = [], 0
    for rows in arrays:
        held.append(rows)
        count += len(rows)
        if count >= ROWS_TOGETHER:
            yield np.concatenate(held)
            held, count = [], 0
    if held:
        yield np.concatenate(held)
