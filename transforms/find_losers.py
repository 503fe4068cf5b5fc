"""FindLosers: of images that have rows in several parts, those rows that don't count, found by all workers together.

A join by image id, for jobs with more new rows than one process holds (`labelset/deduplicate.py`): each part is read
once, 30 bytes a row are shuffled, and no worker holds more than a 256th of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from ..labelset.begin import OpenJob
from ..labelset.deduplicate import (
    ROWS_TOGETHER,
    Compared,
    hex_ids,
    losing_ids,
    read_rows,
    rows_from_bytes,
    split_by_id,
)
from ..labelset.parts import Part


class FindLosers(beam.PTransform):
    """All `Compared` parts in; parts with rows that don't count out, with the ids of their images as `pa.Array`.

    Args:
      job: the job that closes.

    Raises (in the pipeline):
      JobLostError: if another job has taken over, and deleted a part meanwhile.
    """

    def __init__(self, job: OpenJob):
        super().__init__()
        self._job = job

    def expand(self, compared: Any) -> beam.PCollection[tuple[Part, pa.Array]]:  # a PCollection[Compared]
        losing: Any = (
            compared
            | "SpreadCompared" >> beam.Reshuffle()
            | "RowsById" >> beam.ParDo(_RowsByIdFn(self._job))
            | "Portions" >> beam.GroupByKey()
            | "Compare" >> beam.FlatMap(_compare, self._job).with_output_types(tuple[int, bytes])
        )
        parts: Any = compared | "ByNumber" >> beam.Map(lambda one: (one.number, one.part)).with_output_types(
            tuple[int, Part]
        )
        sides: Any = {"part": parts, "ids": losing}
        return sides | beam.CoGroupByKey() | "WithIds" >> beam.FlatMap(_with_ids)


@beam.typehints.with_input_types(Compared)
@beam.typehints.with_output_types(tuple[int, bytes])
class _RowsByIdFn(beam.DoFn):
    """Rows of many parts together, since a small part has few for each portion."""

    def __init__(self, job: OpenJob):
        self._job = job

    def start_bundle(self):
        self._rows: list[np.ndarray] = []
        self._count = 0

    def process(self, compared: Compared) -> Iterator[tuple[int, bytes]]:
        self._job.attend()
        with self._job.reading():
            self._rows.append(read_rows(self._job.output, compared))
        self._count += len(self._rows[-1])
        if self._count >= ROWS_TOGETHER:
            yield from self._split()

    def finish_bundle(self):
        yield from map(GlobalWindows.windowed_value_at_end_of_window, self._split())

    def _split(self) -> Iterator[tuple[int, bytes]]:
        rows, self._rows, self._count = self._rows, [], 0
        if rows:
            yield from ((number, some.tobytes()) for number, some in split_by_id(np.concatenate(rows)))


def _compare(portion: tuple[int, Iterable[bytes]], job: OpenJob) -> Iterator[tuple[int, bytes]]:
    job.attend()
    return losing_ids(rows_from_bytes(portion[1]))


def _with_ids(element: tuple[int, Mapping[str, Iterable]]) -> Iterator[tuple[Part, pa.Array]]:
    _, found = element
    if ids := b"".join(found["ids"]):
        [part] = found["part"]
        yield part, hex_ids(ids)
