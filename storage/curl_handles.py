"""libcurl handles of `http_client`, each with at most one connection, kept open between requests.

libcurl doesn't let several threads share connections, so a handle belongs to one request at a time and waits here
between them, by the host that its connection leads to.
"""

import atexit
import functools
import os
import socket
import ssl
import threading
import urllib.request
from collections import OrderedDict

from . import read_policy
from .files import max_open_files
from .libcurl import pycurl

_MAX_IDLE = 64
_MAX_IDLE_S = 60

Key = tuple[str, str, bool]  # scheme, host with its port, whether it must be public


class Handle:
    """A libcurl handle and what its connection is for.

    Attributes:
      curl: set up but for what each request has of its own.
      only_refused: whether every address that libcurl wanted to connect to since `start` was refused, for not being
        public.
    """

    def __init__(self, key: Key):
        self.key = key
        self.only_refused = False
        self.curl = curl = pycurl.Curl()
        scheme, _, public_hosts_only = key
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.MAXCONNECTS, 1)
        curl.setopt(pycurl.MAXAGE_CONN, _MAX_IDLE_S)
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        # Decoded if a server encodes it although it was asked not to: sha256 is to be that of the file.
        curl.setopt(pycurl.ACCEPT_ENCODING, "")
        curl.setopt(pycurl.HTTPHEADER, ["Accept: image/*,*/*;q=0.5", "Accept-Encoding: identity"])
        if scheme == "https" and (authorities := _certificate_authorities()):
            curl.setopt(pycurl.CAINFO, authorities)
        if public_hosts_only:
            curl.setopt(pycurl.PROXY, "")
            curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_public_socket)
        else:
            curl.setopt(pycurl.PROXY, proxies().get(scheme) or proxies().get("all") or "")
            curl.setopt(pycurl.NOPROXY, proxies().get("no") or "")

    def start(self) -> None:
        self.only_refused = False

    def _open_public_socket(self, purpose: int, address) -> socket.socket | int:
        """libcurl asks here for each socket that it connects, with the address that it will connect to."""
        if not read_policy.is_public(address.addr[0]):
            self.only_refused = True
            return pycurl.SOCKET_BAD
        self.only_refused = False
        return socket.socket(address.family, address.socktype, address.protocol)


class Handles:
    """Lends handles to requests and keeps them in between. Thread-safe; closes the idle ones at the end of the
    process.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._idle: OrderedDict[Key, list[Handle]] = OrderedDict()  # the host used last comes last
        self._num_idle = 0
        atexit.register(self.close_idle)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # connections belong to the parent

    def take(self, key: Key) -> Handle:
        """A handle for one request, with an open connection if one is idle. Give it back, or close its `curl`."""
        with self._lock:
            if waiting := self._idle.get(key):
                self._num_idle -= 1
                handle = waiting.pop()
                if not waiting:
                    del self._idle[key]
            else:
                handle = None
        handle = handle or Handle(key)
        handle.start()
        return handle

    def give_back(self, handle: Handle) -> None:
        oldest = None
        with self._lock:
            self._idle.setdefault(handle.key, []).append(handle)
            self._idle.move_to_end(handle.key)
            self._num_idle += 1
            if self._num_idle > min(_MAX_IDLE, max_open_files() // 16):
                key, waiting = next(iter(self._idle.items()))
                oldest = waiting.pop(0)
                self._num_idle -= 1
                if not waiting:
                    del self._idle[key]
        if oldest is not None:
            oldest.curl.close()

    def close_idle(self) -> None:
        with self._lock:
            handles = [handle for waiting in self._idle.values() for handle in waiting]
            self._forget()
        for handle in handles:
            handle.curl.close()

    def _forget(self) -> None:
        self._idle.clear()
        self._num_idle = 0


def _certificate_authorities() -> str | None:
    """The file of trusted certificates: `SSL_CERT_FILE`, the system's, or None for libcurl's own."""
    return ssl.get_default_verify_paths().cafile


@functools.cache
def proxies() -> dict[str, str]:
    """Proxies by scheme, and `no`: as the environment names them, in lower or upper case, when the process first
    asks.
    """
    return urllib.request.getproxies_environment()
