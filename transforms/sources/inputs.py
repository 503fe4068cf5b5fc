"""What a user can give as inputs: options, names of formats, and the error for an input that can't be used.

Knows names and opens nothing: finding files is `find_files.py`, reading lists `uri_lists.py`, containers `containers/`.
"""

import functools
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ...storage.errors import UsageError
from ...storage.uris import is_http

Format = Literal["image", "txt", "csv", "jsonl", "parquet", "tar", "tfrecord", "compressed"]
TEXT_LISTS: frozenset[Format] = frozenset({"txt", "csv", "jsonl"})
CONTAINERS: frozenset[Format] = frozenset({"tar", "tfrecord", "parquet"})

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

    Example:
      >>> labelbeam.ListOptions(uri_column="image_url").uri_column
      'image_url'
    """

    uri_column: str = "uri"
    image_column: str | None = None


@functools.cache
def image_extensions() -> frozenset[str]:
    """The extensions of every format that Pillow decodes, lower case with their dot."""
    from PIL import Image

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
