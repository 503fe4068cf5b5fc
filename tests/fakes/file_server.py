"""An HTTP server of files that breaks off, redirects, forbids or changes what it serves, as a test says."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What a path gives: so many bytes of the body at most a request, a status, headers beside the usual ones."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    at_once: int | None = None
    etag: str | None = '"1"'


class FileServer:
    """Serves `answers` by path; `requests` holds the path and the Range header of each request."""

    def __init__(self, url: str):
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            files.requests.append((self.path, self.headers.get("Range")))
            answer = files.answers.get(self.path) or files.answers.get(self.path.partition("?")[0])
            if answer is None:
                self.send_error(404)
                return
            start, status = 0, answer.status
            wanted = self.headers.get("Range")
            if wanted and status == 200 and answer.etag and self.headers.get("If-Range") == answer.etag:
                start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(answer.body):
                    self.send_error(416)
                    return
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}")
            if answer.etag:
                self.send_header("ETag", answer.etag)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            rest = answer.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: answer.at_once])

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
