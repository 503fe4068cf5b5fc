"""A real HTTP server on localhost whose routes misbehave in the ways that servers do.

    with MisbehavingServer({"cat.jpg": jpeg}) as server:
        server.url("/files/cat.jpg")

| route | what it does |
|---|---|
| `/files/NAME` | the file, with its length and an ETag of its content; HEAD requests too |
| `/silent/NAME` | the file, with neither ETag nor Last-Modified |
| `/no-head/NAME` | the file, and 405 for HEAD requests |
| `/chunked/NAME` | the file, in chunks, without its length |
| `/gzip/NAME` | the file, gzip-encoded although nobody asked for it |
| `/private/NAME` | the file for `user:pa ss`, else 401 |
| `/status/CODE` | that status, always |
| `/flaky/CODE/TIMES/NAME` | that status for the first TIMES requests, then the file |
| `/busy/SECONDS/NAME` | 429 with `Retry-After: SECONDS` once, then the file |
| `/limited/NAME` | 429 with `Retry-After: 1` until `refuse_until`, then the file |
| `/hang` | takes the request and never answers |
| `/drip/NAME` | the file's length, then a byte of it every 50 ms |
| `/drip-headers` | a byte of a header every 50 ms, for ever |
| `/loop` | redirects to itself |
| `/redirect?to=URL` | redirects there |
| `/declares-more/NAME` | a Content-Length that is 10 bytes too large |
| `/declares-less/NAME` | a Content-Length that is 10 bytes too small |
| `/declares-huge` | a Content-Length of a terabyte |
| `/endless` | chunks for ever, without a length |
| `/endless/WHAT` | a `header`, `headers`, a `chunk-size`, a `trailer` or `continues` (100 Continue) for ever |
| `/gzip-bomb` | 100 MB of zeros, gzip-encoded |
| `/zstd` | a body in an encoding that nobody asked for |
| `/reset` | resets the connection in the middle of a body |
| `/reset/TIMES/NAME` | resets the first TIMES connections before any answer, then the file |

Not for load: one thread a connection, Python's own parser.
"""

import base64
import datetime
import functools
import gzip
import ipaddress
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509  # a dependency of Beam's
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DRIP_S = 0.05
_LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"  # stores say so, and when an object changed

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n"
_FLOODS = {
    "header": (_OK + b"X: ", b"x"),
    "headers": (_OK, b"X: y\r\n"),
    "chunk-size": (_CHUNKED + b"\r\n1;", b"x"),
    "trailer": (_CHUNKED + b"\r\n1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()


@dataclass(frozen=True)
class Request:
    """A request that has arrived: its path with the query, and its headers."""

    path: str
    headers: Message


class MisbehavingServer:
    """Serves `files` by the routes above, on a free port of localhost, while its `with` block lasts.

    With a certificate (from `make_certificate`) it speaks https; clients trust it where SSL_CERT_FILE names it.

    Attributes:
      files: name -> bytes; may be changed while the server runs.
      requests: everything asked for so far, in the order of arrival.
      connections: how many connections have been accepted.
      most_active: the most requests that have been under way at once.
      refuse_until: `time.monotonic()` until which `/limited` answers 429.
    """

    def __init__(self, files: dict[str, bytes] | None = None, certificate: Path | None = None):
        self.files = dict(files or {})
        self.requests: list[Request] = []
        self.connections = 0
        self.most_active = self.active = 0
        self.refuse_until = 0.0
        self._seen = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._scheme = "http" if certificate is None else "https"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> "MisbehavingServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    def count(self, path: str) -> int:
        """How often a path has been asked for."""
        with self._lock:
            return sum(request.path == path for request in self.requests)


def make_certificate(path: Path) -> Path:
    """Writes a self-signed certificate for 127.0.0.1, with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "labelbeam tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


class _Server(ThreadingHTTPServer):
    owner: MisbehavingServer
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def process_request(self, request, client_address):
        self.owner.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Clients of these routes hang up: nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format, *args):
        """Silent."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        owner = self.server.owner
        with owner._lock:
            owner.requests.append(Request(self.path, self.headers))
            earlier = owner._seen[self.path]
            owner._seen[self.path] += 1
            owner.active += 1
            owner.most_active = max(owner.most_active, owner.active)
        try:
            self.answer(earlier)
        finally:
            with owner._lock:
                owner.active -= 1

    def answer(self, earlier):
        route, *rest = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        answer = getattr(self, "answer_" + route.replace("-", "_"), None)
        if answer is None:
            self.send_plain(404)
        else:
            answer(rest, earlier)

    def send_plain(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, name, declare=0, tell=True):
        body = self.server.owner.files.get(name)
        if body is None:
            return self.send_plain(404, b"no such file")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + declare))
        if tell:
            self.send_header("Last-Modified", _LAST_MODIFIED)
            self.send_header("ETag", f'W/"{zlib.crc32(body)}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = bool(declare)

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def drip(self, data):
        for i in range(len(data)):
            if self.server.owner._stopping.wait(_DRIP_S):
                return
            self.wfile.write(data[i : i + 1])
            self.wfile.flush()

    def send_chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def answer_files(self, rest, earlier):
        self.send_file("/".join(rest))

    def answer_silent(self, rest, earlier):
        self.send_file(rest[0], tell=False)

    def answer_no_head(self, rest, earlier):
        self.send_plain(405) if self.command == "HEAD" else self.send_file(rest[0])

    def answer_chunked(self, rest, earlier):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = self.server.owner.files[rest[0]]
        for start in range(0, len(body), 100):
            self.send_chunk(body[start : start + 100])
        self.send_chunk(b"")

    def answer_gzip(self, rest, earlier):
        self.send_plain(200, gzip.compress(self.server.owner.files[rest[0]]), Content_Encoding="gzip")

    def answer_private(self, rest, earlier):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:pa ss").decode():
            self.send_file(rest[0])
        else:
            self.send_plain(401, WWW_Authenticate="Basic")

    def answer_status(self, rest, earlier):
        status = int(rest[0])
        self.send_plain(status, b"" if status in (204, 304) else b"sorry")

    def answer_flaky(self, rest, earlier):
        status, times, name = rest
        self.send_plain(int(status)) if earlier < int(times) else self.send_file(name)

    def answer_busy(self, rest, earlier):
        self.send_file(rest[1]) if earlier else self.send_plain(429, Retry_After=rest[0])

    def answer_limited(self, rest, earlier):
        refuse = time.monotonic() < self.server.owner.refuse_until
        self.send_plain(429, Retry_After="1") if refuse else self.send_file(rest[0])

    def answer_hang(self, rest, earlier):
        self.server.owner._stopping.wait()
        self.close_connection = True

    def answer_drip(self, rest, earlier):
        body = self.server.owner.files[rest[0]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.drip(body)

    def answer_drip_headers(self, rest, earlier):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self.drip(b"x" * 10_000)

    def answer_loop(self, rest, earlier):
        self.send_plain(302, Location="/loop")

    def answer_redirect(self, rest, earlier):
        target = parse_qs(urlsplit(self.path).query)["to"][0]
        self.send_plain(302, Location=target.encode().decode("latin-1"))  # unescaped UTF-8, as many servers send it

    def answer_declares_more(self, rest, earlier):
        self.send_file(rest[0], declare=10)

    def answer_declares_less(self, rest, earlier):
        self.send_file(rest[0], declare=-10)

    def answer_declares_huge(self, rest, earlier):
        self.send_response(200)
        self.send_header("Content-Length", str(10**12))
        self.send_header("Last-Modified", _LAST_MODIFIED)
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(b"\xff\xd8\xff")
        self.server.owner._stopping.wait()

    def answer_endless(self, rest, earlier):
        if rest and rest[0] in _FLOODS:
            return self.flood(*_FLOODS[rest[0]])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.owner._stopping.is_set():
            self.send_chunk(bytes(1000))

    def flood(self, start, piece):
        self.wfile.write(start)
        self.close_connection = True
        while not self.server.owner._stopping.is_set():
            self.wfile.write(piece * (1 + 10_000 // len(piece)))

    def answer_gzip_bomb(self, rest, earlier):
        self.send_plain(200, _bomb(), Content_Encoding="gzip")

    def answer_zstd(self, rest, earlier):
        self.send_plain(200, b"(\xb5/\xfd", Content_Encoding="zstd")

    def answer_reset(self, rest, earlier):
        if rest and earlier >= int(rest[0]):
            return self.send_file(rest[1])
        if not rest:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.send_header("Last-Modified", _LAST_MODIFIED)
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(bytes(100))
        self.reset()
