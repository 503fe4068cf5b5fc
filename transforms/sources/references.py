"""From a file that was found to references of the images that it is, names or holds."""

from collections.abc import Iterator

from ...storage.read_options import ReadOptions
from ...storage.uris import is_http
from ..elements import ImageReference
from .containers import index_members
from .containers.parquet import find_image_column
from .find_files import FoundFile, PassOver, Portion, find_in_portion
from .inputs import TEXT_LISTS, InputError, ListOptions, with_several_images
from .list_files import DamagedListError
from .list_frames import frames_named
from .uri_lists import read_entries


def references_of(
    file: FoundFile,
    options: ListOptions,
    read: ReadOptions = ReadOptions(),
    pass_over: PassOver = lambda reason, uri: None,
) -> Iterator[ImageReference | None]:
    """The images that a file is, names or holds; None for a list's row without a URI.

    Args:
      file: that was found; a portion of an input stands for all files in it.
      options: how inputs are read.
      read: which videos and files with pages that lists name may be read.
      pass_over: is told of each file or folder that a portion passes over.

    Raises:
      InputError: if the file can't be used.
    """
    if file.format == "compressed":
        raise InputError(f"container {file.uri}: compressed; members can't be read one by one. Decompress it")
    if file.portion is not None:
        yield from _in_portion(file.uri, file.portion, options, read, pass_over)
    elif is_list(file, options):
        for entry in read_entries(file.uri, file.format, options):
            if entry is None:
                yield None
            else:
                yield from frames_named(entry, options, read)
    elif file.format in ("video", "image"):
        yield from frames_named(ImageReference(file.uri, version=file.version), options, read)
    else:
        yield from index_members(file.uri, options)


def references_or_problem(
    file: FoundFile, options: ListOptions, read: ReadOptions, pass_over: PassOver
) -> Iterator[ImageReference | None]:
    """`references_of`, with a problem in place of an error that the file itself is to blame for."""
    try:
        yield from references_of(file, options, read, pass_over)
    except InputError as error:
        yield ImageReference(file.uri, problem=str(error))


def _in_portion(
    uri: str, portion: Portion, options: ListOptions, read: ReadOptions, pass_over: PassOver
) -> Iterator[ImageReference | None]:
    try:
        for found in find_in_portion(uri, portion, options.exclude, pass_over):
            if found.format == "image" and with_several_images(found.uri, options.pages) is None:
                yield ImageReference(found.uri, version=found.version)
            else:
                yield from references_or_problem(found, options, read, pass_over)
    except DamagedListError as error:
        yield ImageReference(
            f"{uri}#rest",
            problem=f"inventory's data file {uri}: can't be read to its end ({error}); what it names further on "
            "is unknown",
        )


def is_list(file: FoundFile, options: ListOptions) -> bool:
    """Whether a file is a list of URIs, which it may take a look into it to say."""
    if file.format == "parquet":  # over HTTP, only lists are read
        return is_http(file.uri) or find_image_column(file.uri, options) is None
    return file.format in TEXT_LISTS
