"""URIs and paths: which of them lie on this machine, what is absolute, what an entry of a list stands for.

Knows names and opens nothing.
"""

import os
import posixpath
import re
from urllib.parse import unquote_to_bytes, urljoin

STORE_SCHEMES = frozenset({"s3", "gs", "az", "abfs", "abfss"})
_WILDCARD = re.compile(r"[*?\[]")


def is_http(uri: str) -> bool:
    return uri[:8].lower().startswith(("http://", "https://"))


def is_local(uri: str) -> bool:
    """Whether it's a path of this machine: it has no scheme. `absolute` makes a path of a `file://` URI."""
    return _SCHEME.match(uri) is None


def is_in_store(uri: str) -> bool:
    """Whether it's an object that `object_stores` reads and writes."""
    return scheme_of(uri) in STORE_SCHEMES


def has_wildcard(uri: str) -> bool:
    """Whether `*`, `?` or `[` stand in a path."""
    return _WILDCARD.search(uri) is not None


def before_wildcard(pattern: str) -> str:
    """What stands before the first wildcard."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def absolute(uri: str) -> str:
    """Absolute path of a local path, `file://` or `file:/` URI; other URIs as they are."""
    if _is_short_file_uri(uri):
        uri = f"file://{uri[len('file:') :]}"
    if uri.startswith(("file:///", "file://localhost/")):
        return os.fsdecode(unquote_to_bytes(uri[uri.index("/", len("file://")) :]))
    return os.path.abspath(uri) if is_local(uri) else uri


def _is_short_file_uri(uri: str) -> bool:
    return uri.startswith("file:/") and not uri.startswith("file://")


def resolve(entry: str, list_uri: str) -> str:
    """The URI that an entry of a list stands for: a relative entry starts at the folder of its list.

    Absolute paths and URIs stay as they are written, so that tables can be joined with the list; `file://` URIs become
    paths.

    Args:
      entry: path or URI, as it stands in the list.
      list_uri: absolute path or URI of the list.
    """
    if not is_local(entry) or _is_short_file_uri(entry):
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


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(uri: str) -> str:
    """The scheme in lower case; `file` for a path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else "file"


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/"), *names])
