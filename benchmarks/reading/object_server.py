"""An object store where each object is there and has the same bytes, in a process of its own, for benchmarks of stores.

HTTP/1.1 with connections kept alive; answers GET, HEAD and ranges as far as clients of S3, Google's store and Azure's
look at the answer. Not a store: it takes no body and looks at no signature. What it can serve at most is measured by
`limit`, with bare sockets.
"""

import asyncio
import multiprocessing
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_RANGE = re.compile(rb"range: bytes=(\d+)-(\d*)", re.IGNORECASE)


@contextmanager
def object_server(num_bytes: int) -> Iterator[int]:
    """Serves objects of `num_bytes` random bytes; gives its port."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(num_bytes, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def limit(port: int, num_bytes: int, requests: int, connections: int) -> float:
    """Objects/s that the server gives to clients that only take the bytes; to be called in a fresh process."""
    threads = [
        threading.Thread(target=_take, args=(port, num_bytes, requests // connections)) for _ in range(connections)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests // connections * connections / (time.monotonic() - started)


def _take(port: int, num_bytes: int, requests: int) -> None:
    buffer = bytearray(num_bytes + 4096)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(requests):
            connection.sendall(b"GET /images/0.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            left = None
            while left is None or left:
                received = connection.recv_into(buffer)
                assert received, "the server hung up"
                if left is None:  # the header comes whole, and first
                    left = buffer.index(b"\r\n\r\n") + 4 + num_bytes
                left -= received


def _serve(num_bytes: int, connection) -> None:
    asyncio.run(_listen(os.urandom(num_bytes), connection))


async def _listen(data: bytes, connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answers(data), "127.0.0.1", 0, backlog=1024)
    connection.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Answers(asyncio.Protocol):
    def __init__(self, data: bytes):
        self._data = data
        self._received = b""
        self._whole = _header("200 OK", len(data)) + b"\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        header, body = self._whole, self._data
        if asked := _RANGE.search(request):
            first, last = asked.groups()
            start, end = int(first), min(int(last), len(body) - 1) if last else len(body) - 1
            body = body[start : end + 1]
            header = _header("206 Partial Content", len(body))
            header += b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (start, end, len(self._data))
        self._transport.write(header)
        if not request.startswith(b"HEAD"):
            self._transport.write(body)


def _header(status: str, num_bytes: int) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {num_bytes}\r\nAccept-Ranges: bytes\r\n"
        'ETag: "0123456789abcdef0123456789abcdef"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
    ).encode()
