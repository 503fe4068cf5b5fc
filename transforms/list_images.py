"""ListImages: from what the user gave to one `ImageReference` an image, wherever and however it's kept.

    files and folders   photos/  photos/**/*.jpg  photo.png  gs://bucket/photos/       which files: `find_files.py`
    lists of URIs       uris.txt  uris.csv  uris.jsonl  uris.parquet                   what is in them: `uri_lists.py`
    videos, pages       clip.mp4  clip.mp4#t=12.480  scan.tif#page=3                   their frames: `list_frames.py`
    inventories         manifest.json                                                  of a bucket: `inventories.py`
    containers          shard.tar  train.tfrecord-00000-of-00010  images.parquet       what is in them: `containers/`

on local disks, Beam's filesystems (`gs://`, `s3://`, `hdfs://`) and, all but globs, folders and containers,
`http(s)://`. A store's folder of very many objects is listed by several workers. URIs of local files are absolute
paths. An entry of a list is an image, or a video: a list in a list isn't read, and fails as an image.

`check_inputs` belongs in front: it finds wrong inputs before a job starts. Images that are given twice are listed
twice: `skip_labelled.py` leaves out repeats.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.metrics import Metrics

from ..labelset.begin import OpenJob
from ..storage.errors import UsageError
from ..storage.file_info import FileVersion
from ..storage.files import open_to_read
from ..storage.read_options import ReadOptions
from ..storage.redaction import redact
from ..storage.uris import absolute, has_wildcard, is_http, is_local, scheme_of
from . import coders  # noqa: F401  registers them
from .decode.signatures import kind_of_bytes
from .elements import METRICS_NAMESPACE, ImageReference
from .sources.containers import index_members
from .sources.containers.parquet import find_image_column
from .sources.find_files import REASONS, FoundFile, Portion, find_files, find_in_portion
from .sources.inputs import (
    TEXT_LISTS,
    Format,
    InputError,
    ListOptions,
    check_can_read_videos,
    format_of,
    name_of_list,
    page_of,
    with_several_images,
)
from .sources.list_files import DamagedListError
from .sources.list_frames import frames_named
from .sources.uri_lists import open_list, parse_entries, read_entries

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
    for reason, count in passed_over.items():
        Metrics.counter(METRICS_NAMESPACE, PASSED_OVER + reason).inc(count)


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
        num_empty = num_problems = 0
        for reference in _without_errors(file, self._options, self._read_options):
            if reference is None:
                num_empty += 1
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
        if num_empty:
            Metrics.counter(METRICS_NAMESPACE, PASSED_OVER + NO_URI).inc(num_empty)


def _without_errors(file: FoundFile, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference | None]:
    """`_references`, with a problem in place of an error that the file itself is to blame for."""
    try:
        yield from _references(file, options, read)
    except InputError as error:
        yield ImageReference(file.uri, problem=str(error))


def _references(
    file: FoundFile, options: ListOptions, read: ReadOptions = ReadOptions()
) -> Iterator[ImageReference | None]:
    """The images that a list or container names or holds, None for a list's row without a URI."""
    if file.format == "compressed":
        raise InputError(f"container {file.uri}: compressed; members can't be read one by one. Decompress it")
    if file.portion is not None:
        yield from _in_portion(file.uri, file.portion, options, read)
    elif _is_list(file, options):
        for entry in read_entries(file.uri, file.format, options):
            if entry is None:
                yield None
            else:
                yield from frames_named(entry, options, read)
    elif file.format in ("video", "image"):
        yield from frames_named(ImageReference(file.uri, version=file.version), options, read)
    else:
        yield from index_members(file.uri, options)


def _in_portion(uri: str, portion: Portion, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference | None]:
    passed_over = Counter()
    try:
        for found in find_in_portion(uri, portion, options.exclude, lambda reason, _: passed_over.update([reason])):
            if found.format == "image" and with_several_images(found.uri, options.pages) is None:
                yield ImageReference(found.uri, version=found.version)
            else:
                yield from _without_errors(found, options, read)
    except DamagedListError as error:
        yield ImageReference(
            f"{uri}#rest",
            problem=f"inventory's data file {uri}: can't be read to its end ({error}); what it names further on "
            "is unknown",
        )
    finally:
        for reason, count in passed_over.items():
            Metrics.counter(METRICS_NAMESPACE, PASSED_OVER + reason).inc(count)


def _is_list(file: FoundFile, options: ListOptions) -> bool:
    if file.format == "parquet":  # over HTTP, only lists are read
        return is_http(file.uri) or find_image_column(file.uri, options) is None
    return file.format in TEXT_LISTS


@dataclass(frozen=True)
class NamedSchemes:
    """What the inputs have the images read from, as far as the first image of each tells.

    Attributes:
      schemes: of images, of files in folders and globs, of the first entry of each list, and of lists that aren't
        local; never only one of http and https. `file` only where it isn't just a list from elsewhere that says so.
      remote_list: a list that isn't local, whose entries name images of unknown origin; None without one.
    """

    schemes: frozenset[str]
    remote_list: str | None


def check_inputs(inputs: Sequence[str], options: ListOptions = ListOptions()) -> NamedSchemes:
    """Makes sure that every input can be used, as far as its first image tells; to be called before a pipeline is
    built.

    Cheap: of each input, files are looked for and read just up to the first image. What lies behind is found by the
    pipeline. An http(s) image isn't asked for; of an http(s) Parquet list, only whether the server has it. Filesystems
    of object stores take their settings from `FileSystems.set_options`, which must have been called.

    Args:
      inputs, options: as for `ListImages`.

    Raises:
      InputError: names the input that matches nothing, can't be read, isn't what its name says or lacks a column, and
        says what to do.
    """
    if options.frames_every != ListOptions.frames_every:
        check_can_read_videos()
    if not inputs:
        raise InputError("no inputs; expected images, folders, globs, lists of URIs or containers")
    schemes, remote_list = set(), None
    for uri in inputs:
        if not uri.strip():
            raise InputError("input '': empty; expected a path or a URI")
        try:
            file, first = _check(uri, options)
        except UsageError:
            raise
        except Exception as error:  # each object store's client has its own classes
            raise InputError(f"input {uri}: can't be read ({type(error).__name__}: {error})") from error
        if is_local(file.uri) or not _may_name_others(file, options):
            schemes.add(scheme_of(first))
        else:
            remote_list = remote_list or uri
            schemes |= {scheme_of(file.uri), scheme_of(first)} - {"file"}
    if not schemes.isdisjoint({"http", "https"}):
        schemes |= {"http", "https"}
    return NamedSchemes(frozenset(schemes), remote_list)


def _check(uri: str, options: ListOptions) -> tuple[FoundFile, str]:
    """The first file with an image, and that image's URI."""
    file, problem, passed_over = None, "", Counter()
    for file in find_files(absolute(uri), options.exclude, lambda reason, uri: passed_over.update([reason])):
        if file.format == "image" and (is_http(file.uri) or page_of(file.uri) is None):
            _check_is_no_list(uri, file)
            return file, file.uri
        if file.format == "compressed":
            problem = problem or f"container {file.uri}: compressed; decompress it"
            continue
        first, found = _first_image(file, options)
        if first is not None:
            return file, first
        problem = problem or found
    if problem:
        raise InputError(f"input {name_of_list(uri)}: nothing in it can be used. {problem}")
    if file is not None:
        what = "list without URIs" if _is_list(file, options) else "container without images"
        raise InputError(f"input {name_of_list(uri)}: matches no image; {name_of_list(file.uri)} is a {what}")
    found = ", ".join(f"{count} {REASONS[reason]}" for reason, count in passed_over.items())
    passed = f" Passed over: {found}." if found else ""
    if has_wildcard(uri):
        raise InputError(
            f"input {uri}: matches no image, nor a .tar or .tfrecord file. Lists of URIs and Parquet "
            f"files are matched by globs that end in their extension, as in folder/*.csv.{passed}"
        )
    raise InputError(
        f"input {uri}: no such file, or a folder without images, .tar and .tfrecord files. Lists of URIs "
        f"and Parquet files in a folder are to be named, as in folder/*.csv.{passed}"
    )


def _check_is_no_list(uri: str, file: FoundFile) -> None:
    """Refuses text without the extension of a list, which would be labelled as one image."""
    if is_http(file.uri) or format_of(file.uri) == "image":
        return
    with open_to_read(file.uri) as opened:
        kind = kind_of_bytes(opened.read(1024))
    if kind in ("text", "text in UTF-16", "JSON", "XML", "an HTML page"):
        raise InputError(
            f"input {uri}: {file.uri} is {kind}, no image. Lists of URIs are .txt, .csv, .tsv, .jsonl and .parquet "
            "files; rename it, or convert it to one of them"
        )


def _may_name_others(file: FoundFile, options: ListOptions) -> bool:
    """Whether a file is a list, whose entries can lie anywhere."""
    return file.format != "image" and _is_list(file, options)


def _first_image(file: FoundFile, options: ListOptions) -> tuple[str | None, str]:
    """The URI of the first image that a list or container names or holds (None without one), and the first problem."""
    if file.format == "video" and is_http(file.uri):
        return file.uri, ""  # to be read whole by those who work
    if not is_http(file.uri):
        return _first_of(_references(file, options))
    with open_list(file.uri, copy=False) as connection:
        if file.format == "parquet":
            return file.uri, ""  # not read: its entries lie at its end, behind everything else
        return _first_of(parse_entries(connection, file.uri, file.format, options))


def _first_of(references: Iterable[ImageReference | None]) -> tuple[str | None, str]:
    problem = ""
    for reference in references:
        if reference is not None and not reference.problem:
            return reference.uri, problem
        problem = problem or (reference.problem if reference is not None else "")
    return None, problem
