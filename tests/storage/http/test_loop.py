"""The thread of all transfers, in processes: forked, interrupted, ended."""

import subprocess
import sys
import textwrap
import time

import pytest

from tests.fakes.http_server import MisbehavingServer

WAIT_S = 60


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"a.jpg": b"image"}) as server:
        yield server


def run(script, *args):
    """A script in a process of its own: its exit code, what it printed, and the seconds that it took to end after its
    last line."""
    before = "import os, signal, sys, threading, warnings\nfrom labelbeam.storage import http_client\n"
    before += "from labelbeam.storage.read_options import ReadOptions\n"
    command = [sys.executable, "-c", before + textwrap.dedent(script), *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines, ended = list(process.stdout), None
        ended = time.monotonic()
        _, errors = process.communicate(timeout=WAIT_S)
    return process.returncode, [line.strip() for line in lines], errors, time.monotonic() - ended


def test_a_fork_has_a_thread_of_its_own_and_leaves_its_parents_connections_alone(server):
    script = """
        options, url = ReadOptions(), sys.argv[1]
        for path in ("/hang", "/files/a.jpg?waiting"):
            other = url.replace("127.0.0.1", "localhost").replace("/files/a.jpg", path)
            http_client.start(other, ReadOptions(max_per_host=1), print)
        print(http_client.get(url, options))
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from Python 3.12 on
        child = os.fork()
        print(http_client.get(url, options), flush=True)
        if not child:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        print(http_client.get(url, options))
    """
    before = server.connections
    code, lines, errors, _ = run(script, server.url("/files/a.jpg"))
    assert (code, errors) == (0, "")
    assert sorted(lines) == ["0"] + ["b'image'"] * 4
    assert server.connections - before == 3, (
        "that which hangs, one of the parent that it uses again, and one of the child"
    )
    assert not server.count("/files/a.jpg?waiting")


def test_a_process_ends_at_once_whatever_hangs(server):
    script = """
        for number in range(5):
            http_client.start(f"{sys.argv[1]}?{number}", ReadOptions(), print)
        try:
            http_client.get(sys.argv[2], ReadOptions(retries=0))
        except Exception as error:
            print(error, flush=True)
    """
    code, lines, errors, seconds = run(script, server.url("/hang"), server.url("/status/404"))
    assert (code, lines, errors) == (0, ["HTTP status 404 Not Found"], "")
    assert seconds < 5


def test_an_interrupt_is_noticed_while_a_file_is_read(server):
    script = """
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            http_client.get(sys.argv[1], ReadOptions())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    started = time.monotonic()
    code, lines, errors, _ = run(script, server.url("/hang"))
    assert (code, lines, errors) == (0, ["interrupted"], "")
    assert time.monotonic() - started < 30
