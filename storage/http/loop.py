"""The thread that owns libcurl's multi handle: it runs a process's HTTP transfers, and what is asked of it in between.

One thread waits for all sockets at once; a thread for each request would cost five times the processor time. It is
started with the first call, ends when it is told to and nothing is under way, and isn't taken along into a fork.
"""

import atexit
import collections
import contextlib
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable

from ..errors import check_own_resources
from ..files import max_open_files
from ..libcurl import pycurl
from ..redaction import redact
from .transfer import Transfer, wait_for_sockets

_MAX_IDLE = 64  # connections, or as many as there may be requests
_FEW_CONNECTIONS_S = 15
_END_S = 5.0
_LOOK_AGAIN_S = 0.005
_FOR_EVER_S = 3600.0

_log = logging.getLogger(__name__)


class HttpLoop:
    """Runs transfers in a thread of its own. `call`, `close_idle` and `stop` may be called from any thread, the rest
    from its own.

    Args:
      turn: called in every round, to start transfers; returns the seconds after which it's to be called again
        even if nothing happens, or None.
      failed: called with an error that no transfer is to blame for: all that are under way are to end.
      public_hosts_only: whether sockets are opened to public addresses alone, without a proxy.
    """

    def __init__(
        self, turn: Callable[[], float | None], failed: Callable[[BaseException], None], public_hosts_only: bool
    ):
        self._turn = turn
        self._failed = failed
        self._public_hosts_only = public_hosts_only
        self._reset()
        _loops.append(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # of the thread's beginning and end, and of its inbox
        self._thread: threading.Thread | None = None
        self._inbox: collections.deque[Callable[[], None]] = collections.deque()
        self._is_woken = self._may_end = self._must_end = False

    def forget(self) -> None:
        """In a process that was forked: connections belong to the parent, and are left alone, not even closed."""
        _of_parents.append(dict(vars(self)))
        self._reset()

    def call(self, function: Callable[[], None], at_once: bool = True) -> None:
        """Has the thread call a function.

        Args:
          function: called in its next round.
          at_once: False for what may wait a few milliseconds while transfers are under way. Who asks for many things
            would wake the thread for each.

        Raises:
          ResourcesError: if this process has no file descriptors left for the thread's own.
        """
        with self._lock:
            self._inbox.append(function)
            if self._thread is None:
                try:
                    self._open()
                except BaseException:
                    self._inbox.pop()
                    raise
                self._thread = threading.Thread(target=self._run, name="labelbeam-http", daemon=True)
                self._thread.start()
            if at_once or not self._transfers:
                self._wake()

    def close_idle(self) -> None:
        """Closes the connections that nobody uses at the moment; the thread ends if that's all of them."""
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            self._may_end = True
            self._inbox.append(self._keep_few_connections)
            self._wake()
            is_busy = bool(self._transfers)
        if thread is not threading.current_thread() and not is_busy:
            thread.join(_END_S)

    def stop(self) -> None:
        """Ends the thread, and all transfers with it."""
        with self._lock:
            thread, self._must_end = self._thread, True
            if thread is None:
                return
            self._wake()
        thread.join(_END_S)

    def start(self, transfer: Transfer, timeout_s: float) -> None:
        """Begins a transfer that has been prepared."""
        transfer.set_timeout(timeout_s)
        self._transfers[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)

    def resume(self, transfer: Transfer, timeout_s: float) -> None:
        """Goes on with a transfer that has room now."""
        if transfer.curl in self._transfers:
            transfer.set_timeout(transfer.curl.getinfo(pycurl.TOTAL_TIME) + timeout_s)
            transfer.curl.pause(pycurl.PAUSE_CONT)

    def cancel(self, transfer: Transfer) -> None:
        """Ends a transfer without calling its `done`."""
        if self._transfers.pop(transfer.curl, None):
            self._multi.remove_handle(transfer.curl)
            transfer.curl.close()

    def take(self) -> Transfer:
        """A transfer to prepare and start; give it back when it's done, or close its handle."""
        return self._free.pop() if self._free else Transfer(self._public_hosts_only, self._paused)

    def give_back(self, transfer: Transfer) -> None:
        transfer.forget()
        self._free.append(transfer)

    def allow_connections(self, num: int) -> None:
        """Has it keep so many connections open between requests."""
        if num > self._max_connections and not self._few_until:
            self._max_connections = num
            self._multi.setopt(pycurl.M_MAXCONNECTS, num)

    def _open(self) -> None:
        try:
            self._wake_end, self._waking_end = socket.socketpair()
            self._multi = pycurl.CurlMulti()
        except OSError as error:
            check_own_resources(error.errno, error)
            raise
        self._wake_end.setblocking(False)
        self._is_woken = self._may_end = self._must_end = False
        self._max_connections, self._few_until = 0, 0.0
        self._transfers: dict[pycurl.Curl, Transfer] = {}
        self._paused: list[Transfer] = []
        self._free: list[Transfer] = []
        self.allow_connections(min(_MAX_IDLE, max(1, max_open_files() // 16)))

    def _close(self) -> None:
        for curl in self._transfers:
            self._multi.remove_handle(curl)
        self._transfers.clear()
        for transfer in self._free:
            transfer.curl.close()
        self._multi.close()
        self._wake_end.close()
        self._waking_end.close()

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._waking_end.send(b"x")

    def _run(self) -> None:
        wait_s: float | None = 0.0
        while not self._ends(wait_s):
            try:
                self._round(wait_s)
                wait_s = self._turn()
            except BaseException as error:  # nobody else would tell those who wait
                _log.error("Reading over HTTP failed:\n%s", redact(traceback.format_exc()))
                self._failed(error)
                with self._lock:  # libcurl's handle is of no more use once a callback of it has failed
                    self._close()
                    self._open()

    def _ends(self, wait_s: float | None) -> bool:
        with self._lock:
            is_idle = not (self._transfers or self._inbox) and wait_s is None
            if self._must_end or (self._may_end and is_idle):
                self._close()
                self._thread = None
                self._inbox.clear()
                return True
            return False

    def _round(self, wait_s: float | None) -> None:
        self._wait(_FOR_EVER_S if wait_s is None else wait_s)
        while self._inbox:
            self._inbox.popleft()()
        if self._transfers:
            self._multi.perform()
            if self._paused:
                self._ask_for_room()
            self._finish()
        if self._few_until and self._few_until < time.monotonic():
            self._few_until = 0.0
            self._multi.setopt(pycurl.M_MAXCONNECTS, self._max_connections)

    def _wait(self, wait_s: float) -> None:
        """Until something has arrived, or something was asked for."""
        if self._transfers:
            wait_s = min(wait_s, _LOOK_AGAIN_S)
        wait_for_sockets(self._multi, 0 if self._inbox else wait_s, self._wake_end)
        if self._is_woken:
            with contextlib.suppress(BlockingIOError):
                self._wake_end.recv(64)
            self._is_woken = False

    def _ask_for_room(self) -> None:
        paused, self._paused[:] = list(self._paused), ()
        for transfer in paused:
            if transfer.curl in self._transfers and transfer.wants_room:
                transfer.set_timeout(0.0)  # waiting isn't reading
                transfer.wants_room(transfer)

    def _finish(self) -> None:
        while True:
            num_left, good, bad = self._multi.info_read()
            for curl in good:
                self._end(curl, None)
            for curl, code, text in bad:
                self._end(curl, (code, text))
            if not num_left:
                return

    def _end(self, curl: pycurl.Curl, error: tuple[int, str] | None) -> None:
        transfer = self._transfers.pop(curl)
        self._multi.remove_handle(curl)
        transfer.done(transfer, error)

    def _keep_few_connections(self) -> None:
        self._few_until = time.monotonic() + _FEW_CONNECTIONS_S
        self._multi.setopt(pycurl.M_MAXCONNECTS, 1)  # each that becomes idle is closed, and one more


_loops: list[HttpLoop] = []
_of_parents: list = []  # what a fork has found, never to be touched


@atexit.register
def _stop_all() -> None:
    """Before the interpreter goes: a thread inside libcurl must not outlive it."""
    for loop in _loops:
        loop.stop()
