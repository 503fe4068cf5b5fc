"""The body of a URL as a stream, however long: what breaks off goes on where it was, and only silence is limited."""

import collections
import io
import re
import time
from typing import NamedTuple

from ..errors import StorageError
from ..libcurl import pycurl
from ..retry import Deadline, RetryPolicy
from .errors import error_of_answer, error_of_curl, error_of_name, status_text
from .transfer import (
    MAX_REDIRECTS,
    accept_encodings,
    limit_silence,
    new_handle,
    set_proxy,
    set_url,
    wait_for_sockets,
)
from .urls import parse_url

_LONGEST_WAIT_S = 1.0
_CHUNK_BYTES = 1 << 18


class _Version(NamedTuple):
    """What tells one version of a file from another."""

    tag: str  # "" without one that holds for every byte
    modified: str
    length: str

    @property
    def is_known(self) -> bool:
        return bool(self.tag or (self.modified and self.length))


class HttpStream(io.RawIOBase):
    """Reads a body from its start to its end as it arrives, in the thread that asks for it.

    When the connection breaks, the rest is asked for, or all of it again without what was there already; of another
    version of the file nothing is taken.

    Args:
      url: `http` or `https`, redirected at most five times. A user name and password in it are sent to its own
        scheme, host and port alone.
      policy: its deadline and retries begin anew with each byte; how long the whole takes isn't limited.

    Raises:
      StorageError: from here and from reading, as of `http_client.get`.
    """

    def __init__(self, url: str, policy: RetryPolicy):
        super().__init__()
        self._url = parse_url(url)
        self._policy = policy
        self._deadline, self._retry = Deadline(policy.deadline_s), 0
        self._arrived: collections.deque[memoryview] = collections.deque()
        self._num_arrived = self._num_before = 0  # bytes; before this request
        self._version: _Version | None = None
        self._has_ended = False
        self._multi = pycurl.CurlMulti()
        self._curl: pycurl.Curl | None = None
        try:
            self._request()
            self._wait_for_data()  # so that a refusal is known at once
        except BaseException:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._wait_for_data()
        if not self._arrived:
            return 0
        chunk = self._arrived.popleft()
        size = min(len(buffer), len(chunk))
        buffer[:size] = chunk[:size]
        if size < len(chunk):
            self._arrived.appendleft(chunk[size:])
        return size

    def close(self) -> None:
        if not self.closed:
            self._drop_request()
            self._multi.close()
        super().close()

    def _request(self) -> None:
        """Asks for what hasn't arrived."""
        self._headers: dict[str, str] = {}
        self._status = 0  # until there's an answer
        self._is_accepted, self._is_other, self._to_skip = False, False, 0
        self._num_before = self._num_arrived
        self._curl = curl = new_handle()
        set_proxy(curl, self._url.scheme)
        set_url(curl, self._url)
        limit_silence(curl, self._policy)
        curl.setopt(pycurl.USERAGENT, "labelbeam")
        curl.setopt(pycurl.FOLLOWLOCATION, 1)
        curl.setopt(pycurl.MAXREDIRS, MAX_REDIRECTS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.BUFFERSIZE, _CHUNK_BYTES)
        curl.setopt(pycurl.HEADERFUNCTION, self._take_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)
        headers = []
        if self._num_arrived and self._version and self._version.tag:
            headers = [f"Range: bytes={self._num_arrived}-", f"If-Range: {self._version.tag}"]
        accept_encodings(curl, "*/*", *headers)
        self._multi.add_handle(curl)

    def _drop_request(self) -> None:
        if self._curl is not None:
            self._multi.remove_handle(self._curl)
            self._curl.close()
            self._curl = None

    def _wait_for_data(self) -> None:
        while not (self._arrived or self._has_ended):
            self._multi.perform()
            _, good, bad = self._multi.info_read()
            if good:
                self._finish(None)
            elif bad:
                self._finish(bad[0][1:])
            elif not self._arrived:
                wait_for_sockets(self._multi, _LONGEST_WAIT_S)

    def _take_header(self, line: bytes) -> None:
        text = line.decode("latin-1")
        if text.startswith("HTTP/"):  # each answer has one: those that redirect, too
            self._headers.clear()
            self._status = int(text.split()[1])
        name, _, value = text.partition(":")
        self._headers[name.lower()] = value.strip()

    def _take(self, chunk: bytes) -> int:
        if not self._is_accepted:
            if not self._accepts():
                return 0  # which ends the transfer
            self._is_accepted = True
        skipped = min(self._to_skip, len(chunk))
        self._to_skip -= skipped
        if skipped < len(chunk):
            self._arrived.append(memoryview(chunk)[skipped:])
            self._num_arrived += len(chunk) - skipped
        return len(chunk)

    def _accepts(self) -> bool:
        """Whether what begins to arrive is the body, or what is missing of it."""
        if not 200 <= self._status < 300:
            return False
        if self._status == 206 and self._num_arrived:
            found = re.match(r"bytes (\d+)-", self._headers.get("content-range", ""))
            self._is_other = found is None or int(found[1]) != self._num_arrived
            return not self._is_other
        version = self._version_of_answer()
        if self._num_arrived:
            self._is_other = version != self._version
            self._to_skip = self._num_arrived
        self._version = version
        return not self._is_other

    def _version_of_answer(self) -> _Version:
        encoded = "content-encoding" in self._headers  # then a tag holds for bytes that aren't counted here
        tag = self._headers.get("etag", "")
        return _Version(
            tag if tag.startswith('"') and not encoded else "",  # a weak one doesn't tell whether bytes are equal
            self._headers.get("last-modified", ""),
            self._headers.get("content-length", ""),
        )

    def _finish(self, curl_error: tuple[int, str] | None) -> None:
        """A request has ended: with the whole, or there is another, or an error is raised."""
        assert self._curl is not None
        status = self._status
        has_progressed = self._num_arrived > self._num_before
        if has_progressed:
            self._deadline, self._retry = Deadline(self._policy.deadline_s), 0
        where = self._url.host
        if self._is_other or (curl_error is None and self._to_skip):
            error = StorageError("truncated", f"{where} broke off its answer, and the rest is of another version")
        elif status and not 200 <= status < 300 and not 300 <= status < 400:
            error = error_of_answer(self._curl, status)
        elif curl_error is None and status and not 300 <= status < 400:
            self._has_ended = True
            self._drop_request()
            return
        else:
            error = self._error_of_curl(curl_error, status)
        self._drop_request()
        if self._num_arrived and not (self._version and self._version.is_known):
            raise error  # nothing tells whether what it would send is the same
        pause_s = self._policy.pause_s(error, self._retry, self._deadline)
        self._retry += 1
        time.sleep(pause_s)
        self._request()

    def _error_of_curl(self, curl_error: tuple[int, str] | None, status: int) -> StorageError:
        where = self._url.host
        if curl_error is None:
            return StorageError("unreachable", f"{where}: HTTP status {status_text(status)}")
        code, text = curl_error
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            return error_of_name(self._url.name)
        if code == pycurl.E_UNSUPPORTED_PROTOCOL:
            return StorageError("forbidden", f"redirected by {where} to something other than http(s)")
        assert self._curl is not None
        return error_of_curl(code, text, self._curl, False, self._url, self._policy, self._deadline)
