"""WriteParts: rows become Parquet files while the model works, in a thread of their own.

A part is one file a table with one stem, for the same images. Its `images` file is put in place last and makes the part
exist: before that moment nothing of it counts, afterwards all of it is durable. So finished work survives whatever happens
next, on every runner, without a shuffle of rows. Not for collections of rows in somebody's own pipeline: Beam's
`WriteToParquet` takes the outputs of `LabelImages`.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from ..labelset import schemas
from ..labelset.parts import ids_sum, new_stem, write_part
from ..labelset.rows import ImageRows
from ..storage import files as output_files
from ..storage.uris import join
from .execution_options import ExecutionOptions
from .workers.driver_link import FAILED, LABELLED, DriverLink


@dataclass(frozen=True)
class Part:
    """What a part holds.

    Attributes:
      stem: the common name of its files, `part-<job id>-<random>`.
      rows: rows by table.
      failures: failed images by error kind.
      ids_sum: of its image ids, see `parts.ids_sum`.
    """

    stem: str
    rows: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    ids_sum: int = 0


class WriteParts(beam.PTransform):
    """ImageRows in, a `Part` out for each part written below `output`.

    Args:
      output: the output folder.
      job_id: goes into the parts' names.
      tables: names of the tables that this label set has, of `schemas.TABLES`.
      metadata: key-value metadata for every file: the label set.
      options: say when a part is closed: at so many images, bytes, or seconds.
      link: is told of every image.
    """

    def __init__(
        self,
        output: str,
        job_id: str,
        tables: tuple[str, ...],
        metadata: Mapping[str, str],
        options: ExecutionOptions = ExecutionOptions(),
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._fn = _WritePartsFn(output, job_id, tables, metadata, options, link)

    def expand(self, rows: beam.PCollection[ImageRows]) -> beam.PCollection[Part]:
        return rows | beam.ParDo(self._fn).with_output_types(Part)


class _WritePartsFn(beam.DoFn):
    def __init__(
        self,
        output: str,
        job_id: str,
        tables: tuple[str, ...],
        metadata: Mapping[str, str],
        options: ExecutionOptions,
        link: DriverLink,
    ):
        self._output = output
        self._job_id = job_id
        self._tables = tables
        self._metadata = dict(metadata)
        self._options = options
        self._link = link
        self._tally = self._writer = None

    def setup(self):
        self._tally = self._link.tally()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="labelbeam-write")

    def teardown(self):
        if self._writer is not None:
            self._writer.shutdown(wait=False)
            self._tally.close()

    def start_bundle(self):
        self._writing: Future[Part] | None = None  # one at a time: what waits to be written is bounded
        self._open: dict[str, ImageRows] = {}  # by image id: a runner may repeat an element
        self._open_bytes = 0

    def process(self, rows: ImageRows):
        if not self._open:
            self._opened_at = time.monotonic()
        self._open[rows.image_id] = rows
        self._tally.add(LABELLED if rows.tables["images"]["status"][0] == "ok" else FAILED)
        self._open_bytes += rows.num_bytes_in_memory
        if (
            len(self._open) >= self._options.part_images
            or self._open_bytes >= self._options.part_bytes
            or time.monotonic() - self._opened_at >= self._options.part_seconds
        ):
            yield from self._close()

    def finish_bundle(self):
        self._tally.flush()
        for part in chain(self._close() if self._open else (), self._written()):
            yield GlobalWindows.windowed_value_at_end_of_window(part)

    def _close(self) -> Iterator[Part]:
        """Begins to write what is open; gives the part before it."""
        yield from self._written()
        rows, self._open, self._open_bytes = list(self._open.values()), {}, 0
        self._writing = self._writer.submit(self._write, rows)

    def _written(self) -> Iterator[Part]:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            yield writing.result()

    def _write(self, rows: list[ImageRows]) -> Part:
        for image in rows:
            for path, data in image.files.items():
                output_files.write_atomically(join(self._output, path), data)
        tables = {name: schemas.build_table(name, rows, self._metadata) for name in self._tables}
        stem = new_stem(self._job_id)
        write_part(self._output, stem, tables)
        return part_of_tables(stem, tables)


def part_of_tables(stem: str, tables: Mapping[str, pa.Table]) -> Part:
    """What a part with these tables holds."""
    images = tables["images"]
    failures = Counter(kind for kind in images.column("error_kind").to_pylist() if kind is not None)
    return Part(
        stem,
        {name: table.num_rows for name, table in tables.items()},
        dict(failures),
        ids_sum(images.column("image_id").to_pylist()),
    )
