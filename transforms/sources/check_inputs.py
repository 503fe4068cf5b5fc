"""Makes sure, before a job starts, that its inputs can be used, and says what they have it read from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...storage.errors import UsageError
from ...storage.files import open_to_read
from ...storage.uris import absolute, has_wildcard, is_http, is_local, scheme_of
from ..decode.signatures import kind_of_bytes
from ..elements import ImageReference
from .find_files import REASONS, FoundFile, find_files
from .inputs import InputError, ListOptions, check_can_read_videos, format_of, name_of_list, page_of
from .references import is_list, references_of
from .uri_lists import open_list, parse_entries


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
        what = "list without URIs" if is_list(file, options) else "container without images"
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
    return file.format != "image" and is_list(file, options)


def _first_image(file: FoundFile, options: ListOptions) -> tuple[str | None, str]:
    """The URI of the first image that a list or container names or holds (None without one), and the first problem."""
    if file.format == "video" and is_http(file.uri):
        return file.uri, ""  # to be read whole by those who work
    if not is_http(file.uri):
        return _first_of(references_of(file, options))
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
