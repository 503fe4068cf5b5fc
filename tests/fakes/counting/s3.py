"""An S3 in memory that counts what is asked of it, in a thread of this process: requests by kind, and bytes.

Counts say what a job costs at any size; times of a busy machine don't. Answers what obstore's client asks for: objects,
ranges, conditional and multipart puts, listings in pages of 1,000. It looks at no signature.
"""

import bisect
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

PAGE = 1000  # objects in an answer to a listing, as S3 has it
LIST, GET, HEAD, PUT, DELETE = "LIST", "GET", "HEAD", "PUT", "DELETE"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_DATE = "2026-01-01T00:00:00.000Z"


class CountingS3:
    """What is stored, and what was asked for.

    Attributes:
      objects: by `bucket/key`.
      requests: number by (kind, folder), such as `images` of `bucket/out/images/part.parquet`.
      bytes_read, bytes_written: of bodies, by folder.
    """

    def __init__(self, port: int, page: int = PAGE):
        self.port, self._page = port, page
        self.objects: dict[str, bytes] = {}
        self._keys: list[str] = []
        self._uploads: dict[str, dict[int, bytes]] = {}
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Counts from now on."""
        self.requests: Counter[tuple[str, str]] = Counter()
        self.bytes_read: Counter[str] = Counter()
        self.bytes_written: Counter[str] = Counter()

    def count(self, kind: str, folder: str | None = None) -> int:
        """Requests of a kind, of one folder or of all."""
        return sum(n for (k, f), n in self.requests.items() if k == kind and folder in (None, f))

    @property
    def options(self) -> list[str]:
        """Beam's options with which labelbeam finds this store."""
        credentials = ["--s3_access_key_id=a", "--s3_secret_access_key=b", "--s3_region_name=us-east-1"]
        return [f"--s3_endpoint_url=http://127.0.0.1:{self.port}", *credentials]

    def put(self, key: str, data: bytes) -> None:
        """Stores an object without a request."""
        if key not in self.objects:
            bisect.insort(self._keys, key)
        self.objects[key] = data

    def remove(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def page(self, bucket: str, prefix: str, after: str) -> tuple[list[str], bool]:
        """Keys of a page of a listing, and whether there are more."""
        start = f"{bucket}/{prefix}"
        place = bisect.bisect_left(self._keys, start)
        if after:
            place = max(place, bisect.bisect_right(self._keys, f"{bucket}/{after}"))
        found = []
        for key in self._keys[place : place + self._page + 1]:
            if not key.startswith(start):
                break
            found.append(key)
        return found[: self._page], len(found) > self._page

    def start_upload(self) -> str:
        name = f"upload-{len(self._uploads)}"
        self._uploads[name] = {}
        return name

    def put_piece(self, upload: str, number: int, data: bytes) -> None:
        self._uploads[upload][number] = data

    def finish_upload(self, upload: str, key: str) -> None:
        self.put(key, b"".join(data for _, data in sorted(self._uploads.pop(upload).items())))


@contextmanager
def counting_s3(page: int = PAGE) -> Iterator[CountingS3]:
    """Serves an empty store while the context lasts, which lists so many objects with a request."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.store = CountingS3(server.server_address[1], page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    store: CountingS3


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, format, *args):
        pass

    def _asked(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        return unquote(url.path).strip("/"), query

    def _note(self, kind: str, key: str, read: int = 0, written: int = 0) -> None:
        folder = key.split("/")[2] if key.count("/") > 2 else key.rpartition("/")[2]
        with self.server.store.lock:
            self.server.store.requests[kind, folder] += 1
            self.server.store.bytes_read[folder] += read
            self.server.store.bytes_written[folder] += written

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self):
        path, query = self._asked()
        store = self.server.store
        if "list-type" in query:
            self._list(path, query)
            return
        data = store.objects.get(path)
        kind = HEAD if self.command == "HEAD" else GET
        if data is None:
            self._note(kind, path)
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
            return
        headers = {"ETag": _tag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if kind == HEAD:
            self._note(kind, path)
            self._answer(200, b"", {**headers, "Content-Length": str(len(data))})
            return
        status, body = 200, data
        if asked := _RANGE.fullmatch(self.headers.get("Range") or ""):
            first, last = asked.groups()
            start = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last), len(data) - 1) if first and last else len(data) - 1
            if start >= len(data):
                self._note(kind, path)
                self._answer(416)
                return
            status, body = 206, data[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self._note(kind, path, read=len(body))
        self._answer(status, body, headers)

    do_HEAD = do_GET

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        store, prefix = self.server.store, query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        with store.lock:
            keys, more = store.page(bucket, prefix, after)
            found = [(key.partition("/")[2], store.objects[key]) for key in keys]
        self._note(LIST, f"{bucket}/{prefix}/")
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_DATE}</LastModified><ETag>{escape(_tag(data))}</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
            for key, data in found
        )
        token = f"<NextContinuationToken>{escape(found[-1][0])}</NextContinuationToken>" if more else ""
        body = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>"
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})

    def do_PUT(self):
        path, query = self._asked()
        data, store = self._body(), self.server.store
        self._note(PUT, path, written=len(data))
        with store.lock:
            if "uploadId" in query:
                store.put_piece(query["uploadId"], int(query["partNumber"]), data)
            elif self.headers.get("If-None-Match") == "*" and path in store.objects:
                self._answer(412, b"<Error><Code>PreconditionFailed</Code><Message>exists</Message></Error>")
                return
            else:
                store.put(path, data)
        self._answer(200, b"", {"ETag": _tag(data)})

    def do_POST(self):
        path, query = self._asked()
        store, asked = self.server.store, self._body()
        if "delete" in query:
            keys = [unescape(key) for key in _KEY.findall(asked.decode())]
            self._note(DELETE, f"{path}/{keys[0]}")
            with store.lock:
                for key in keys:
                    store.remove(f"{path}/{key}")
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {"Content-Type": "application/xml"})
            return
        self._note(PUT, path)
        with store.lock:
            if "uploads" in query:
                name = store.start_upload()
                body = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            else:
                store.finish_upload(query["uploadId"], path)
                body = (
                    f"<CompleteMultipartUploadResult><ETag>{escape(_tag(b''))}</ETag></CompleteMultipartUploadResult>"
                )
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})

    def do_DELETE(self):
        path, _ = self._asked()
        self._note(DELETE, path)
        with self.server.store.lock:
            self.server.store.remove(path)
        self._answer(204)


def _tag(data: bytes) -> str:
    return f'"{hashlib.blake2b(data[:4096], digest_size=16).hexdigest()}"'
