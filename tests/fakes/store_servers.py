"""Object stores' servers, real processes on free ports of localhost: moto and SeaweedFS for S3, fake-gcs-server for
Google Cloud Storage, Azurite for Azure.
"""

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.fs

_REPOSITORY = Path(__file__).parents[2]
_START_S = 60  # until a server listens; on an idle machine it's two
_INSTALLED = _REPOSITORY / "build" / "store-servers"
NO_SEAWEEDFS = "SeaweedFS isn't there: make store-servers"
NO_FAKE_GCS_SERVER = "fake-gcs-server isn't there: make store-servers"
NO_AZURITE = "Azurite isn't there: make store-servers"


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


@contextlib.contextmanager
def seaweedfs_server(folder: Path, bind: str = "127.0.0.1") -> Iterator[int]:
    """An empty S3 that keeps its data in a folder, and looks at signatures; gives its port.

    Args:
      bind: the address at which it listens; 0.0.0.0 for all of this machine's.
    """
    binary, identities = seaweedfs_binary(), folder / "identities.json"
    assert binary is not None, NO_SEAWEEDFS
    key = {"accessKey": "a", "secretKey": "b"}
    admin = {"name": "admin", "credentials": [key], "actions": ["Admin", "Read", "Write", "List"]}
    identities.write_text(json.dumps({"identities": [admin]}))
    parts = ["master", "volume", "filer", "s3"]
    ports = {f"{part}.port{kind}": free_port() for part in parts for kind in ("", ".grpc")}
    options = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": bind,
        **ports,
        "s3": True,
        "s3.config": identities,
        "s3.autoCreateBucket": False,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": folder / "s3.sock",
        "filer.localSocket": folder / "filer.sock",
        "master.telemetry": False,
        "master.volumeSizeLimitMB": 64,
        "volume.max": 0,
    }
    command = [binary, "server", *(f"-{name}={value}" for name, value in options.items())]
    port = ports["s3.port"]
    with serving(command, port, WEED_MASTER_VOLUME_GROWTH_COPY_1="1"):  # files for a new bucket; it would make seven
        bucket = new_bucket()
        with s3_filesystem(port, bucket).open_output_stream(f"{bucket}/first") as stream:
            stream.write(b"takes seconds: the server's parts have to find each other")
        yield port


def s3_options(port: int) -> list[str]:
    """Beam's options with which labelbeam finds a server of S3."""
    credentials = ["--s3_access_key_id=a", "--s3_secret_access_key=b", "--s3_region_name=us-east-1"]
    return [f"--s3_endpoint_url=http://127.0.0.1:{port}", *credentials]


def s3_filesystem(port: int, bucket: str) -> "pyarrow.fs.S3FileSystem":
    """A server of S3 as others see it, who know nothing of labelbeam; with a bucket in it."""
    import pyarrow.fs

    endpoint = {"scheme": "http", "endpoint_override": f"127.0.0.1:{port}", "region": "us-east-1"}
    filesystem = pyarrow.fs.S3FileSystem(access_key="a", secret_key="b", allow_bucket_creation=True, **endpoint)
    filesystem.create_dir(bucket)
    return filesystem


def new_bucket() -> str:
    """A name that no bucket has yet."""
    return f"bucket{uuid.uuid4().hex}"  # moto knows no escaped ones, and clients of gs:// escape "-"


def tcp_proxy(port: int, target_port: int, *options: str):
    """A context with a process in front of another; see `tcp_proxy.py`."""
    return serving([sys.executable, "-m", "tests.fakes.tcp_proxy", str(port), str(target_port), *options], port)


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
        "-public-host",  # clients of the XML API ask for /bucket/name
        f"127.0.0.1:{port}",
        "-external-url",
        url,
        "-backend",
        "memory",
        "-data",
        str(folder),
    ]
    with serving(command, port):
        yield url


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """An Azure Blob Storage for the account `devstoreaccount1`, whose key everybody knows; gives its URL."""
    port = free_port()
    command = [
        f"{azurite_binary()}",
        "--blobHost=127.0.0.1",
        f"--blobPort={port}",
        f"--location={folder}",
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    with serving(command, port):
        yield f"http://127.0.0.1:{port}/devstoreaccount1"


AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # everybody's


def make_azurite_container(url: str, name: str) -> None:
    """Makes a container, what others call a bucket."""
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in headers.items())]
    lines += [f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{name}", "restype:container"]
    digest = hmac.new(base64.b64decode(AZURITE_KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    headers |= {
        "Authorization": f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(digest).decode()}",
        "Content-Length": "0",
    }
    request = urllib.request.Request(f"{url}/{name}?restype=container", method="PUT", headers=headers)
    urllib.request.urlopen(request).close()


def seaweedfs_binary() -> str | None:
    """The program's path, from `make store-servers` or PATH; None if it isn't installed."""
    return shutil.which("weed", path=f"{_INSTALLED / 'go'}{os.pathsep}{os.environ['PATH']}")


def fake_gcs_server_binary() -> str | None:
    """The program's path, from `make store-servers` or PATH; None if it isn't installed."""
    return shutil.which("fake-gcs-server", path=f"{_INSTALLED / 'go'}{os.pathsep}{os.environ['PATH']}")


def azurite_binary() -> str | None:
    """The program's path, from `make store-servers` or PATH; None if it isn't installed."""
    return shutil.which("azurite-blob", path=f"{_INSTALLED / 'npm/node_modules/.bin'}{os.pathsep}{os.environ['PATH']}")
