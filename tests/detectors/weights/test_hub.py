"""The handle's way for real: a local HTTP server serves a model as tensorflow_hub asks for it."""

import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import prepare
from labelbeam.detectors.weights import hub
from labelbeam.storage.errors import WeightsError

from tests.fakes.saved_models import save_detector

FORBIDDEN = -1


def tar_gz(folder) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture
def hub_server(monkeypatch, tmp_path):
    """A server whose `answers` map a path to (body, bytes that are really sent), or to a path that it redirects to, or
    to a page that it forbids with; counts requests in `asked`.
    """
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlparse(self.path)
            server.asked.append(self.path)
            body, sent = server.answers.get(url.path, (None, 0))
            if isinstance(body, str):  # where it has gone
                self.send_response(302)
                self.send_header("Location", f"{body}?{url.query}")
                self.end_headers()
                return
            if sent == FORBIDDEN:
                self.send_response(403)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(body)
                return
            if body is None or parse_qs(url.query) != {"tf-hub-format": ["compressed"]}:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:sent])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_handle_is_downloaded_once(hub_server, model):
    archive = tar_gz(model)
    hub_server.answers["/acme/detector/1"] = (archive, len(archive))
    handle = f"{hub_server.url}/acme/detector/1"
    spec = prepare(load_config("mask_rcnn_inception_resnet_v2_1024x1024"), weights=handle)
    assert spec.fingerprint == hub.fingerprint(model) and spec.has_masks
    assert spec.load().detect([]) == []
    assert len(hub_server.asked) == 1


def test_an_interrupted_download_is_refused_and_the_next_try_succeeds(hub_server, model):
    archive = tar_gz(model)
    hub_server.answers["/acme/detector/1"] = (archive, len(archive) // 2)
    handle = f"{hub_server.url}/acme/detector/1"
    with pytest.raises(WeightsError, match="the download failed"):
        hub.resolve(handle)
    hub_server.answers["/acme/detector/1"] = (archive, len(archive))
    assert hub.fingerprint(hub.resolve(handle)) == hub.fingerprint(model)


def test_what_is_no_archive_is_refused(hub_server):
    page = b"<html>not a model</html>" * 100
    hub_server.answers["/acme/detector/1"] = (page, len(page))
    with pytest.raises(WeightsError, match=r"Expected a .tar.gz of a SavedModel"):
        hub.resolve(f"{hub_server.url}/acme/detector/1")


def test_an_archive_of_something_else_is_refused_and_not_kept(hub_server, model, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.h5").write_bytes(b"123")
    wrong, right = tar_gz(tmp_path / "other"), tar_gz(model)
    hub_server.answers["/acme/detector/1"] = (wrong, len(wrong))
    handle = f"{hub_server.url}/acme/detector/1"
    with pytest.raises(WeightsError, match=r"expected a SavedModel.*weights\.h5"):
        hub.resolve(handle)
    hub_server.answers["/acme/detector/1"] = (right, len(right))
    assert hub.fingerprint(hub.resolve(handle)) == hub.fingerprint(model)


def test_a_handle_that_does_not_exist(hub_server):
    with pytest.raises(WeightsError, match="404"):
        hub.resolve(f"{hub_server.url}/acme/nothing/1")


def test_a_handle_that_has_moved_is_followed(hub_server, model):
    """As tfhub.dev has moved to Kaggle."""
    archive = tar_gz(model)
    hub_server.answers["/acme/detector/1"] = ("/models/acme/detector/tensorFlow2/base/1", 0)
    hub_server.answers["/models/acme/detector/tensorFlow2/base/1"] = (archive, len(archive))
    assert hub.fingerprint(hub.resolve(f"{hub_server.url}/acme/detector/1")) == hub.fingerprint(model)


def test_a_page_that_forbids_is_refused_and_not_kept(hub_server, model):
    hub_server.answers["/acme/detector/1"] = (b"<html>log in</html>", FORBIDDEN)
    handle = f"{hub_server.url}/acme/detector/1"
    with pytest.raises(WeightsError, match="the download failed .*403.* download it elsewhere"):
        hub.resolve(handle)
    archive = tar_gz(model)
    hub_server.answers["/acme/detector/1"] = (archive, len(archive))
    assert hub.fingerprint(hub.resolve(handle)) == hub.fingerprint(model)


def test_the_fingerprint_changes_with_a_weight(model, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    assert hub.fingerprint(str(copy)) == hub.fingerprint(model)
    data = copy / "variables" / "variables.data-00000-of-00001"
    changed = bytearray(data.read_bytes())
    changed[0] ^= 1
    data.write_bytes(bytes(changed))
    assert hub.fingerprint(str(copy)) != hub.fingerprint(model)


def test_a_cache_that_lost_files_is_filled_again(hub_server, model):
    archive = tar_gz(model)
    hub_server.answers["/acme/detector/1"] = (archive, len(archive))
    handle = f"{hub_server.url}/acme/detector/1"
    for lost in ("variables/variables.data-00000-of-00001", "saved_model.pb"):
        (Path(hub.resolve(handle)) / lost).unlink()
        assert hub.fingerprint(hub.resolve(handle)) == hub.fingerprint(model)
    assert len(hub_server.asked) == 3
