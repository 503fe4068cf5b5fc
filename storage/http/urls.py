"""URLs of HTTP requests in parts, checked and escaped; credentials apart from what is sent and shown."""

import functools
import re
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..errors import StorageError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TO_ESCAPE = re.compile(r"[^\x21-\x7e]+")
_PLAIN = re.compile(r"(https?)://([a-z0-9.-]+(?::\d+)?)(/[\x21\x22\x24-\x7e]*)(?<!\?)")  # as it is to be sent


class Url(NamedTuple):
    """A URL in parts: `text` is what libcurl gets, without credentials and fragment."""

    text: str
    scheme: str
    host: str  # with the port, as it is counted and shown
    name: str  # without the port
    origin: tuple[str, str, int]
    credentials: tuple[str, str] | None


def parse_url(url: str, redirected_by: str | None = None) -> Url:
    """A URL in parts.

    Args:
      url: `http` or `https`.
      redirected_by: the host that redirects to it.

    Raises:
      StorageError: `unreachable` if it's malformed, `forbidden` for a redirect to another scheme.
    """
    by = f"redirected by {redirected_by} to " if redirected_by else ""
    try:
        plain = _PLAIN.fullmatch(url)  # most are, and urlsplit takes a tenth of what a small image costs
        scheme, netloc, path, query = (*plain.groups(), "") if plain else urlsplit(url)[:4]
        name, host, port = _place(netloc)
    except ValueError as error:
        raise StorageError("unreachable", f"{by}a malformed URL" if by else "malformed URL") from error
    if by and scheme not in _DEFAULT_PORTS:
        # The scheme `file` would hand a server the files of the workers.
        raise StorageError("forbidden", f"{by}something other than http(s): {scheme or 'no scheme'}")
    if not name:
        raise StorageError("unreachable", f"{by}a URL without a host" if by else "not a URL with a host")
    text = f"{scheme}://{host}{path if plain else _escaped(path) or '/'}"
    if query:
        text += f"?{_escaped(query)}"
    origin = scheme, name, port or _DEFAULT_PORTS.get(scheme, 0)
    return Url(text, scheme, host, name, origin, _credentials(netloc) if "@" in netloc else None)


@functools.lru_cache(1024)  # images of a list share few hosts
def _place(netloc: str) -> tuple[str, str, int | None]:
    """Name, name with its port, and the port."""
    parts = SplitResult("", netloc, "", "", "")
    name, port = (parts.hostname or "").encode("ascii" if netloc.isascii() else "idna").decode(), parts.port
    bracketed = f"[{name}]" if ":" in name else name
    return name, bracketed if port is None else f"{bracketed}:{port}", port


def _escaped(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: quote(match[0], errors="surrogatepass"), text)


def _credentials(netloc: str) -> tuple[str, str] | None:
    user, _, password = netloc.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)
