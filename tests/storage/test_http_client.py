"""The HTTP client against servers that mean harm, and what it keeps open. Its promises to images:
tests/transforms/fetch.
"""

import errno
import queue
import resource
import threading
import time

import pytest
from labelbeam.storage import http_client
from labelbeam.storage.errors import ResourcesError, StorageError
from labelbeam.storage.read_options import ReadOptions

from tests.fakes.http_server import MisbehavingServer

MAX_BYTES = 1_000_000
WAIT_S = 30


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"a.jpg": b"image"}) as server:
        yield server


def failure(url, **options):
    with pytest.raises(StorageError) as raised:
        http_client.get(url, ReadOptions(**{"max_bytes": MAX_BYTES, "retries": 0, "deadline_s": 1, **options}))
    return raised.value


def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("what", ["header", "headers", "chunk-size", "trailer", "continues"])
def test_what_never_ends_takes_neither_memory_nor_more_time_than_there_is(server, what):
    before, started = peak_kib(), time.monotonic()
    assert failure(server.url(f"/endless/{what}")).kind in ("unreachable", "timeout")
    assert time.monotonic() - started < 30
    assert peak_kib() - before < 20_000


@pytest.mark.parametrize("route, asked", [("files", 5_000_000), ("gzip", MAX_BYTES * 10)])
def test_a_body_that_is_not_small_waits_for_room_and_its_deadline_too(server, route, asked):
    server.files["large.jpg"] = bytes(range(250)) * 20_000
    requests, ended = queue.Queue(), threading.Event()
    fetch = http_client.start(
        server.url(f"/{route}/large.jpg"),
        ReadOptions(max_bytes=MAX_BYTES * 10, deadline_s=1.5),
        lambda fetch: ended.set(),
        lambda num_bytes, go_on: requests.put((num_bytes, go_on)),
    )
    num_bytes, go_on = requests.get(timeout=WAIT_S)
    assert not ended.wait(1.6)
    go_on()
    assert ended.wait(WAIT_S)
    assert fetch.body() == server.files["large.jpg"] and requests.empty()
    assert num_bytes == asked, "what is declared; the limit, where it says nothing of what is unpacked"


def test_what_is_cancelled_does_not_end_and_leaves_its_host_to_others(server):
    ended, options = [], ReadOptions(max_per_host=1)
    hanging = http_client.start(server.url("/hang"), options, ended.append)
    waiting = http_client.start(server.url("/files/a.jpg?waiting"), options, ended.append)
    waiting.cancel()
    hanging.cancel()
    assert http_client.get(server.url("/files/a.jpg"), options) == b"image"
    assert not ended and not server.count("/files/a.jpg?waiting")


def test_a_bomb_is_stopped_at_the_limit(server):
    failure(server.url("/status/500"))
    server_side = server.url("/gzip-bomb")
    failure(server_side, deadline_s=60)  # the fake's own memory
    before = peak_kib()
    assert failure(server_side, deadline_s=60).kind == "too_large"
    assert peak_kib() - before < 20_000


def test_an_encoding_that_nobody_asked_for(server):
    error = failure(server.url("/zstd"))
    assert error.kind == "truncated" and "Content-Encoding" in error.message


@pytest.mark.heavy
def test_many_endless_answers_at_once_stay_within_their_limits(server):
    before = peak_kib()
    kinds = []
    threads = [
        threading.Thread(
            target=lambda: kinds.append(failure(server.url("/endless"), deadline_s=60, max_per_host=64).kind)
        )
        for _ in range(64)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds == ["too_large"] * 64
    assert peak_kib() - before < 300 * 1024


def test_few_connections_stay_open_whatever_the_number_of_hosts(monkeypatch):
    """Each server on 127.0.0.1 with its port is a host of its own."""
    servers = [MisbehavingServer({"a.jpg": b"image"}) for _ in range(5)]
    try:
        for server in servers:
            server.__enter__()
            assert http_client.get(server.url("/files/a.jpg"), ReadOptions()) == b"image"
    finally:
        http_client.close_idle()
        for server in servers:
            server.__exit__()


def test_a_process_without_file_descriptors_says_so(server):
    http_client.close_idle()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ResourcesError, match="ulimit -n") as raised:
            http_client.get(server.url("/files/a.jpg"), ReadOptions())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised.value.errno == errno.EMFILE
    assert http_client.get(server.url("/files/a.jpg"), ReadOptions()) == b"image"
