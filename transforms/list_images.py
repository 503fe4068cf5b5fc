"""ListImages: from what the user gave to one `ImageReference` an image, wherever and however it's kept.

    files and folders   photos/  photos/**/*.jpg  photo.png  gs://bucket/photos/       which files: `find_files.py`
    lists of URIs       uris.txt  uris.csv  uris.jsonl  uris.parquet                   what is in them: `uri_lists.py`
    videos, pages       clip.mp4  clip.mp4#t=12.480  scan.tif#page=3                   their frames: `list_frames.py`
    inventories         manifest.json                                                  of a bucket: `inventories.py`
    containers          shard.tar  train.tfrecord-00000-of-00010  images.parquet       what is in them: `containers/`

on local disks, Beam's filesystems (`gs://`, `s3://`, `hdfs://`) and, all but globs, folders and containers,
`http(s)://`. A store's folder of very many objects is listed by several workers. URIs of local files are absolute
paths. An entry of a list is an image, or a video: a list in a list isn't read, and fails as an image.

`sources/check_inputs.py` belongs in front: it finds wrong inputs before a job starts. Images that are given twice are
listed twice: `skip_labelled.py` leaves out repeats.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.metrics import Metrics

from ..labelset.begin import OpenJob
from ..storage.file_info import FileVersion
from ..storage.read_options import ReadOptions
from ..storage.redaction import redact
from ..storage.uris import absolute
from . import coders  # noqa: F401  registers them
from .elements import METRICS_NAMESPACE, ImageReference
from .sources.find_files import REASONS, FoundFile, Portion, find_files
from .sources.inputs import Format, InputError, ListOptions, with_several_images
from .sources.references import references_or_problem

PASSED_OVER = "passed_over_"  # names of counters: of what folders pass over, by reason, and of rows without a URI
NO_URI = "no_uri"
PASSED_OVER_WORDS = {**REASONS, NO_URI: "rows of lists without a URI"}

_IMAGES_TOGETHER = 1000  # image files in one element
_PROBLEMS_LOGGED = 3  # of one list or container

_log = logging.getLogger(__name__)


class ListImages(beam.PTransform):
    """PBegin to PCollection[ImageReference]: every image that the inputs name.

    Listing is lazy and in the pipeline: each list and container is read by one worker as a stream, several in parallel.
    A place that makes no sense (a row of a list, a damaged header of a container) is listed as a reference with a
    `problem`. Metrics `labelbeam/passed_over_<reason>` count what is passed over, by the keys of `PASSED_OVER_WORDS`.

    Args:
      inputs: paths, globs and URIs in any mix, relative ones to the current folder.
      options: how inputs are read.
      versions: whether references say the versions of their files, as far as listing folders tells them.
      read: which videos and files with pages that lists name may be read.
      listed_alone: objects that one worker lists of a folder in a store; the rest is spread over all of them.
      job: which is kept alive while this lists; None without one.

    Raises (in the pipeline):
      JobLostError: if another job has taken over before anything was listed.
      InputError: with `options.strict_inputs`, at the first place that makes no sense.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        options: ListOptions = ListOptions(),
        versions: bool = False,
        read: ReadOptions = ReadOptions(),
        listed_alone: int = 200_000,
        job: OpenJob | None = None,
    ):
        super().__init__()
        self._listed_alone = listed_alone
        self._job = job
        self._read = read
        self._versions = versions
        self._inputs = [_Input(absolute(uri)) for uri in dict.fromkeys(inputs)]
        self._options = options

    def expand(self, pbegin) -> beam.PCollection[ImageReference]:
        read = _ReadFiles(self._options, self._read, self._versions, self._job)
        return (
            pbegin
            | "Inputs" >> beam.Create(self._inputs)
            | "FindFiles"
            >> beam.FlatMap(
                _find_files, self._options.exclude, self._versions, self._listed_alone, self._job
            ).with_output_types(_Files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFiles" >> beam.ParDo(read).with_output_types(ImageReference)
        )


@dataclass(frozen=True)
class _Input:
    """An input as an element. Not a bare string: Beam writes those as strict UTF-8, which not all file names are."""

    uri: str


@dataclass(frozen=True)
class _Files:
    """Some image files, or one list or container, or a portion of an input.

    Image files aren't elements of their own, nor an output that is joined with what lists give: both would take the
    runner several times the memory. Plain strings: a shuffle pickles them.

    Attributes:
      uris: of the files.
      format: of all of them.
      versions: of each image file, where they are asked for; else empty.
      portion: a data file of an inventory, or a range of a store's keys.
    """

    uris: Sequence[str]
    format: Format
    versions: Sequence[FileVersion | None] = ()
    portion: Portion | None = None


def _find_files(
    element: _Input, exclude: Sequence[str], with_versions: bool, listed_alone: int, job: OpenJob | None
) -> Iterator[_Files]:
    if job is not None:
        job.check_open()  # it may have waited for its first worker for long
        job.attend()
    passed_over: Counter[str] = Counter()
    uris: list[str] = []
    versions: list[FileVersion | None] = []
    for file in find_files(element.uri, exclude, lambda reason, uri: passed_over.update([reason]), listed_alone):
        if file.format != "image":
            yield _Files([file.uri], file.format, portion=file.portion)
            continue
        uris.append(file.uri)
        if with_versions:
            versions.append(file.version)
        if len(uris) == _IMAGES_TOGETHER:
            yield _Files(uris, "image", versions)
            uris, versions = [], []
    if uris:
        yield _Files(uris, "image", versions)
    _count(passed_over)


class _ReadFiles(beam.DoFn):
    """Files to references of the images that they are, name or hold."""

    def __init__(self, options: ListOptions, read: ReadOptions, versions: bool, job: OpenJob | None):
        self._options = options
        self._read_options = read
        self._versions = versions
        self._job = job

    def setup(self):
        if self._job is not None:
            self._job.attend()

    def process(self, element: _Files):
        versions = element.versions or [None] * len(element.uris)
        for uri, version in zip(element.uris, versions, strict=True):
            if element.format == "image" and with_several_images(uri, self._options.pages) is None:
                yield ImageReference(uri, version=version)
            else:
                yield from self._read(FoundFile(uri, element.format, version, element.portion))

    def _read(self, file: FoundFile) -> Iterator[ImageReference]:
        num_problems = 0
        passed_over: Counter[str] = Counter()
        found = references_or_problem(
            file, self._options, self._read_options, lambda reason, uri: passed_over.update([reason])
        )
        for reference in found:
            if reference is None:
                passed_over[NO_URI] += 1
                continue
            if reference.problem:
                if self._options.strict_inputs:
                    raise InputError(f"{reference.problem}. Without --strict-inputs, it would be one failed image")
                num_problems += 1
                if num_problems <= _PROBLEMS_LOGGED:
                    _log.warning("%s. It becomes a failed image (bad_input).", redact(reference.problem))
            yield reference if self._versions or reference.version is None else replace(reference, version=None)
        if num_problems > _PROBLEMS_LOGGED:
            _log.warning("%s: %d such places in all.", redact(file.uri), num_problems)
        _count(passed_over)


def _count(passed_over: Counter[str]) -> None:
    for reason, count in passed_over.items():
        Metrics.counter(METRICS_NAMESPACE, PASSED_OVER + reason).inc(count)
