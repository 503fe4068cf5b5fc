"""What a user can give as inputs: options, names of formats, and the error for an input that can't be used.

Knows names and opens nothing: finding files is `find_files.py`, reading lists `uri_lists.py`, containers `containers/`.
"""

import functools
import os
import posixpath
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from apache_beam.io.filesystems import FileSystems
from PIL import Image

from ...storage.errors import UsageError

Format = Literal["image", "txt", "csv", "jsonl", "parquet", "tar", "tfrecord", "compressed"]
TEXT_LISTS: frozenset[Format] = frozenset({"txt", "csv", "jsonl"})
CONTAINERS: frozenset[Format] = frozenset({"tar", "tfrecord", "parquet"})

_WILDCARD = re.compile(r"[*?\[]")
_TFRECORD = re.compile(r"\.(tfrecords?|record)(-\d+-of-\d+)?$")
_COMPRESSION = re.compile(r"\.(gz|bz2|xz|zst)$")
_TAR_SHORT = (".tgz", ".tbz2", ".txz")
_READABLE_LIST_COMPRESSIONS = (".gz", ".bz2", ".xz")
# Pillow's documentation lists them under "identify-only formats": it opens such files, but has no decoder for them.
_IDENTIFY_ONLY = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "WMF"})


class InputError(UsageError):
    """An input can't be used: it matches nothing, lacks a column, is damaged. The message names it and what to do."""


@dataclass(frozen=True)
class ListOptions:
    """How inputs are read.

    Attributes:
      uri_column: column of `.csv` and `.parquet` lists, and key of `.jsonl` lists, that holds the URI.
      image_column: column of `.parquet` files that holds the encoded images, or structs of them with a field `bytes`.
        If given, every Parquet file is a container and must have it; if None, see `containers/parquet.py`.
    """

    uri_column: str = "uri"
    image_column: str | None = None


@functools.cache
def image_extensions() -> frozenset[str]:
    """The extensions of every format that Pillow decodes, lower case with their dot."""
    extensions = Image.registered_extensions()  # loads Pillow's plugins
    return frozenset(
        extension for extension, name in extensions.items() if name in Image.OPEN and name not in _IDENTIFY_ONLY
    )


def format_of(uri: str) -> Format | None:
    """What a file is by its name, or None where its extension says nothing. Queries of http(s) URIs don't count."""
    name = (urlsplit(uri).path if is_http(uri) else uri).rpartition("/")[2].lower()
    if name.endswith(_TAR_SHORT):
        return "compressed"
    stem = _COMPRESSION.sub("", name)
    if stem != name:
        inner = format_of(stem)
        if inner in TEXT_LISTS and name.endswith(_READABLE_LIST_COMPRESSIONS):
            return inner
        return None if inner in (None, "image") else "compressed"
    if _TFRECORD.search(name):
        return "tfrecord"
    extension = os.path.splitext(name)[1]
    if extension in (".txt", ".csv", ".jsonl", ".parquet", ".tar"):
        return extension[1:]
    return "image" if extension in image_extensions() else None


def container_of(uri: str) -> str | None:
    """The container that an image lies in (`photos.tar#a.jpg`), by the form of its URI; None if it's a file of its own."""
    container, hash_sign, _ = uri.partition("#")
    return container if hash_sign and format_of(container) in CONTAINERS else None


def is_http(uri: str) -> bool:
    return uri[:8].lower().startswith(("http://", "https://"))


def is_local(uri: str) -> bool:
    return FileSystems.get_scheme(uri) is None


def has_wildcard(uri: str) -> bool:
    """Whether `*`, `?` or `[` stand in a path."""
    return _WILDCARD.search(uri) is not None


def before_wildcard(pattern: str) -> str:
    """What stands before the first wildcard."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def absolute(uri: str) -> str:
    """Absolute path of a local path or `file://` URI; other URIs as they are."""
    if uri.startswith(("file:///", "file://localhost/")):
        return os.fsdecode(unquote_to_bytes(uri[uri.index("/", len("file://")) :]))
    return os.path.abspath(uri) if is_local(uri) else uri


def resolve(entry: str, list_uri: str) -> str:
    """The URI that an entry of a list stands for: a relative entry starts at the folder of its list.

    Absolute paths and URIs stay as they are written, so that tables can be joined with the list; `file://` URIs become
    paths.

    Args:
      entry: path or URI, as it stands in the list.
      list_uri: absolute path or URI of the list.
    """
    if not is_local(entry):
        return absolute(entry)
    if is_http(list_uri):
        try:
            return urljoin(list_uri, entry)
        except ValueError:  # malformed: an image that isn't there
            return entry
    if entry.startswith("/"):
        return entry
    folder = list_uri.rpartition("/")[0]
    if is_local(list_uri):
        return os.path.normpath(f"{folder}/{entry}")
    if {".", ".."}.isdisjoint(entry.split("/")):
        return f"{folder}/{entry}"
    scheme, _, rest = folder.partition("://")  # object stores take `..` literally
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}{posixpath.normpath(posixpath.join('/', key, entry))}"
