"""Reads one image over HTTP, with retries and a deadline that nothing a server does can stretch.

How connections keep the deadline is `http_connections.py`; how much one host is asked for, `host_limits.py`. What can't be
interrupted from Python (name resolution) is left to `ReadAhead`, which gives up the whole read. Redirects lead to http and
https only, and only to what `ReadOptions` allows: from https down to http as well, unless `allow_schemes` leaves http out.
Credentials of a URL never leave its origin (scheme, host and port).

Not a general client: GET only, no cookies, whole bodies in memory.
"""

import base64
import contextlib
import functools
import http.client
import itertools
import random
import socket
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.util import Url, parse_url

from ..transforms.elements import ImageError, ImageFacts
from ..transforms.fetch.options import ReadOptions
from .host_limits import HostBusyError, HostLimits, HostRestsError, Slot
from .http_connections import Deadline, current_deadline, send_get
from .read_policy import check_scheme
from .store_errors import RETRIED_STATUS, kind_of_status

MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 18
_MAX_DRAINED_BYTES = 1 << 16  # a longer body that nobody wants costs more than a new connection

# One for the process, as the pools of connections are.
_host_limits = HostLimits()


def get(url: str, options: ReadOptions, facts: ImageFacts) -> bytes:
    """The body that a URL finally answers with.

    Args:
      url: `http` or `https`. A user name and password in it are used for the server that it names, and shown nowhere.
      options: limits and patience.
      facts: its `attempts` is counted up for every try that sends a request, the failed ones too.

    Raises:
      ImageError: `not_found` (404, 410), `forbidden` (401, 403, 407, 451, or what `options` don't allow), `timeout`
        (deadline, silence, 408, 504), `too_large`, `truncated` (the body ends early, each time it is asked for) or
        `unreachable` (everything else).
    """
    deadline = Deadline(options.deadline_s)
    token = current_deadline.set(deadline)
    try:
        for retry in itertools.count():
            try:
                return _get_once(url, options, facts, deadline)
            except _WorthRetrying as failure:
                error, pause_s = failure.error, failure.retry_after_s
            if deadline.remaining_s() <= 0:
                raise deadline.error()
            pause_s = max(pause_s, random.uniform(0, options.backoff_s * 2**retry))
            if retry == options.retries or pause_s >= deadline.remaining_s():
                raise error
            time.sleep(pause_s)
    finally:
        current_deadline.reset(token)


@functools.lru_cache(1024)  # asked for when an image is submitted, and again when it is fetched
def host_of(url: str) -> str:
    """The host and port by which requests are counted."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # malformed: no host will be asked
        return ""


def admit(host: str, options: ReadOptions) -> bool:
    """Whether a request to a host may be made now; if so, it has been counted, and its `get` belongs into `admitted`."""
    return _host_limits.admit(host, options.max_per_host, options.deadline_s)


def admitted(host: str) -> contextlib.AbstractContextManager[None]:
    """The block with the `get` that `admit` has let in."""
    return _host_limits.admitted(host)


class _WorthRetrying(Exception):
    def __init__(self, error: ImageError, retry_after_s: float = 0.0):
        super().__init__(error)
        self.error = error
        self.retry_after_s = retry_after_s


def _get_once(url: str, options: ReadOptions, facts: ImageFacts, deadline: Deadline) -> bytes:
    target = start = _parsed(url, base=None)
    for _ in range(MAX_REDIRECTS + 1):
        check_scheme(target.scheme, options.allow_schemes)
        credentials = start.auth if _origin(target) == _origin(start) else target.auth
        with _slot(target, options, deadline) as slot:
            if target is start:
                facts.attempts += 1
            try:
                response = _request(target, credentials, options, deadline)
                try:
                    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                        slot.refused(_retry_after_s(response))
                    location = _redirect(response)
                    if location is None:
                        return _body(response, options)
                finally:
                    _release(response)
            except (exceptions.HTTPError, OSError) as error:
                _raise_for(error, target, options, deadline)
        target = _parsed(location, base=target)
    raise ImageError("unreachable", f"more than {MAX_REDIRECTS} redirects, the last one to {target.host}")


@contextlib.contextmanager
def _slot(target: Url, options: ReadOptions, deadline: Deadline) -> Iterator[Slot]:
    host = target.netloc
    try:
        with _host_limits.slot(host, options.max_per_host, options.deadline_s, deadline.remaining_s()) as slot:
            yield slot
    except HostRestsError as error:
        raise ImageError("unreachable", f"{host} {error} (HTTP status 429 Too Many Requests)") from error
    except HostBusyError as error:
        raise deadline.error() from error


def _redirect(response: urllib3.BaseHTTPResponse) -> str | None:
    location = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
    # http.client reads headers as Latin-1; servers that don't escape non-ASCII paths send UTF-8.
    return location and location.encode("latin-1").decode("utf-8", "replace")


def _parsed(url: str, base: Url | None) -> Url:
    try:
        if base is not None:
            url = urljoin(base._replace(auth=None).url, url)
        parsed = parse_url(url)
    except (exceptions.LocationParseError, ValueError) as error:
        raise ImageError(
            "unreachable", "malformed URL" if base is None else f"redirected by {base.host} to a malformed URL"
        ) from error
    if base is not None and parsed.scheme not in ("http", "https"):
        # The scheme `file` would hand a server the files of the workers.
        raise ImageError(
            "forbidden", f"redirected by {base.host} to something other than http(s): {parsed.scheme or 'no scheme'}"
        )
    if not parsed.host:
        raise ImageError(
            "unreachable",
            "not a URL with a host" if base is None else f"redirected by {base.host} to a URL without a host",
        )
    return parsed


def _origin(url: Url) -> tuple[str | None, str | None, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _request(url: Url, credentials: str | None, options: ReadOptions, deadline: Deadline) -> urllib3.BaseHTTPResponse:
    left_s = deadline.remaining_s()
    if left_s <= 0:
        raise deadline.error()
    # `identity`: images are compressed already, and sha256 is to be that of the file.
    headers = {"User-Agent": options.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote_to_bytes(credentials)).decode("ascii")
    timeout = urllib3.Timeout(total=left_s, connect=options.connect_timeout_s, read=options.read_timeout_s)
    return send_get(url._replace(auth=None, fragment=None), headers, timeout, options.public_hosts_only)


def _body(response: urllib3.BaseHTTPResponse, options: ReadOptions) -> bytes:
    if not 200 <= response.status < 300:
        error = ImageError(kind_of_status(response.status), f"HTTP status {_status_text(response)}")
        if response.status in RETRIED_STATUS:
            raise _WorthRetrying(error, _retry_after_s(response))
        raise error
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > options.max_bytes:
        raise ImageError("too_large", f"{int(declared):,} bytes, the limit is {options.max_bytes:,} (max_bytes)")
    length = response.length_remaining  # None where the body says itself how long it is
    if length is not None and length <= _CHUNK_BYTES and "Content-Encoding" not in response.headers:
        return response.read()
    chunks, num_bytes = [], 0
    for chunk in response.stream(_CHUNK_BYTES):
        num_bytes += len(chunk)
        if num_bytes > options.max_bytes:
            raise ImageError("too_large", f"more than {options.max_bytes:,} bytes, which is the limit (max_bytes)")
        chunks.append(chunk)
    return b"".join(chunks)


def _release(response: urllib3.BaseHTTPResponse) -> None:
    """Gives the connection back to the pool, if its body has been read or is short; else closes it."""
    left = response.length_remaining
    if left is not None and left <= _MAX_DRAINED_BYTES:
        response.drain_conn()
    else:
        response.close()
    response.release_conn()


def _raise_for(error: Exception, url: Url, options: ReadOptions, deadline: Deadline) -> None:
    if deadline.remaining_s() <= 0:
        raise deadline.error() from error
    where = url.host if url.port is None else f"{url.host}:{url.port}"
    cause = next((arg for arg in (error.__cause__, *error.args) if isinstance(arg, Exception)), error)
    if isinstance(error, exceptions.NameResolutionError):
        unknown = ImageError("unreachable", f"the name {url.host} can't be resolved")
        temporary = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
        raise (_WorthRetrying(unknown) if temporary else unknown) from error
    if isinstance(error, exceptions.NewConnectionError):
        raise _WorthRetrying(ImageError("unreachable", f"no connection to {where}: {cause}")) from error
    if isinstance(error, exceptions.ConnectTimeoutError):
        message = f"{where} did not accept a connection within {options.connect_timeout_s:g} s"
        raise _WorthRetrying(ImageError("timeout", message)) from error
    if isinstance(error, exceptions.ReadTimeoutError):
        message = f"{where} sent nothing for {options.read_timeout_s:g} s"
        raise _WorthRetrying(ImageError("timeout", message)) from error
    if isinstance(error, exceptions.SSLError):
        untrusted = ImageError("unreachable", f"no secure connection to {where}: {cause}")
        raise (untrusted if isinstance(cause, ssl.SSLCertVerificationError) else _WorthRetrying(untrusted)) from error
    if isinstance(cause, http.client.IncompleteRead):  # urllib3's too
        raise _WorthRetrying(ImageError("truncated", f"{where} ended its answer early: {cause}")) from error
    if isinstance(error, exceptions.DecodeError):
        raise ImageError("truncated", f"{where} sent a body that breaks its own Content-Encoding") from error
    if isinstance(error, (exceptions.ProtocolError, OSError)):
        raise _WorthRetrying(ImageError("unreachable", f"the connection to {where} broke: {cause}")) from error
    raise ImageError("unreachable", f"{where}: {type(error).__name__}: {cause}") from error


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return urllib3.Retry().get_retry_after(response) or 0.0
    except exceptions.InvalidHeader:
        return 0.0


def _status_text(response: urllib3.BaseHTTPResponse) -> str:
    try:
        return f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return str(response.status)
