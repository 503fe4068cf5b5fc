"""Reads files over HTTP with libcurl, with retries and a deadline that nothing a server does can stretch.

libcurl keeps the time limits, the size limit and the bounds of headers, speaks through proxies, decodes bodies and
keeps connections; all of its transfers run in one thread (`http/loop.py`). Redirects are followed here, one request
each, because every hop has to obey `ReadOptions.allow_schemes` and the limit of its own host
(`http/host_limits.py`), and because credentials of a URL never leave their origin (scheme, host and port).
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from .errors import StorageError
from .file_info import FileVersion
from .http.errors import error_of_answer, error_of_curl, error_of_name
from .http.host_limits import HostLimits, ThrottledError
from .http.loop import HttpLoop
from .http.transfer import MAX_REDIRECTS, Method, Transfer
from .http.urls import parse_url
from .libcurl import pycurl
from .read_options import ReadOptions
from .read_policy import check_scheme
from .retry import Deadline
from .size_limit import SMALL_BYTES, check_size, more_than

_LOOK_AGAIN_S = 0.02  # at what waits for its host, or to be tried again

TakeRoom = Callable[[int, Callable[[], None]], None]
"""Takes a number of bytes that are to be read, and what to call when there is room for them."""


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
      on_attempt: called for every try that has sent a request, the failed ones too.
      on_version: called with what the answer's header says of the body.

    Raises:
      StorageError: `not_found` (404, 410), `forbidden` (401, 403, 407, 451, or what `options` don't allow), `timeout`
        (deadline, silence, 408, 504), `too_large`, `truncated` (the body ends early, each time it is asked for) or
        `unreachable` (everything else).
      ResourcesError: if this process has no file descriptors left.
    """
    fetch = _wait_for(url, options, "GET")
    for _ in range(fetch.attempts):
        on_attempt()
    body = fetch.body()
    on_version(fetch.version)
    return body


def head(url: str, options: ReadOptions) -> FileVersion:
    """What a HEAD request says of the body that `get` would give. Raises as `get`."""
    fetch = _wait_for(url, replace(options, max_bytes=sys.maxsize), "HEAD")
    fetch.body()
    return fetch.version


def _wait_for(url: str, options: ReadOptions, method: Method) -> "Fetch":
    ended = threading.Event()
    fetch = start(url, options, lambda fetch: ended.set(), method=method)
    try:
        ended.wait()
    except BaseException:
        fetch.cancel()
        raise
    return fetch


def start(
    url: str,
    options: ReadOptions,
    done: Callable[["Fetch"], None],
    take_room: TakeRoom | None = None,
    max_requests: int = sys.maxsize,
    method: Method = "GET",
) -> "Fetch":
    """Begins to read what `get` reads, and returns at once.

    Args:
      url: as for `get`.
      options: as for `get`.
      done: called when it has ended; by the one thread that all transfers run in, so it must not take long.
      take_room: called with a number of bytes before more than `SMALL_BYTES` are read: what the server declares, else
        the limit. Reading goes on, and its deadline, when the function given with it is called, by any thread.
      max_requests: at once, of this process.
      method: of the requests.

    Raises:
      StorageError: if the URL is malformed.
      ResourcesError: if this process has no file descriptors left.
    """
    client = _public if options.public_hosts_only else _direct
    return client.start(Fetch(client, url, options, done, take_room, max_requests, method))


def close_idle() -> None:
    """Closes the connections that nobody uses at the moment."""
    for client in (_direct, _public):
        client.loop.close_idle()


class Fetch:
    """A file that is being read.

    Attributes:
      attempts: tries that have sent a request.
      seconds: that reading it took, without waiting for its turn at its host.
      version: what the answer's header says of the body.
    """

    __slots__ = (
        "_body", "_client", "_error", "attempts", "deadline", "done", "hop", "max_requests", "method", "not_before",
        "options", "retry", "seconds", "start", "take_room", "target", "transfer", "version",
    )  # fmt: skip

    def __init__(
        self, client: "_Client", url: str, options: ReadOptions, done, take_room, max_requests: int, method: Method
    ):
        self._client = client
        self.options = options
        self.max_requests = max_requests
        self.method: Method = method
        self.take_room: TakeRoom | None = take_room
        self.start = self.target = parse_url(url)
        self.hop = self.retry = self.attempts = 0
        self.not_before = 0.0
        self.deadline: Deadline | None = None  # from its first request on
        self.transfer: Transfer | None = None  # while one is under way
        self.done: Callable[[Fetch], None] | None = done  # None when it has ended
        self.seconds = 0.0
        self.version = FileVersion()
        self._body = b""
        self._error: BaseException | None = None

    def body(self) -> bytes:
        """What was read, once `done` has been called. Raises what `get` raises."""
        if self._error is not None:
            raise self._error
        return self._body

    def cancel(self) -> None:
        """Reads no further; `done` may have been called, else it won't be."""
        self._client.loop.call(lambda: self._client.cancel(self))

    def end(self, body: bytes, error: BaseException | None) -> None:
        """To be called once, by whoever has read it."""
        self._body, self._error = body, error
        if self.deadline is not None:
            self.seconds = self.deadline.seconds - self.deadline.remaining_s()
        done, self.done, self.take_room = self.done, None, None  # they know who waits, and that one this
        if done is not None:
            done(self)


class _Client:
    """What is asked for and under way. All but `start` runs in the loop's thread."""

    def __init__(self, public_hosts_only: bool):
        self.loop = HttpLoop(self._start_waiting, self._fail, public_hosts_only)
        self._reset()

    def _reset(self) -> None:
        self._limits = HostLimits()
        self._waiting: list[Fetch] = []  # for their first request, the next hop, or another try
        self._active: set[Fetch] = set()

    def forget(self) -> None:
        """In a process that was forked: what is under way is the parent's."""
        self.loop.forget()
        self._reset()

    def start(self, fetch: Fetch) -> Fetch:
        self.loop.call(lambda: self._waiting.append(fetch), at_once=False)
        return fetch

    def cancel(self, fetch: Fetch) -> None:
        fetch.done = None
        if fetch in self._waiting:
            self._waiting.remove(fetch)
        if fetch.transfer is not None:
            self.loop.cancel(fetch.transfer)
            self._leave_host(fetch)

    def _fail(self, error: BaseException) -> None:
        for fetch in [*self._active, *self._waiting]:
            done = fetch.done
            self.cancel(fetch)
            fetch.done = done
            fetch.end(b"", error)

    def _start_waiting(self) -> float | None:
        """Starts what may start, the first first; passes over what has to wait for its host."""
        if not self._waiting:
            return None
        now, full, left = time.monotonic(), set(), []
        waiting, self._waiting = self._waiting, []
        for place, fetch in enumerate(waiting):
            if len(self._active) >= fetch.max_requests:
                left += waiting[place:]
                break
            if fetch.not_before > now or fetch.target.host in full:
                left.append(fetch)
                continue
            try:
                if not self._start(fetch):
                    full.add(fetch.target.host)
                    left.append(fetch)
            except Exception as error:
                self._end_try(fetch, error)
        self._waiting += left
        return _LOOK_AGAIN_S if self._waiting else None

    def _start(self, fetch: Fetch) -> bool:
        """Makes the next request, if its host has room for it."""
        target, options, deadline = fetch.target, fetch.options, fetch.deadline
        remaining_s = options.deadline_s if deadline is None else deadline.remaining_s()
        if deadline is not None and remaining_s <= 0.001:  # libcurl counts in milliseconds
            raise deadline.error()
        check_scheme(target.scheme, options.allow_schemes)
        try:
            if not self._limits.take(target.host, options.max_per_host, options.deadline_s, remaining_s):
                return False
        except ThrottledError as error:
            raise StorageError("unreachable", f"{target.host} {error} (HTTP status 429 Too Many Requests)") from error
        if deadline is None:
            fetch.deadline = Deadline(options.deadline_s)
        self._active.add(fetch)
        self.loop.allow_connections(min(len(self._active), fetch.max_requests))
        fetch.transfer = transfer = self.loop.take()
        transfer.prepare(
            target,
            options,
            fetch.method,
            fetch,
            self._take_answer,
            self._ask_for_room if fetch.take_room else None,
        )
        if fetch.hop == 0:
            fetch.attempts += 1
        self.loop.start(transfer, remaining_s)
        return True

    def _take_answer(self, transfer: Transfer, curl_error: tuple[int, str] | None) -> None:
        """A request has ended: with the body, an error, or a redirect."""
        fetch: Fetch = transfer.owner
        curl, body, location, error, throttled_for_s = transfer.curl, b"", None, None, None
        try:
            if curl_error is not None:
                self._check(*curl_error, fetch, transfer)
            status = curl.getinfo(pycurl.RESPONSE_CODE)
            if 200 <= status < 300:
                body = transfer.body()
                fetch.version = transfer.version()
            elif not 300 <= status < 400 or (location := curl.getinfo(pycurl.REDIRECT_URL)) is None:
                error = error_of_answer(curl, status)
                throttled_for_s = error.retry_after_s if status == HTTPStatus.TOO_MANY_REQUESTS else None
        except Exception as raised:
            error = raised
        self._leave_host(fetch, throttled_for_s)
        if curl_error is None and fetch.target.credentials is None:  # they stay in a handle
            self.loop.give_back(transfer)
        else:
            curl.close()
        if location is not None:
            self._follow(fetch, location)
        elif curl_error is not None and curl_error[0] == pycurl.E_COULDNT_RESOLVE_HOST:
            threading.Thread(target=self._ask_resolver, args=(fetch,), name="labelbeam-resolver", daemon=True).start()
        elif error is not None:
            self._end_try(fetch, error)
        else:
            fetch.end(body, None)

    def _check(self, code: int, text: str, fetch: Fetch, transfer: Transfer) -> None:
        """Raises what libcurl's error stands for; returns if only the body of an error page was too large."""
        assert fetch.deadline is not None
        if transfer.is_too_large or code == pycurl.E_FILESIZE_EXCEEDED:
            if 200 <= transfer.curl.getinfo(pycurl.RESPONSE_CODE) < 300:
                check_size(int(transfer.curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)), fetch.options.max_bytes)
                raise more_than(fetch.options.max_bytes)
            return
        raise error_of_curl(
            code, text, transfer.curl, transfer.only_refused, fetch.target, fetch.options, fetch.deadline
        )

    def _ask_resolver(self, fetch: Fetch) -> None:
        """In a thread of its own: it may wait."""
        error = error_of_name(fetch.target.name)
        self.loop.call(lambda: self._end_try(fetch, error))

    def _follow(self, fetch: Fetch, location: str) -> None:
        try:
            target = parse_url(location, redirected_by=fetch.target.name)
        except StorageError as error:
            return self._end_try(fetch, error)
        if fetch.hop == MAX_REDIRECTS:
            message = f"more than {MAX_REDIRECTS} redirects, the last one to {target.name}"
            return self._end_try(fetch, StorageError("unreachable", message))
        if target.origin == fetch.start.origin:
            target = target._replace(credentials=fetch.start.credentials)
        fetch.target = target
        fetch.hop += 1
        self._waiting.insert(0, fetch)

    def _leave_host(self, fetch: Fetch, throttled_for_s: float | None = None) -> None:
        self._active.remove(fetch)
        fetch.transfer = None
        self._limits.give_back(fetch.target.host, fetch.options.deadline_s, throttled_for_s)

    def _end_try(self, fetch: Fetch, error: Exception) -> None:
        """A try has failed: there will be another, or it was the last."""
        if isinstance(error, StorageError) and fetch.deadline is not None and fetch.done is not None:
            try:
                pause_s = fetch.options.pause_s(error, fetch.retry, fetch.deadline)
            except StorageError as last:
                error = last
            else:
                fetch.retry += 1
                fetch.hop, fetch.target = 0, fetch.start
                fetch.not_before = time.monotonic() + pause_s
                self._waiting.insert(0, fetch)
                return
        fetch.end(b"", error)

    def _ask_for_room(self, transfer: Transfer) -> None:
        """A body isn't small, and stands still: waiting isn't reading."""
        fetch: Fetch = transfer.owner
        assert fetch.take_room is not None
        began = time.monotonic()

        def go_on() -> None:
            if fetch.transfer is transfer and fetch.deadline is not None:
                fetch.deadline.extend(time.monotonic() - began)
                self.loop.resume(transfer, fetch.deadline.remaining_s())

        declared = int(transfer.curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T))
        num_bytes = declared if declared > SMALL_BYTES else fetch.options.max_bytes
        fetch.take_room(num_bytes, lambda: self.loop.call(go_on))


# A connection that was made without looking at its address is none for `public_hosts_only`.
_direct, _public = _Client(public_hosts_only=False), _Client(public_hosts_only=True)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: (_direct.forget(), _public.forget()))
