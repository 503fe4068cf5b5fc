"""Objects of Google Cloud Storage: failures against a server that misbehaves, the rest against a real
fake-gcs-server.
"""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from labelbeam.storage import files, object_stores
from labelbeam.storage.errors import StorageError, UsageError
from labelbeam.storage.read_options import ReadOptions
from labelbeam.storage.retry import RetryPolicy
from labelbeam.storage.stores import calls, clients
from labelbeam.storage.stores import options as store_options

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.store_servers import NO_FAKE_GCS_SERVER, fake_gcs_server, fake_gcs_server_binary

BODY = bytes(range(256)) * 40


@pytest.fixture
def emulator(monkeypatch):
    """Sends `labelbeam` to an emulator at a URL."""

    def use(url):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        clients.close()  # they know where they went

    return use


def get(uri, **settings):
    attempts = []
    try:
        options = ReadOptions(backoff_s=0.01, **settings)
        return object_stores.get(uri, options, lambda: attempts.append(1)), len(attempts)
    except StorageError as error:
        return error.kind, len(attempts)


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"bucket/ä b.jpg": BODY, "bucket": BODY}) as server:
        yield server


class TestFailures:
    """The server's routes are put in front of what the client asks for: `/status/500` + `/bucket/a.jpg`."""

    def test_reads_with_one_request_as_nobody(self, server, emulator):
        emulator(server.url("/files"))
        before = len(server.requests)
        assert get("gs://bucket/ä b.jpg") == (BODY, 1)
        assert len(server.requests) == before + 1


def test_nobody_signs_nothing(server):
    store_options.configure([f"gcs_base_url={server.url('/files')}", "skip_signature=true"])
    assert get("gs://bucket/ä b.jpg") == (BODY, 1)
    assert "Authorization" not in server.requests[-1].headers
    store_options.configure(())


class TestStatuses:
    @pytest.mark.parametrize(
        "status, kind, attempts",
        [
            (404, "not_found", 1),
            (403, "forbidden", 1),
            (401, "forbidden", 1),
            (400, "unreachable", 1),
            (429, "unreachable", 3),
            (503, "unreachable", 3),
            (504, "timeout", 3),
        ],
    )
    def test_statuses(self, server, emulator, status, kind, attempts):
        emulator(server.url(f"/status/{status}"))
        assert get("gs://bucket/a.jpg", retries=2) == (kind, attempts)

    def test_limit_of_bytes(self, server, emulator):
        emulator(server.url("/declares-huge"))
        assert get("gs://bucket/a.jpg") == ("too_large", 1)
        emulator(server.url("/endless"))  # stores say how long an object is
        assert get("gs://bucket/a.jpg", max_bytes=10_000) == ("unreachable", 1)

    def test_silence(self, server, emulator):
        emulator(server.url("/hang"))
        assert get("gs://bucket/a.jpg", read_timeout_s=0.1, retries=1) == ("timeout", 2)

    def test_who_is_impatient_waits_no_longer_for_silence_either(self, server, emulator, monkeypatch):
        emulator(server.url("/hang"))
        monkeypatch.setattr(calls, "STORE_POLICY", RetryPolicy(deadline_s=0.5, read_timeout_s=20))
        started = time.monotonic()
        with calls.impatient(), pytest.raises(OSError, match="Tried for up to"):
            object_stores.exists("gs://bucket/a.jpg")
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("route, kind", [("declares-more", "truncated"), ("reset", "unreachable")])
    def test_body_that_ends_early(self, server, emulator, route, kind):
        emulator(server.url(f"/{route}"))
        assert get("gs://bucket/a.jpg", retries=1) == (kind, 2)

    def test_a_store_that_is_away(self, emulator, monkeypatch):
        emulator("http://127.0.0.1:1")
        assert get("gs://bucket/a.jpg", retries=1) == ("unreachable", 2)
        monkeypatch.setattr(calls, "STORE_POLICY", RetryPolicy(deadline_s=0.3, backoff_s=0.05, retries=100))
        for act in (
            lambda uri: object_stores.write(uri, b"x"),
            object_stores.exists,
            lambda uri: list(object_stores.list_uris(uri)),
        ):
            with pytest.raises(OSError, match=r"gs://bucket/x can't be .*refused.* Tried for up to"):
                act("gs://bucket/x")


_SILENT = """
import logging, sys, time
from labelbeam.storage import object_stores
from labelbeam.storage.stores import options as store_options
from labelbeam.storage.errors import StorageError
from labelbeam.storage.read_options import ReadOptions

class Clock(logging.Handler):
    def emit(self, record):
        print(f"{time.monotonic() - started:.1f} s: {record.getMessage()}", flush=True)

logging.basicConfig(handlers=[Clock()])
uri, *settings = sys.argv[1:]
store_options.configure(settings)
started = time.monotonic()
try:
    object_stores.get(uri, ReadOptions(deadline_s=6))
except StorageError as error:
    print(f"{time.monotonic() - started:.1f} s: ended, {error.kind}")
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    "uri, settings",
    [
        ("gs://bucket/a.jpg", ["gcs_base_url={url}"]),
        ("s3://bucket/a.jpg", ["aws_endpoint={url}"]),
        (
            "az://bucket/a.jpg",
            ["azure_account_name=me", "azure_endpoint={url}", "azure_msi_endpoint={url}/token"],
        ),
    ],
)
def test_where_nothing_ever_answers_that_is_said_and_ends(uri, settings, tmp_path):
    """Neither the store nor the server that gives machines their credentials."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GOOGLE_"))}
        environment |= {
            "HOME": str(tmp_path),
            "GCE_METADATA_HOST": place,
            "GCE_METADATA_IP": place,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{place}",
            "NO_PROXY": "*",
        }
        command = [sys.executable, "-c", _SILENT, uri, *(setting.format(url=f"http://{place}") for setting in settings)]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout
    first = re.search(r"([\d.]+) s: \w+://bucket: no answer for 4 s. Credentials are looked for", said)
    assert first and float(first[1]) < 5, said
    ended = re.search(r"([\d.]+) s: ended, timeout", said)
    assert ended and float(ended[1]) < 12, said


def test_fake_gcs_server(tmp_path, emulator):
    """It can't be written to with the XML API that obstore speaks: `test_object_stores.py` has that."""
    if fake_gcs_server_binary() is None:
        pytest.skip(NO_FAKE_GCS_SERVER)
    for name in ("out/images/b.parquet", "out/images/ä b.parquet", "out/imagesx", "photos/1.jpg"):
        (tmp_path / "bucket" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bucket" / name).write_bytes(BODY)
    with fake_gcs_server(tmp_path) as url:
        emulator(url)
        assert get("gs://bucket/photos/1.jpg") == (BODY, 1) == get("gs://bucket/out/images/ä b.parquet")
        assert get("gs://bucket/photos/2.jpg") == ("not_found", 1)
        assert files.read("gs://bucket/photos/1.jpg") == BODY
        assert object_stores.exists("gs://bucket/photos/1.jpg") and not object_stores.exists("gs://bucket/photos/2.jpg")
        with pytest.raises(UsageError, match=r"gs://no-such-bucket/x can't be .*See that the bucket exists"):
            object_stores.read("gs://no-such-bucket/x")
        object_stores.delete(["gs://bucket/photos/1.jpg"])
        assert get("gs://bucket/photos/1.jpg") == ("not_found", 1)
