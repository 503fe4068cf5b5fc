"""A libcurl handle and what its transfers have in common: limits, proxies, which addresses are connected to."""

import functools
import math
import select
import socket
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any, Literal

from .. import read_policy
from ..file_info import FileVersion, file_version
from ..libcurl import pycurl
from ..read_options import ReadOptions
from ..retry import RetryPolicy
from ..size_limit import SMALL_BYTES
from .urls import Url

MAX_REDIRECTS = 5
_MAX_IDLE_S = 60
_LOOK_AGAIN_S = 0.005  # at what libcurl names no socket for

Method = Literal["GET", "HEAD"]


class Transfer:
    """A libcurl handle with the answer that it takes in; used for one request after the other.

    Attributes:
      curl: the handle. Its connection belongs to the loop.
      chunks: of the body, decoded.
      headers: lines of the answer's headers, those of answers before it too (100 Continue).
      is_too_large: whether there was more than `max_bytes`, which ends the transfer.
      only_refused: whether every address that it wanted to connect to was refused, for not being public.
      owner: whose request it is.
      done: called with the transfer and libcurl's error, or None, in the loop's thread.
      wants_room: called, once, when a body turns out not to be small. It stands still until `HttpLoop.resume`.
    """

    def __init__(self, public_hosts_only: bool, paused: list["Transfer"]):
        self._paused = paused
        self._configured: tuple[ReadOptions, str] | None = None
        self._method: Method = "GET"
        self._timeout_s = 0.0
        self._public_hosts_only = public_hosts_only
        self.only_refused = False
        self.owner: Any = None
        self.curl = curl = new_handle()
        curl.setopt(pycurl.MAXAGE_CONN, _MAX_IDLE_S)
        accept_encodings(curl, "image/*,*/*;q=0.5")
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        self.headers: list[bytes] = []
        curl.setopt(pycurl.HEADERFUNCTION, self.headers.append)
        curl.setopt(pycurl.OPT_FILETIME, 1)
        if public_hosts_only:
            curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_public_socket)

    def prepare(
        self,
        url: Url,
        options: ReadOptions,
        method: Method,
        owner: Any,
        done: Callable[["Transfer", tuple[int, str] | None], None],
        wants_room: Callable[["Transfer"], None] | None,
    ) -> None:
        """Sets it up for a request, redirects not followed."""
        curl = self.curl
        if self._configured is None or self._configured[0] is not options or self._configured[1] != url.scheme:
            self._configured = options, url.scheme
            curl.setopt(pycurl.USERAGENT, options.user_agent)
            limit_silence(curl, options)
            curl.setopt(pycurl.MAXFILESIZE_LARGE, options.max_bytes)
            if self._public_hosts_only:
                curl.setopt(pycurl.PROXY, "")
            else:
                set_proxy(curl, url.scheme)
        if self._method != method:
            self._method = method
            curl.setopt(pycurl.NOBODY if method == "HEAD" else pycurl.HTTPGET, 1)
        set_url(curl, url)
        self.headers.clear()
        self.chunks: list[bytes] = []
        self._left = options.max_bytes
        self._left_of_small = SMALL_BYTES if wants_room else options.max_bytes
        self.is_too_large = self.only_refused = False
        self.owner, self.done, self.wants_room = owner, done, wants_room

    def set_timeout(self, seconds: float) -> None:
        """Of the whole transfer since it began; 0 for none."""
        if seconds != self._timeout_s:
            self._timeout_s = seconds
            self.curl.setopt(pycurl.TIMEOUT_MS, math.ceil(seconds * 1000))

    def forget(self) -> None:
        self.chunks = []
        self.owner = None

    def body(self) -> bytes:
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    def version(self) -> FileVersion:
        """What the headers say of the body, as far as it can be understood."""
        text = b"".join(self.headers)
        names = text.lower()  # searched as one: a loop over the lines takes five times as long
        answer = names.rfind(b"\nhttp/") + 1
        is_encoded = names.find(b"\ncontent-encoding:", answer) >= 0
        tag = names.find(b"\netag:", answer) + len(b"\netag:")
        etag = text[tag : text.find(b"\n", tag)].decode("latin-1") if tag >= len(b"\netag:") else ""
        length = int(self.curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T))
        modified_s = self.curl.getinfo(pycurl.INFO_FILETIME)
        return file_version(length if length >= 0 and not is_encoded else None, modified_s * 1e6, etag)

    def _write(self, chunk: bytes) -> int | None:
        """Takes what arrives, up to the limit. libcurl's own limit counts bytes before they are decoded; this one is
        for bombs.
        """
        if len(chunk) > self._left:
            self.is_too_large = True
            return 0
        if len(chunk) > self._left_of_small:
            self._left_of_small = self._left
            self._paused.append(self)
            return pycurl.WRITEFUNC_PAUSE  # the chunk comes again
        self._left -= len(chunk)
        self._left_of_small -= len(chunk)
        self.chunks.append(chunk)
        return None

    def _open_public_socket(self, purpose: int, address) -> socket.socket | int:
        """libcurl asks here for each socket that it connects, with the address that it will connect to."""
        self.only_refused = not read_policy.is_public(address.addr[0])
        if self.only_refused:
            return pycurl.SOCKET_BAD
        return socket.socket(address.family, address.socktype, address.protocol)


def new_handle() -> pycurl.Curl:
    """A handle for http and https alone that checks certificates by the system's authorities, or `SSL_CERT_FILE`."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    if authorities := ssl.get_default_verify_paths().cafile:
        curl.setopt(pycurl.CAINFO, authorities)
    return curl


def set_url(curl: pycurl.Curl, url: Url) -> None:
    """What is asked for, and as whom."""
    curl.setopt(pycurl.URL, url.text)
    if url.credentials is not None:
        curl.setopt(pycurl.USERNAME, url.credentials[0])
        curl.setopt(pycurl.PASSWORD, url.credentials[1])


def limit_silence(curl: pycurl.Curl, policy: RetryPolicy) -> None:
    """Until a connection is made, and between bytes."""
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(policy.connect_timeout_s * 1000)))
    curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(policy.read_timeout_s))


def wait_for_sockets(multi: pycurl.CurlMulti, longest_s: float, *others: socket.socket) -> None:
    """Until something has arrived for a transfer or at another socket, or it's time for libcurl to act. libcurl's list
    of sockets ends at the 1,024th of a process: those beyond are looked at every few milliseconds.
    """
    poller = select.poll()
    for other in others:
        poller.register(other, select.POLLIN)
    reading, writing, _ = multi.fdset()
    for fd in reading:
        poller.register(fd, select.POLLIN)
    for fd in writing:
        poller.register(fd, select.POLLOUT)
    timeout_ms = multi.timeout()
    wait_s = longest_s if reading or writing else min(longest_s, _LOOK_AGAIN_S)
    poller.poll(min(wait_s * 1000, timeout_ms) if timeout_ms >= 0 else wait_s * 1000)


def accept_encodings(curl: pycurl.Curl, accept: str, *headers: str) -> None:
    """Asks for a body of certain types as it is, and decodes it if a server encodes it all the same: sha256 is to be
    that of the file.
    """
    curl.setopt(pycurl.ACCEPT_ENCODING, "")
    curl.setopt(pycurl.HTTPHEADER, [f"Accept: {accept}", "Accept-Encoding: identity", *headers])


def set_proxy(curl: pycurl.Curl, scheme: str) -> None:
    """Goes through the proxy that the environment names for a scheme, if it does."""
    curl.setopt(pycurl.PROXY, proxies().get(scheme) or proxies().get("all") or "")
    curl.setopt(pycurl.NOPROXY, proxies().get("no") or "")


@functools.cache
def proxies() -> dict[str, str]:
    """Proxies by scheme, and `no`: as the environment names them, in lower or upper case, when the process first
    asks.
    """
    return urllib.request.getproxies_environment()
