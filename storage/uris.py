"""URIs and paths: which of them lie on this machine, what is absolute, what an entry of a list stands for.

Knows names and opens nothing.
"""

import os
import posixpath
import re
from urllib.parse import unquote_to_bytes, urljoin

_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}  # of other tools, for stores that are known here by another name
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
    if found := _FILE_URI.match(uri):
        return os.fsdecode(unquote_to_bytes(os.fsencode(uri[found.end() - 1 :])))
    return os.path.abspath(re.sub(r"\A//+", "/", uri)) if is_local(uri) else uri


def written_here(uri: str) -> str | None:
    """How a URI is written here that other tools write otherwise, as `s3a://bucket/key`; None for all others."""
    scheme, separator, rest = uri.partition("://")
    ours = _ALIASES.get(scheme.lower()) if separator else None
    return ours and f"{ours}://{rest}"


def resolve(entry: str, list_uri: str) -> str:
    """The URI that an entry of a list stands for: a relative entry starts at the folder of its list.

    Absolute paths and URIs stay as they are written, so that tables can be joined with the list; `file://` URIs become
    paths.

    Args:
      entry: path or URI, as it stands in the list.
      list_uri: absolute path or URI of the list.
    """
    if not is_local(entry) or _FILE_URI.match(entry):
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


def as_text(uri: str) -> str:
    """A URI as text that is valid UTF-8: bytes of a file name that aren't (lone surrogates, in Python) are escaped."""
    return uri.encode("utf-8", "backslashreplace").decode("utf-8")


def existing_file(text: str) -> str | None:
    """The path of the local file that `as_text` made this of; None if there's none, or it isn't local."""
    if is_local(text):
        odd = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        return next((path for path in (text, odd) if os.path.isfile(path)), None)
    return None


_FILE_URI = re.compile(r"(?i)file:(?://(?:localhost)?)?/(?!/)")  # in RFC 8089's forms, of this machine
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(uri: str) -> str:
    """The scheme in lower case; `file` for a path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else "file"


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/"), *names])
