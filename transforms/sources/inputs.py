"""What a user can give as inputs: options, names of formats, and the error for an input that can't be used.

Knows names and opens nothing: finding files is `find_files.py`, reading lists `uri_lists.py`, containers `containers/`.
"""

import functools
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from ...storage.errors import UsageError
from ...storage.installation import install_hint
from ...storage.uris import existing_file, is_http
from .frame_choice import FrameChoice

Format = Literal["image", "txt", "csv", "tsv", "jsonl", "parquet", "tar", "tfrecord", "video", "portion", "compressed"]
TEXT_LISTS: frozenset[Format] = frozenset({"txt", "csv", "tsv", "jsonl"})
CONTAINERS: frozenset[Format] = frozenset({"tar", "tfrecord", "parquet", "video"})
PagesChoice = Literal["first", "all"]

_TFRECORD = re.compile(r"\.(tfrecords?|record)(-\d+-of-\d+)?$")
_COMPRESSION = re.compile(r"\.(gz|bz2|xz|zst)$")
_TAR_SHORT = (".tgz", ".tbz2", ".txz")
_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_FORMAT_OF_EXTENSION: dict[str, Format] = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tar": "tar",
    **dict.fromkeys(_VIDEOS, "video"),
}
_MAY_BE_VIDEO = re.compile("|".join(map(re.escape, _VIDEOS)), re.IGNORECASE)  # for lists of millions that name none
_PAGED = (".tif", ".tiff", ".gif", ".webp", ".png", ".apng")  # images that may have several pages
_COPY_OF_STANDARD_INPUT = re.compile(r"/labelbeam-stdin[.-][a-z0-9_]{8}/stdin\.txt\Z")
_FRAME = re.compile(r"(?P<video>.*)#(?P<name>t=\d+(\.\d+)?)", re.DOTALL)
_PAGE = re.compile(r"(?P<file>.*)#(?P<name>page=\d{1,9})", re.DOTALL)
# Of images that are read with pillow-heif installed, or not at all.
NOT_READ = frozenset(
    {".heic", ".heif", ".hif", ".svg", ".jxl", ".exr", ".nef", ".cr2", ".cr3", ".arw", ".dng", ".raf", ".orf", ".rw2"}
)
# Pillow's documentation lists them under "identify-only formats": it opens such files, but has no decoder for them.
_IDENTIFY_ONLY = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "WMF"})


class InputError(UsageError):
    """An input can't be used: it matches nothing, lacks a column, is damaged. The message names it and what to do."""


@dataclass(frozen=True)
class ListOptions:
    """How inputs are read.

    Attributes:
      uri_column: column of `.csv`, `.tsv` and `.parquet` lists, and key of `.jsonl` lists, that holds the URI.
      image_column: column of `.parquet` files that holds the encoded images, or structs of them with a field `bytes`;
        feature of TFRecord files that holds them. If given, every Parquet file is a container and must have it; if
        None, see `containers/parquet.py` and `containers/tfrecord.py`.
      exclude: globs of files and folders that are left out of folders and globs. One without a slash is compared with
        each name on the way, others with the path below the folder that is searched.
      strict_inputs: whether a row of a list, or a place in a container, that doesn't make sense fails the job;
        otherwise it becomes a failed image.
      carry: columns of lists (CSV, TSV, JSON lines, Parquet), features of TFRecord files, columns of Parquet files with
        images and keys of the `.json` beside an image in a tar archive that become columns of the table `images`.
      frames_every: which frames of videos are images: one in so many seconds (`0.5`), every so many frames (`10f`), or
        `keyframes`.
      pages: which pages of TIFF files, and frames of animated GIF, WebP and PNG files, are images: the `first`, or
        `all`.
      uri_prefix: what is put in front of relative entries of lists; None: they start at the folder of their list.

    Example:
      >>> labelbeam.ListOptions(uri_column="image_url").uri_column
      'image_url'
    """

    uri_column: str = "uri"
    image_column: str | None = None
    exclude: Sequence[str] = ()
    strict_inputs: bool = False
    uri_prefix: str | None = None
    carry: Sequence[str] = ()
    frames_every: str = FrameChoice.every
    pages: PagesChoice = "first"

    def __post_init__(self):
        if self.pages not in get_args(PagesChoice):
            raise InputError(f"--pages {self.pages}: expected first or all")
        try:
            FrameChoice(self.frames_every)
        except ValueError as error:
            raise InputError(str(error)) from error


@functools.cache
def image_extensions() -> frozenset[str]:
    """The extensions of every format that Pillow decodes, lower case with their dot."""
    from PIL import Image

    from ..decode.identify import plugins

    readable = set(plugins()) - _IDENTIFY_ONLY
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in readable)


def format_of(uri: str) -> Format | None:
    """What a file is by its name, or None where its extension says nothing. Queries of http(s) URIs don't count."""
    name = (urlsplit(uri).path if is_http(uri) else uri).rpartition("/")[2].lower()
    extension = os.path.splitext(name)[1]
    if extension in _FORMAT_OF_EXTENSION:
        return _FORMAT_OF_EXTENSION[extension]
    if extension in image_extensions():  # most files of most folders: no more is asked of them
        return "image"
    if name.endswith(_TAR_SHORT):
        return "compressed"
    stem = _COMPRESSION.sub("", name)
    if stem != name:
        inner = format_of(stem)
        if inner in TEXT_LISTS:
            return inner
        return None if inner in (None, "image") else "compressed"
    return "tfrecord" if _TFRECORD.search(name) else None


def is_manifest(uri: str) -> bool:
    """Whether a file that is named as an input is an inventory's manifest, by its name."""
    return uri.lower().endswith(".json")


def name_of_list(uri: str) -> str:
    """How a list is called in messages and in rows of what makes no sense in it: what was on standard input has the
    same name in each job, wherever its copy lies."""
    return "standard input" if _COPY_OF_STANDARD_INPUT.search(uri) else uri


def video_of(uri: str) -> tuple[str, str] | None:
    """The video that a URI names, and the name of a frame if it names one of it; None if it names no video."""
    if not _MAY_BE_VIDEO.search(uri):
        return None
    if (named := _FRAME.fullmatch(uri)) and format_of(named["video"]) == "video":
        return None if existing_file(uri) else (named["video"], named["name"])
    return (uri, "") if format_of(uri) == "video" else None


def page_of(uri: str) -> tuple[str, str] | None:
    """The file and the page's name if a URI names a page (`scan.tif#page=3`); None if it names none."""
    if "#page=" not in uri or (named := _PAGE.fullmatch(uri)) is None or not may_have_pages(named["file"]):
        return None
    return None if existing_file(uri) else (named["file"], named["name"])


def may_have_pages(uri: str) -> bool:
    """Whether a file may have several pages, or be animated, by its extension."""
    return (urlsplit(uri).path if is_http(uri) else uri).lower().endswith(_PAGED)


def with_several_images(uri: str, pages: PagesChoice) -> tuple[str, str] | None:
    """The file that has to be opened to know which images a URI stands for, a video or one with pages, and the name
    of one image in it if the URI names that; None if the URI stands for itself.

    Args:
      uri: of a file, a frame or a page.
      pages: see `ListOptions`.
    """
    if (found := video_of(uri) or page_of(uri)) is not None:
        return found
    return (uri, "") if pages == "all" and may_have_pages(uri) else None


def can_read_videos() -> bool:
    return importlib.util.find_spec("av") is not None


def check_can_read_videos() -> None:
    """Raises `InputError` where PyAV isn't installed."""
    if not can_read_videos():
        raise InputError(
            f"videos are read with PyAV, which isn't installed here; {install_hint('video')}, where work is done, too"
        )


def container_of(uri: str, start: int = 0) -> str | None:
    """The container that an image lies in (`photos.tar#a.jpg`, `scan.tif#page=3`), by the form of its URI; None for a
    file of its own.

    Its path is longer than `start`.
    """
    place = uri.find("#", start)
    while place >= 0:  # a `#` may also stand in the container's own path
        if format_of(uri[:place]) in CONTAINERS or (_PAGE.fullmatch(uri, place) and may_have_pages(uri[:place])):
            return uri[:place]
        place = uri.find("#", place + 1)
    return None
