"""Whether a job lives: each has a file with a counter, which whoever is at work on it renews.

Who wants to take over a job's folder watches the file stand still for a while of its own clock: clocks of several
machines are never compared. A process on the same boot of the same machine, in the same namespace of process ids, is
known to be dead at once. A wrong guess costs work, never rows: what counts is decided by the log alone.
"""

import contextlib
import functools
import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ..storage import files
from ..storage.uris import join
from .log import LOG_FOLDER, find_entry

BEAT_EVERY_S = 15.0
DEAD_AFTER_S = 90.0  # of the watcher's clock, without a beat
_LOOK_EVERY_S = 1.0

_at_work_here: set[str] = set()  # ids of the jobs that this process is at work on

_log = logging.getLogger(__name__)


def heartbeat_path(output: str, job_id: str) -> str:
    return join(output, LOG_FOLDER, f"heartbeat-{job_id}.json")


def stop_path(output: str, job_id: str) -> str:
    """The file that asks a job's workers on other machines to stop."""
    return join(output, LOG_FOLDER, f"stop-{job_id}")


def read_heartbeat(output: str, job_id: str) -> dict[str, Any]:
    """What a job's last sign of life says; empty if there is none."""
    try:
        content = json.loads(files.read(heartbeat_path(output, job_id)))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Heartbeat:
    """Gives signs of life of a job.

    Args:
      output, job_id: of the job.
      with_process: whether the job ends with this process; not so for jobs that a cluster goes on with.
    """

    def __init__(self, output: str, job_id: str, with_process: bool = True):
        self._output, self._job_id = output, job_id
        self._process = this_process() if with_process else None
        self._count = 0

    def beat(self, facts: Mapping[str, Any] | None = None) -> None:
        """One sign of life, with what else is to be told of the job: JSON types."""
        self._count += 1
        content = {
            "job_id": self._job_id,
            "count": self._count,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": self._process,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **(facts or {}),
        }
        files.write_atomically(heartbeat_path(self._output, self._job_id), json.dumps(content).encode())


@contextlib.contextmanager
def at_work(job_id: str) -> Iterator[None]:
    """While the context lasts, this process is at work on the job."""
    _at_work_here.add(job_id)
    try:
        yield
    finally:
        _at_work_here.discard(job_id)


@contextlib.contextmanager
def beating(beat: Callable[[], None], every_s: float = BEAT_EVERY_S) -> Iterator[None]:
    """Calls `beat` at intervals from another thread. What fails is tried again: a store that is down comes back."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(every_s):
            try:
                beat()
            except Exception as error:
                _log.warning("no sign of life could be given: %s", error)

    thread = threading.Thread(target=keep, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=every_s)


@functools.cache
def attend(output: str, job_id: str, number: int) -> None:
    """For workers: keeps their job alive, or ends with it. Once a process; goes on in a thread until the log does.

    A worker on the machine of a job that ends with its driver's process ends when that does. Elsewhere it renews the
    job's heartbeat whenever nobody else has.

    Args:
      number: of the job's `begin` in the log.
    """
    content = read_heartbeat(output, job_id)
    driver, mine = content.get("process"), this_process()
    if not content or driver == mine:
        return
    if isinstance(driver, Mapping) and driver.get("machine") == mine["machine"]:
        target, args = _end_with, (driver,)
    else:
        target, args = _renew, (output, job_id, number)
    threading.Thread(target=target, args=args, daemon=True, name="attend").start()


def _end_with(driver: Mapping[str, Any]) -> None:
    while process_start(driver["pid"]) == driver["started"]:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)  # nobody would take what this process makes


def _renew(output: str, job_id: str, number: int) -> None:
    seen: dict[str, Any] = {}
    while True:
        time.sleep(BEAT_EVERY_S * random.uniform(0.8, 1.2))
        try:
            if find_entry(output, number + 1) is not None:
                return
            if (content := read_heartbeat(output, job_id)) == seen:
                content = {**content, "count": content.get("count", 0) + 1, "renewed_by": socket.gethostname()}
                files.write_atomically(heartbeat_path(output, job_id), json.dumps(content).encode())
            seen = content
        except Exception as error:
            _log.warning("no sign of life could be given: %s", error)


def find_death(content: Mapping[str, Any]) -> bool | None:
    """Whether the job of a sign of life is dead (True) or lives (False), as far as that is known at once; else None."""
    process, mine = content.get("process"), this_process()
    if not isinstance(process, Mapping) or process.get("machine") != mine["machine"]:
        return None
    if process.get("pid") == mine["pid"] and process.get("started") == mine["started"]:
        return content.get("job_id") not in _at_work_here
    return process_start(process.get("pid", 0)) != process.get("started")


def watch(
    output: str,
    job_id: str,
    on_wait: Callable[[dict[str, Any]], None] = lambda content: None,
    dead_after_s: float | None = None,
    look_every_s: float = _LOOK_EVERY_S,
) -> dict[str, Any] | None:
    """Watches a job until it is known whether it lives.

    Args:
      on_wait: called once, if that takes a while.

    Returns:
      Its last sign of life; None if it is dead.
    """
    content = read_heartbeat(output, job_id)
    if (dead := find_death(content)) is not None:
        return None if dead else content
    on_wait(content)
    give_up_at = time.monotonic() + (DEAD_AFTER_S if dead_after_s is None else dead_after_s)
    while time.monotonic() < give_up_at:
        time.sleep(look_every_s)
        now = read_heartbeat(output, job_id)
        if now and now != content:
            return now
    return None


@functools.cache
def machine() -> str:
    """This boot of this machine, and the namespace in which its process ids mean something. Host names say neither."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: never the same as any other
        return f"{socket.gethostname()} {os.getpid()} {time.time()}"


def this_process() -> dict[str, Any]:
    """This process, told from all others: machine, pid, when it was started."""
    return {"machine": machine(), "pid": os.getpid(), "started": process_start(os.getpid())}


def process_start(pid: int) -> str | None:
    """When a process of this machine was started, in ticks since boot; None if it has ended. Process ids are used
    again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()
