"""ListImages: from what the user gave to one `ImageReference` an image, wherever and however it's kept.

    files and folders   photos/  photos/**/*.jpg  photo.png  gs://bucket/photos/       which files: `find_files.py`
    lists of URIs       uris.txt  uris.csv  uris.jsonl  uris.parquet                   what is in them: `uri_lists.py`
    containers          shard.tar  train.tfrecord-00000-of-00010  images.parquet       what is in them: `containers/`

on local disks, Beam's filesystems (`gs://`, `s3://`, `hdfs://`) and, all but globs, folders and containers,
`http(s)://`. URIs of local files are absolute paths. An entry of a list is always an image: a list in a list isn't
read, and fails as an image.

`check_inputs` belongs in front: it finds wrong inputs before a job starts. Images that are given twice are listed
twice: `skip_labelled.py` leaves out repeats.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics

from ..storage.errors import UsageError
from ..storage.redaction import redact
from ..storage.uris import absolute, has_wildcard, is_http, is_local, resolve, scheme_of
from . import coders  # noqa: F401  registers them
from .elements import METRICS_NAMESPACE, ImageReference
from .sources.containers import index_members
from .sources.containers.parquet import find_image_column
from .sources.find_files import FoundFile, find_files
from .sources.inputs import TEXT_LISTS, InputError, ListOptions
from .sources.uri_lists import open_list, parse_entries, read_entries

_IMAGES_TOGETHER = 1000  # image files in one element

_log = logging.getLogger(__name__)


class ListImages(beam.PTransform):
    """PBegin to PCollection[ImageReference]: every image that the inputs name.

    Listing is lazy and in the pipeline: each list and container is read by one worker as a stream, several in parallel.
    Metric `labelbeam/list_entries_empty` counts rows of lists without a URI, which are skipped.

    Args:
      inputs: paths, globs and URIs in any mix, relative ones to the current folder.
      options: how lists and Parquet files are read.
    """

    def __init__(self, inputs: Sequence[str], options: ListOptions = ListOptions()):
        super().__init__()
        self._inputs = [_Input(absolute(uri)) for uri in dict.fromkeys(inputs)]
        self._options = options

    def expand(self, pbegin) -> beam.PCollection[ImageReference]:
        return (
            pbegin
            | "Inputs" >> beam.Create(self._inputs)
            | "FindFiles" >> beam.FlatMap(_find_files).with_output_types(_Files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFiles" >> beam.ParDo(_ReadFiles(self._options)).with_output_types(ImageReference)
        )


@dataclass(frozen=True)
class _Input:
    """An input as an element. Not a bare string: Beam writes those as strict UTF-8, which not all file names are."""

    uri: str


@dataclass(frozen=True)
class _Files:
    """Some image files, or one list or container. Image files aren't elements of their own, nor an output that is joined with
    what lists give: both would take the runner several times the memory."""

    files: Sequence[FoundFile]


def _find_files(element: _Input) -> Iterator[_Files]:
    images = []
    for file in find_files(element.uri):
        if file.format != "image":
            yield _Files([file])
            continue
        images.append(file)
        if len(images) == _IMAGES_TOGETHER:
            yield _Files(images)
            images = []
    if images:
        yield _Files(images)


class _ReadFiles(beam.DoFn):
    """Files to references of the images that they are, name or hold."""

    def __init__(self, options: ListOptions):
        self._options = options
        self._empty_entries = Metrics.counter(METRICS_NAMESPACE, "list_entries_empty")

    def process(self, element: _Files):
        for file in element.files:
            if file.format == "image":
                yield ImageReference(file.uri)
            else:
                yield from self._read(file)

    def _read(self, file: FoundFile) -> Iterator[ImageReference]:
        num_empty = 0
        for reference in _references(file, self._options):
            if reference is None:
                num_empty += 1
            else:
                yield reference
        if num_empty:
            self._empty_entries.inc(num_empty)
            _log.warning("list %s: skipped %d rows without a URI", redact(file.uri), num_empty)


def _references(file: FoundFile, options: ListOptions) -> Iterator[ImageReference | None]:
    """The images that a list or container names or holds, None for a list's row without a URI."""
    if _is_list(file, options):
        for entry in read_entries(file.uri, file.format, options):
            yield _of_entry(entry, file.uri)
    else:
        yield from index_members(file.uri, options)


def _is_list(file: FoundFile, options: ListOptions) -> bool:
    if file.format == "parquet":  # over HTTP, only lists are read
        return is_http(file.uri) or find_image_column(file.uri, options) is None
    return file.format in TEXT_LISTS


def _of_entry(entry: str, list_uri: str) -> ImageReference | None:
    return ImageReference(resolve(entry, list_uri)) if entry.strip() else None


@dataclass(frozen=True)
class NamedSchemes:
    """What the inputs have the images read from, as far as the first image of each tells.

    Attributes:
      schemes: of images, of files in folders and globs, of the first entry of each list, and of lists that aren't local;
        never only one of http and https. `file` only where it isn't just a list from elsewhere that says so.
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
    file = None
    for file in find_files(absolute(uri)):
        first = file.uri if file.format == "image" else _first_image(file, options)
        if first is not None:
            return file, first
    if file is not None:
        what = "list without URIs" if _is_list(file, options) else "container without images"
        raise InputError(f"input {uri}: matches no image; {file.uri} is a {what}")
    if has_wildcard(uri):
        raise InputError(
            f"input {uri}: matches no image, nor a .tar or .tfrecord file. Lists of URIs and Parquet "
            "files are matched by globs that end in their extension, as in folder/*.csv"
        )
    raise InputError(
        f"input {uri}: no such file, or a folder without images, .tar and .tfrecord files. Lists of URIs "
        "and Parquet files in a folder are to be named, as in folder/*.csv"
    )


def _may_name_others(file: FoundFile, options: ListOptions) -> bool:
    """Whether a file is a list, whose entries can lie anywhere."""
    return file.format != "image" and _is_list(file, options)


def _first_image(file: FoundFile, options: ListOptions) -> str | None:
    """The URI of the first image that a list or container names or holds, None without one."""
    if not is_http(file.uri):
        return next((reference.uri for reference in _references(file, options) if reference is not None), None)
    with open_list(file.uri, copy=False) as connection:
        if file.format == "parquet":
            return file.uri  # not read: its entries lie at its end, behind everything else
        entries = parse_entries(connection, file.uri, file.format, options)
        references = (_of_entry(entry, file.uri) for entry in entries)
        return next((reference.uri for reference in references if reference is not None), None)
