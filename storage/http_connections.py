"""Connections of `http_client`: pooled per process, each read bound by a deadline, to public hosts alone where that is asked for.

Timeouts of sockets count from the last byte, so a server that sends a byte now and then would hold a thread for ever; here
every single read from a socket, of headers and of a proxy's answers too, gets what is left of the deadline.
"""

import contextvars
import functools
import http.client
import io
import socket
import threading
import time
from collections.abc import Mapping

import urllib3
from urllib3 import exceptions
from urllib3.util import Url
from urllib3.util.connection import create_connection

from ..transforms.elements import ImageError
from .proxies import new_pool_manager, proxy_for
from .read_policy import public_addresses
from .redaction import redact_urllib3_logs

_BUFFER_BYTES = 1 << 16  # one is made for each answer; what is larger is read past it


class Deadline:
    """A moment after which nothing is worth waiting for."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining_s(self) -> float:
        return self._end - time.monotonic()

    def error(self) -> ImageError:
        return ImageError("timeout", f"not read within the deadline of {self.seconds:g} s")


# The deadline of the fetch that the current thread is busy with: connections are pooled, and outlive it.
current_deadline: contextvars.ContextVar[Deadline] = contextvars.ContextVar("deadline")

_pool_lock = threading.Lock()


def send_get(
    url: Url, headers: Mapping[str, str], timeout: urllib3.Timeout, public_hosts_only: bool
) -> urllib3.BaseHTTPResponse:
    """The answer to one GET, its body unread: redirects are answers too, and nothing is tried again.

    Connections are shared by all threads, bundles and DoFns of a worker. Needs a `current_deadline`.

    Raises:
      urllib3.exceptions.HTTPError: if there is no answer.
    """
    proxy = None if public_hosts_only else proxy_for(url)
    with _pool_lock:  # two pools made at the same moment would both be used
        pools = _pool_manager(proxy, public_hosts_only)
    once = {"headers": headers, "timeout": timeout, "redirect": False, "retries": False, "preload_content": False}
    if proxy is not None:
        return pools.request("GET", url.url, **once)
    # Not the manager's own `request`, which parses every URL once more.
    pool = pools.connection_from_host(url.host, url.port, url.scheme)
    return pool.urlopen("GET", url.request_uri, assert_same_host=False, **once)


@functools.cache
def _pool_manager(proxy: str | None, public_hosts_only: bool) -> urllib3.PoolManager:
    redact_urllib3_logs()
    # A pool keeps as many idle connections as there may be threads: a full one drops them, with a warning each.
    manager = new_pool_manager(proxy, num_pools=64, maxsize=256)
    pools = (_PublicHTTPPool, _PublicHTTPSPool) if public_hosts_only else (_HTTPPool, _HTTPSPool)
    manager.pool_classes_by_scheme = dict(zip(("http", "https"), pools))
    return manager


class _DeadlineReader(io.RawIOBase):
    """A socket's bytes, each read of which waits for the socket's timeout or the deadline, whichever comes first."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Deadline):
        self._raw = raw
        self._socket = sock
        self._timeout_s = sock.gettimeout()
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        left_s = self._deadline.remaining_s()
        if left_s <= 0:
            raise TimeoutError("deadline")
        if self._timeout_s is None or left_s < self._timeout_s:  # seldom: each setting is a system call
            self._socket.settimeout(left_s)
            self._timeout_s = left_s
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, current_deadline.get()), _BUFFER_BYTES)


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _DeadlineResponse


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _DeadlineResponse


class _PublicHostsOnly:
    """Resolves the name once, and connects to one of the addresses that were found public, never to the name.

    A name that is resolved again, as whoever checks it beforehand lets urllib3 do, may have turned to another address.
    """

    def _new_conn(self) -> socket.socket:
        try:
            addresses = public_addresses(self.host, self.port)
        except socket.gaierror as error:
            raise exceptions.NameResolutionError(self.host, self, error) from error
        for address in addresses:
            try:
                return create_connection(
                    (address, self.port),
                    self.timeout,
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
            except OSError as error:
                last_error = error
        if isinstance(last_error, TimeoutError):
            raise exceptions.ConnectTimeoutError(self, f"Connection to {self.host} timed out") from last_error
        raise exceptions.NewConnectionError(self, f"Failed to establish a new connection: {last_error}") from last_error


class _PublicHTTPConnection(_PublicHostsOnly, _HTTPConnection):
    pass


class _PublicHTTPSConnection(_PublicHostsOnly, _HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _PublicHTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection
