"""Processes for tests of runners: the command as a user starts it, worker pools, and who is whose child."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# `python -m apache_beam.runners.worker.worker_pool_main`, which says nothing unless somebody has set up logging.
_POOL = """import logging, sys
logging.basicConfig(level=logging.INFO)
from apache_beam.runners.worker.worker_pool_main import main
main(sys.argv)
"""


def labelbeam(*arguments: str, prefix: Sequence[str] = ()) -> subprocess.Popen:
    """Starts the command line."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "labelbeam.pipeline.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def environment(python: str = sys.executable) -> dict[str, str]:
    """This one, with a Python's folder first in PATH, which is where a worker pool looks for it."""
    return {**os.environ, "PATH": os.pathsep.join([os.path.dirname(python), os.environ["PATH"]])}


@contextlib.contextmanager
def worker_pool(
    log: Path,
    host: str = "localhost",
    prefix: Sequence[str] = (),
    port: int | None = None,
    python: str = sys.executable,
    **variables: str,
) -> Iterator["WorkerPool"]:
    """Beam's worker pool: starts a worker process for each job that asks for one at its port.

    Args:
      log: file for what it and its workers log.
      host: its address as runners are told it.
      prefix: of its command, such as `ip netns exec NAME`.
      port: a free one if None.
      python: of the environment that has Beam, for it and its workers.
      variables: of its environment, beside this process's.
    """
    port = port or free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*prefix, python, "-c", _POOL, f"--service_port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=output,
            env={**environment(python), **variables},
        )
        try:
            wait_until(lambda: "Started worker pool" in log.read_text(), process, log.read_text)
            yield WorkerPool(f"{host}:{port}", process.pid, log)
        finally:
            process.terminate()
            process.wait()


class WorkerPool:
    """Its address, its process id, the file with what it and its workers log."""

    def __init__(self, address: str, pid: int, log: Path):
        self.address = address
        self.pid = pid
        self.log = log

    @property
    def options(self) -> list[str]:
        return ["--environment_type", "EXTERNAL", "--environment_config", self.address]


def workers_below(pid: int) -> list[int]:
    """Ids of the SDK worker processes that a process has started, at any depth."""
    return [child for child in descendants(pid) if "sdk_worker" in _command(child)]


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found[1:]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_text()
    return ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen, explain: Callable[[], object], timeout_s: float = 120
):
    """Waits for what a process is to bring about; fails if it ends before."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert process.poll() is None, explain()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
    return found


def process_start(pid: int) -> str | None:
    """When a process was started, in ticks since boot; None once it has ended."""
    with contextlib.suppress(OSError):
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    return None
