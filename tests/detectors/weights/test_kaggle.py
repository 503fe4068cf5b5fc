"""Models of Kaggle through the real kagglehub, from a server that answers as Kaggle's does: a list of files, and for
each a redirect to a signed URL of a store.
"""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from labelbeam.detectors.weights import hub
from labelbeam.detectors.weights.find import find
from labelbeam.detectors.weights.source import WeightsSource
from labelbeam.storage.errors import WeightsError

from tests.fakes.saved_models import save_detector

pytest.importorskip("kagglehub")
HANDLE = "acme/detector/tensorFlow2/base/1"


class Kaggle:
    """What the server gives: the files below `folder`, or a status; `cut` leaves out the ends of files."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        self.status = 200
        self.cut = 0
        self.asked: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler, query: dict) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(path.rpartition("/")[2])
        if self.status != 200:
            self.send(request, self.status, b"<html>Permission denied</html>", "text/html")
        elif path.endswith("/ListModelInstanceVersionFiles"):
            files = [file for file in self.folder.rglob("*") if file.is_file()]
            listed = [{"name": str(file.relative_to(self.folder)), "size": file.stat().st_size} for file in files]
            self.send(request, 200, json.dumps({"files": listed, "nextPageToken": ""}).encode(), "application/json")
        elif path.endswith("/DownloadModelInstanceVersion"):
            request.send_response(302)
            request.send_header("Location", f"http://localhost/store/{query['path']}?X-Goog-Signature=s3cret")
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            body = (self.folder / path.removeprefix("/store/")).read_bytes()
            self.send(request, 200, body, "application/octet-stream", self.cut)

    def send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, cut: int = 0) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) - cut])


@contextlib.contextmanager
def serving(kaggle: Kaggle):
    """Runs the server, as an HTTP proxy: the address of Kaggle's own is fixed; gives the proxy's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kaggle.answer(self, {})

        def do_POST(self):
            kaggle.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture
def kaggle(model, tmp_path, monkeypatch):
    kaggle = Kaggle(model)
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    with serving(kaggle) as url:
        monkeypatch.setenv("http_proxy", url)
        yield kaggle


@pytest.mark.heavy
def test_a_handle_is_downloaded_once(kaggle, model):
    for form in (f"kaggle://{HANDLE}", HANDLE, f"https://www.kaggle.com/models/{HANDLE}"):
        assert hub.fingerprint(find(WeightsSource(form))) == hub.fingerprint(model)
    assert kaggle.asked.count("saved_model.pb") == 1


@pytest.mark.parametrize("status", [403, 404])
def test_what_kaggle_refuses_says_what_to_do(kaggle, model, status):
    kaggle.status = status
    with pytest.raises(WeightsError, match=rf"{HANDLE}: kagglehub can't fetch it .*{status}.* or download it from"):
        find(WeightsSource(HANDLE))
    kaggle.status = 200
    assert hub.fingerprint(find(WeightsSource(HANDLE))) == hub.fingerprint(model)


@pytest.mark.heavy
def test_a_download_that_breaks_off_is_refused_and_the_next_try_succeeds(kaggle, model):
    kaggle.cut = 10
    with pytest.raises(WeightsError, match="kagglehub can't fetch it") as caught:
        find(WeightsSource(HANDLE))
    assert "s3cret" not in str(caught.value)
    kaggle.cut = 0
    assert hub.fingerprint(find(WeightsSource(HANDLE))) == hub.fingerprint(model)
