"""A server of small JPEGs that answers each request after a fixed time, in a process of its own, for benchmarks of
fetching.

HTTP/1.1 with connections kept alive; 30 µs of a processor a request: the clients are what is measured. Any path gives
an image. Not a web server: it takes each request for a GET without a body. The servers of the tests can do more, and
are much slower.
"""

import asyncio
import io
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from ..photos import crops

DISTINCT = 50


@contextmanager
def image_server(latency_s: float, num_bytes: int) -> Iterator[str]:
    """Serves images of about `num_bytes` bytes; gives the server's URL, without a slash at the end.

    Args:
      latency_s: from when a request has arrived until its answer is sent.
      num_bytes: of an image, about.
    """
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(latency_s, num_bytes, there), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def small_jpegs(num_bytes: int, count: int = DISTINCT) -> list[bytes]:
    """Windows of photos, each as large as it may be for a file of `num_bytes` bytes."""
    return [_jpeg_below(num_bytes, Image.fromarray(crop)) for crop in crops(count)]


def _jpeg_below(num_bytes: int, image: Image.Image) -> bytes:
    for side in range(400, 16, -16):
        image.thumbnail((side, side))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        if file.tell() <= num_bytes:
            return file.getvalue()
    raise ValueError(f"num_bytes: too few for a JPEG: {num_bytes}")


def _serve(latency_s: float, num_bytes: int, connection) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b" % (len(jpeg), jpeg)
        for jpeg in small_jpegs(num_bytes)
    ]
    asyncio.run(_listen(latency_s, answers, connection))


async def _listen(latency_s: float, answers: list[bytes], connection) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _Answers(latency_s, answers), "127.0.0.1", 0, backlog=1024
    )
    connection.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Answers(asyncio.Protocol):
    def __init__(self, latency_s: float, answers: list[bytes]):
        self._latency_s = latency_s
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            path = request.split(b" ", 2)[1]
            answer = self._answers[sum(path) % len(self._answers)]
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, answer)
