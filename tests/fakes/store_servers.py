"""Object stores' servers, real processes on free ports of localhost: moto for S3, fake-gcs-server for Google Cloud
Storage.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_START_S = 60  # until a server listens; on an idle machine it's two
NO_FAKE_GCS_SERVER = (
    "fake-gcs-server isn't there: go install github.com/fsouza/fake-gcs-server@v1.56.1 (takes ten minutes)"
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, **environment: str) -> Iterator[subprocess.Popen]:
    """Runs a server while the context lasts, from when it accepts connections; ends it by SIGKILL."""
    process = subprocess.Popen(
        command,
        cwd=_REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up_at = time.monotonic() + _START_S
        while not _accepts(port):
            assert process.poll() is None, f"{command} ended by itself, exit code {process.returncode}"
            assert time.monotonic() < give_up_at, f"{command} doesn't listen on port {port}"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def moto_server(**environment: str) -> Iterator[int]:
    """An empty S3; gives its port. Its data live as long as the process."""
    port = free_port()
    with serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, **environment):
        yield port


def tcp_proxy(port: int, target_port: int, dies_at_put: int | None = None):
    """A context with a process in front of another; see `tcp_proxy.py`."""
    puts = [] if dies_at_put is None else [str(dies_at_put)]
    return serving([sys.executable, "-m", "tests.fakes.tcp_proxy", str(port), str(target_port), *puts], port)


@contextlib.contextmanager
def fake_gcs_server(folder: Path) -> Iterator[str]:
    """A Google Cloud Storage whose buckets are the folders below `folder`; gives what STORAGE_EMULATOR_HOST is to
    say.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        fake_gcs_server_binary(),
        "-scheme",
        "http",
        "-host",
        "127.0.0.1",
        "-port",
        str(port),
        "-external-url",
        url,
        "-backend",
        "filesystem",
        "-filesystem-root",
        str(folder),
    ]
    with serving(command, port):
        yield url


def fake_gcs_server_binary() -> str | None:
    """The program's path, from PATH or Go's folder of programs; None if it isn't installed."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    places = os.environ["PATH"]
    if go:
        gopath = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        places += f"{os.pathsep}{gopath}/bin"
    return shutil.which("fake-gcs-server", path=places)
