"""The lease of an output folder: one job at a time works on it, and a dead job doesn't hold it for ever.

The holder refreshes `_lease.json` while it lives. Whoever finds a lease takes it over if its holder is dead: a process of this
machine that is gone, or one elsewhere that hasn't refreshed it for a while. A holder that finds somebody else's lease has been
taken for dead (it slept, or lost its network) and stops.

On disks, network disks included, a lease is taken under a lock. Object stores have no such thing in Beam's filesystems: there
two jobs that start in the same two seconds could both win; repeats of that are settled when they close.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from ..storage import files as output_files
from ..storage import object_stores
from ..storage.errors import UsageError
from ..storage.uris import is_local, join

LEASE_FILE = "_lease.json"
REFRESH_S = 15.0
EXPIRY_S = 90.0  # without a refresh a holder on another machine counts as dead
_REMOTE_SETTLE_S = 2.0

_held_here: set[str] = set()  # tokens of the leases that this process holds

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def holding(
    output: str, job_id: str, on_lost: Callable[[], None], refresh_s: float = REFRESH_S, expiry_s: float = EXPIRY_S
) -> Iterator[None]:
    """Holds an output folder's lease for as long as the context lasts.

    Args:
      output: the output folder.
      job_id: who holds it, for those who ask.
      on_lost: called from another thread, once, when somebody else has taken the lease over.

    Raises:
      UsageError: if another job that lives holds it.
    """
    path = join(output, LEASE_FILE)
    token = uuid.uuid4().hex
    _held_here.add(token)
    try:
        _take(path, job_id, token, expiry_s)
    except BaseException:
        _held_here.discard(token)
        raise
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(path, job_id, token, on_lost, ended, refresh_s), daemon=True, name="lease"
    )
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        _held_here.discard(token)
        keeper.join(timeout=refresh_s)
        # A store that is down has stopped the job already; a lease that stays behind is that of a dead process.
        with contextlib.suppress(OSError), object_stores.impatient():
            if (_read(path) or {}).get("token") == token:
                output_files.delete([path])


def current_holder(output: str, expiry_s: float = EXPIRY_S) -> dict | None:
    """The lease of a job that lives, or None."""
    lease = _read(join(output, LEASE_FILE))
    return lease if lease and _lives(lease, expiry_s) else None


def _take(path: str, job_id: str, token: str, expiry_s: float) -> None:
    with _alone(path) if is_local(path) else contextlib.nullcontext():
        lease = _read(path)
        if lease is not None:
            if _lives(lease, expiry_s):
                raise _held(path, lease)
            _log.warning(
                "job %s is dead (host %s, pid %s); taking over its lease",
                lease.get("job_id"),
                lease.get("host"),
                lease.get("pid"),
            )
        output_files.write_atomically(path, _content(job_id, token))
    if not is_local(path):
        time.sleep(_REMOTE_SETTLE_S)
        lease = _read(path) or {}
        if lease.get("token") != token:
            raise _held(path, lease)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Between looking at a lease and writing one, nobody else does: the folder is locked, which ends with the process."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a filesystem without locks: as good as an object store
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep(
    path: str, job_id: str, token: str, on_lost: Callable[[], None], ended: threading.Event, refresh_s: float
) -> None:
    while not ended.wait(refresh_s):
        try:
            lease = _read(path)
            if lease is not None and lease.get("token") != token:
                _log.error("the lease of %s was taken over by job %s", path, lease.get("job_id"))
                on_lost()
                return
            output_files.write_atomically(path, _content(job_id, token))
        except (
            Exception
        ) as error:  # a full disk, a store that is down: the next try may do better; the job has its own errors
            _log.warning("the lease %s can't be refreshed: %s", path, error)


def _content(job_id: str, token: str) -> bytes:
    return json.dumps(
        {
            "job_id": job_id,
            "token": token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": _process_start(os.getpid()),
            "refreshed_at": time.time(),
        }
    ).encode()


def _read(path: str) -> dict | None:
    try:
        return json.loads(output_files.read(path))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:  # half written when its holder died
        return {}


def _lives(lease: dict, expiry_s: float) -> bool:
    if lease.get("host") == socket.gethostname():
        if lease["pid"] == os.getpid() and lease.get("token") not in _held_here:
            return False  # of a job that this process has given up, in a store that was down when it ended
        started = _process_start(lease["pid"])
        return started is not None and started == lease.get("process_started")
    return time.time() - lease.get("refreshed_at", 0.0) < expiry_s


def _process_start(pid: int) -> str | None:
    """When a process of this machine was started, in some unit; None if there's no such process. Ids are used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return None
    try:  # no /proc: alive or not is all that can be known
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


def _held(path: str, lease: dict) -> UsageError:
    seen_s = max(0.0, time.time() - lease.get("refreshed_at", time.time()))
    return UsageError(
        f"--output {path.rpartition('/')[0]}: job {lease.get('job_id', '?')} is at work on it (host "
        f"{lease.get('host', '?')}, pid {lease.get('pid', '?')}, last sign of life {seen_s:.0f} s ago). Wait for "
        "it to end, or give another folder. A job that has died on another machine is found out after "
        f"{EXPIRY_S:.0f} s"
    )
