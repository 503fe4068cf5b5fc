"""Reads one file over HTTP with libcurl, with retries and a deadline that nothing a server does can stretch.

libcurl keeps the time limits, the size limit and the bounds of headers, speaks through proxies, decodes bodies and
keeps connections. Redirects are followed here, one request each, because every hop has to obey
`ReadOptions.allow_schemes` and the limit of its own host (`host_limits.py`), and because credentials of a URL never
leave their origin (scheme, host and port).
"""

import contextlib
import functools
import math
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import SplitResult, quote, unquote, urlsplit

from .curl_handles import Handle, Handles
from .errors import StorageError, check_own_resources, error_of_status
from .files import FileVersion, file_version
from .host_limits import HostBusyError, HostLimits, HostRestsError, Slot
from .libcurl import pycurl
from .read_options import ReadOptions
from .read_policy import check_scheme
from .redaction import redact
from .retry import Deadline
from .size_limit import check_size, more_than

MAX_REDIRECTS = 5
_RETRY_AFTER = pycurl.RETRY_AFTER  # pyright: ignore[reportAttributeAccessIssue]  # newer than the stubs
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TO_ESCAPE = re.compile(r"[^\x21-\x7e]+")

# One each for the process: promises of hosts hold for all threads of it, and connections are shared.
_host_limits = HostLimits()
_handles = Handles()


def get(
    url: str,
    options: ReadOptions,
    on_attempt: Callable[[], None] = lambda: None,
    on_version: Callable[[FileVersion], None] = lambda version: None,
) -> bytes:
    """The body that a URL finally answers with.

    Args:
      url: `http` or `https`. A user name and password in it are used for the server that it names, and shown nowhere.
      options: limits and retry policy.
      on_attempt: called for every try that sends a request, the failed ones too.
      on_version: called with what the answer's header says of the body.

    Raises:
      StorageError: `not_found` (404, 410), `forbidden` (401, 403, 407, 451, or what `options` don't allow), `timeout`
        (deadline, silence, 408, 504), `too_large`, `truncated` (the body ends early, each time it is asked for) or
        `unreachable` (everything else).
      ResourcesError: if this process has no file descriptors left.
    """
    start = _parse(url)
    answer = options.call(lambda deadline: _ask_once(start, options, deadline, on_attempt))
    on_version(answer.version)
    return answer.body


def head(url: str, options: ReadOptions) -> FileVersion:
    """What a HEAD request says of the body that `get` would give. Raises as `get`."""
    start, options = _parse(url), replace(options, max_bytes=sys.maxsize)
    return options.call(lambda deadline: _ask_once(start, options, deadline, lambda: None, "HEAD")).version


def close_idle() -> None:
    """Closes the connections that nobody uses at the moment."""
    _handles.close_idle()


@functools.lru_cache(1024)  # asked for when an image is submitted, and again when it is fetched
def host_of(url: str) -> str:
    """The host and port by which requests are counted."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # malformed: no host will be asked
        return ""


def admit(host: str, options: ReadOptions) -> bool:
    """Whether a request to a host may be made now; if so, it has been counted, and its `get` belongs into
    `admitted`.
    """
    return _host_limits.admit(host, options.max_per_host, options.deadline_s)


def admitted(host: str) -> contextlib.AbstractContextManager[None]:
    """The block with the `get` that `admit` has let in."""
    return _host_limits.admitted(host)


@dataclass(frozen=True)
class _Url:
    """A URL in parts: `text` is what libcurl gets, without credentials and fragment."""

    text: str
    scheme: str
    host: str  # with the port, as it is counted and shown
    name: str  # without the port
    origin: tuple[str, str, int]
    credentials: tuple[str, str] | None


@dataclass
class _Answer:
    status: int
    body: bytes
    retry_after_s: float
    location: str | None
    version: FileVersion


def _ask_once(
    start: _Url, options: ReadOptions, deadline: Deadline, on_attempt: Callable[[], None], method: str = "GET"
) -> _Answer:
    target = start
    for hop in range(MAX_REDIRECTS + 1):
        check_scheme(target.scheme, options.allow_schemes)
        if target.origin == start.origin:
            target = replace(target, credentials=start.credentials)
        with _slot(target, options, deadline) as slot:
            if hop == 0:
                on_attempt()
            answer = _request(target, options, deadline, method)
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                slot.refused(answer.retry_after_s)
        if answer.location is None:
            if not 200 <= answer.status < 300:
                text = f"HTTP status {_status_text(answer.status)}"
                raise error_of_status(answer.status, text, answer.retry_after_s)
            return answer
        target = _parse(answer.location, redirected_by=target.name)
    raise StorageError("unreachable", f"more than {MAX_REDIRECTS} redirects, the last one to {target.name}")


@contextlib.contextmanager
def _slot(target: _Url, options: ReadOptions, deadline: Deadline) -> Iterator[Slot]:
    try:
        with _host_limits.slot(target.host, options.max_per_host, options.deadline_s, deadline.remaining_s()) as slot:
            yield slot
    except HostRestsError as error:
        raise StorageError("unreachable", f"{target.host} {error} (HTTP status 429 Too Many Requests)") from error
    except HostBusyError as error:
        raise deadline.error() from error


def _request(url: _Url, options: ReadOptions, deadline: Deadline, method: str) -> _Answer:
    """One GET or HEAD, redirects not followed."""
    left_s = deadline.remaining_s()
    if left_s <= 0:
        raise deadline.error()
    handle = _handles.take((url.scheme, url.host, options.public_hosts_only))
    curl = handle.curl
    body = _Body(options.max_bytes)
    curl.setopt(pycurl.NOBODY if method == "HEAD" else pycurl.HTTPGET, 1)
    curl.setopt(pycurl.URL, url.text)
    curl.setopt(pycurl.USERAGENT, options.user_agent)
    curl.setopt(pycurl.TIMEOUT_MS, max(1, math.ceil(left_s * 1000)))
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(options.connect_timeout_s * 1000)))
    curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(options.read_timeout_s))
    curl.setopt(pycurl.MAXFILESIZE_LARGE, options.max_bytes)
    curl.setopt(pycurl.HEADERFUNCTION, body.header)
    curl.setopt(pycurl.WRITEFUNCTION, body.write)
    if url.credentials is not None:
        curl.setopt(pycurl.USERNAME, url.credentials[0])
        curl.setopt(pycurl.PASSWORD, url.credentials[1])
    try:
        curl.perform()
        answer = _answer(curl, body)
    except pycurl.error as error:
        curl_error = error
    else:
        if url.credentials is None:  # they stay in a handle
            _handles.give_back(handle)
        else:
            curl.close()
        return answer
    try:
        if body.error is not None:
            raise body.error
        if body.is_too_large or curl_error.args[0] == pycurl.E_FILESIZE_EXCEEDED:
            answer = _answer(curl, body)
            if 200 <= answer.status < 300:
                check_size(int(curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)), options.max_bytes)
                raise more_than(options.max_bytes)
            return answer  # a long page about an error, which nobody wants
        raise _error_of(curl_error, handle, url, options, deadline) from curl_error
    finally:
        curl.close()


def _answer(curl: pycurl.Curl, body: "_Body") -> _Answer:
    status = curl.getinfo(pycurl.RESPONSE_CODE)
    location = curl.getinfo(pycurl.REDIRECT_URL) if 300 <= status < 400 else None
    retry_after_s = curl.getinfo(_RETRY_AFTER) if status >= 400 else 0.0
    return _Answer(status, body.take(), retry_after_s, location, body.version())


class _Body:
    """Takes what arrives, up to the limit. libcurl's own limit counts bytes before they are decoded; this one is for
    bombs.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._chunks: list[bytes] = []
        self._is_wanted = True
        self.is_too_large = False
        self._headers: dict[str, str] = {}  # of the answer that is wanted
        self.error: BaseException | None = None  # raised where libcurl would swallow it

    def header(self, line: bytes) -> int | None:
        """Is called for each line of a header: the declared size is announced before the body arrives."""
        if line.startswith(b"HTTP/"):
            self._is_wanted = line.partition(b" ")[2].startswith(b"2")
        elif self._is_wanted:
            name, _, value = line.decode("latin-1").partition(":")
            self._headers[name.lower()] = value.strip()
            if name.lower() == "content-length" and value.strip().isdigit():
                try:
                    check_size(int(value), self._max_bytes)
                except BaseException as error:
                    self.error = error
                    return -1
        return None

    def version(self) -> FileVersion:
        """What the header says of the body, as far as it can be understood."""
        length, changed = self._headers.get("content-length", ""), None
        with contextlib.suppress(ValueError, OverflowError):
            changed = parsedate_to_datetime(self._headers.get("last-modified", "")).timestamp() * 1e6
        num_bytes = int(length) if length.isdigit() and "content-encoding" not in self._headers else None
        return file_version(num_bytes, changed, self._headers.get("etag"))

    def write(self, chunk: bytes) -> int:
        self._left -= len(chunk)
        if self._left < 0:
            self.is_too_large = True
            return 0
        self._chunks.append(chunk)
        return len(chunk)

    def take(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


def _error_of(error: pycurl.error, handle: Handle, url: _Url, options: ReadOptions, deadline: Deadline) -> StorageError:
    """What one of libcurl's errors stands for. Raises ResourcesError or MemoryError if it's about this process."""
    code, text = error.args[0], redact(" ".join(str(error.args[-1]).split()))
    where = url.host
    match code:
        case pycurl.E_URL_MALFORMAT | pycurl.E_UNSUPPORTED_PROTOCOL:
            return StorageError("unreachable", "malformed URL")
        case pycurl.E_OUT_OF_MEMORY:
            _check_descriptors()  # libcurl says so, too, where it can't make a pipe
            raise MemoryError(text) from error
        case pycurl.E_OPERATION_TIMEDOUT:
            return _timeout(text, where, options, deadline)
        case pycurl.E_COULDNT_RESOLVE_HOST:
            message = f"the name {url.name} can't be resolved"
            return StorageError("unreachable", message, retryable=_may_resolve_later(url.name))
        case pycurl.E_COULDNT_CONNECT:
            if handle.only_refused:
                message = f"{url.name} has no public address, and only public hosts may be read (--public-hosts-only)"
                return StorageError("forbidden", message)
            number = handle.curl.getinfo(pycurl.OS_ERRNO)
            check_own_resources(number, error)
            return StorageError(
                "unreachable", f"no connection to {where}: {os.strerror(number) if number else text}", True
            )
        case pycurl.E_SSL_CONNECT_ERROR:
            return StorageError("unreachable", f"no secure connection to {where}: {text}", retryable=True)
        case pycurl.E_PEER_FAILED_VERIFICATION | pycurl.E_SSL_CERTPROBLEM:
            return StorageError("unreachable", f"no secure connection to {where}: {text}")
        case pycurl.E_PARTIAL_FILE:
            return StorageError("truncated", f"{where} ended its answer early: {text}", retryable=True)
        case pycurl.E_BAD_CONTENT_ENCODING | pycurl.E_WRITE_ERROR:
            return StorageError("truncated", f"{where} sent a body that breaks its own Content-Encoding")
        case pycurl.E_GOT_NOTHING | pycurl.E_RECV_ERROR | pycurl.E_SEND_ERROR | pycurl.E_FTP_WEIRD_SERVER_REPLY:
            return StorageError("unreachable", f"the connection to {where} broke: {text}", retryable=True)
        case _:
            return StorageError("unreachable", f"{where}: {text}")


def _check_descriptors() -> None:
    """Raises ResourcesError if this process can't open another file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        check_own_resources(error.errno, error)


def _timeout(text: str, where: str, options: ReadOptions, deadline: Deadline) -> StorageError:
    if deadline.remaining_s() <= 0.001:  # libcurl counts in milliseconds
        return deadline.error()
    if "too slow" in text:
        message = f"{where} sent nothing for {math.ceil(options.read_timeout_s)} s"
    else:
        message = f"{where} did not accept a connection within {options.connect_timeout_s:g} s"
    return StorageError("timeout", message, retryable=True)


def _may_resolve_later(name: str) -> bool:
    """Whether the resolver itself had trouble, which libcurl doesn't tell from a name that doesn't exist."""
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror as error:
        return error.errno == socket.EAI_AGAIN
    except (OSError, UnicodeError):
        return False
    return True


def _parse(url: str, redirected_by: str | None = None) -> _Url:
    by = f"redirected by {redirected_by} to " if redirected_by else ""
    try:
        parts = urlsplit(url)
        port = parts.port
        name = (parts.hostname or "").encode("ascii" if parts.netloc.isascii() else "idna").decode()
    except ValueError as error:
        raise StorageError("unreachable", f"{by}a malformed URL" if by else "malformed URL") from error
    scheme = parts.scheme.lower()
    if by and scheme not in _DEFAULT_PORTS:
        # The scheme `file` would hand a server the files of the workers.
        raise StorageError("forbidden", f"{by}something other than http(s): {scheme or 'no scheme'}")
    if not name or not parts.netloc:
        raise StorageError("unreachable", f"{by}a URL without a host" if by else "not a URL with a host")
    bracketed = f"[{name}]" if ":" in name else name
    host = bracketed if port is None else f"{bracketed}:{port}"
    path = _TO_ESCAPE.sub(lambda match: quote(match[0], errors="surrogatepass"), parts.path or "/")
    query = _TO_ESCAPE.sub(lambda match: quote(match[0], errors="surrogatepass"), parts.query)
    text = SplitResult(scheme, host, path, query, "").geturl()
    return _Url(text, scheme, host, name, (scheme, name, port or _DEFAULT_PORTS.get(scheme, 0)), _credentials(parts))


def _credentials(parts: SplitResult) -> tuple[str, str] | None:
    user_info, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None
    user, _, password = user_info.partition(":")
    return unquote(user), unquote(password)


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
