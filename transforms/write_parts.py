"""WriteParts: rows become Parquet files while the model works, in a thread of their own.

A part is one file a table with one stem, for the same images. Its `images` file is put in place last: from then on
the part is finished and durable. So finished work survives whatever happens next, on every runner, without a shuffle
of rows.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from ..labelset import schemas
from ..labelset.begin import OpenJob
from ..labelset.parts import Part, new_stem, write_part
from ..labelset.rows import ImageRows
from ..storage import files as output_files
from ..storage.uris import join
from .execution_options import ExecutionOptions
from .workers.driver_link import FAILED, LABELLED, DriverLink, Tally


class WriteParts(beam.PTransform):
    """ImageRows in, a `Part` out for each part that was written.

    Args:
      job: into whose output folder they are written, after a look at the log that it is still the folder's job.
      tables: names of the tables that this label set has, of `schemas.TABLES`.
      options: say when a part is closed: at so many images, bytes, or seconds.
      link: is told of every image.

    Raises (in the pipeline):
      JobLostError: if another job has taken over, or the folder isn't there any more.
    """

    def __init__(
        self,
        job: OpenJob,
        tables: tuple[str, ...],
        options: ExecutionOptions = ExecutionOptions(),
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._fn = _WritePartsFn(job, tables, options, link)

    def expand(self, rows: beam.PCollection[ImageRows]) -> beam.PCollection[Part]:
        return rows | beam.ParDo(self._fn).with_output_types(Part)  # pyright: ignore[reportReturnType]  # its annotation says PValue


class _WritePartsFn(beam.DoFn):
    _tally: Tally  # these two are made on the worker
    _writer: ThreadPoolExecutor

    def __init__(self, job: OpenJob, tables: tuple[str, ...], options: ExecutionOptions, link: DriverLink):
        self._job = job
        self._tables = tables
        self._metadata = job.label_set.metadata if job.label_set else {}
        self._options = options
        self._link = link
        self._is_bound = False

    def setup(self):
        self._job.attend()
        self._tally = self._link.tally()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="labelbeam-write")

    def teardown(self):
        if hasattr(self, "_writer"):
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
        self._job.check_open()
        if not self._is_bound:
            self._job.bind()
            self._is_bound = True
        for image in rows:
            for path, data in image.files.items():
                output_files.write_atomically(join(self._job.output, path), data)
        tables = {name: schemas.build_table(name, rows, self._metadata) for name in self._tables}
        return write_part(self._job.output, new_stem(self._job.job_id), tables)
