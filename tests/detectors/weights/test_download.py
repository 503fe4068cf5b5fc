"""Downloads against a server that breaks off, changes its file, forbids and sends pages."""

import hashlib
import os

import pytest
from labelbeam.detectors.weights import download as module
from labelbeam.storage.errors import WeightsError
from labelbeam.storage.http import transfer

from tests.fakes.file_server import Answer, file_server

BODY = os.urandom(300_000)
PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def server():
    with file_server() as files:
        yield files


@pytest.fixture
def fetch(server, tmp_path):
    def run(path="/m.tar.gz", sha256=None):
        waits = []
        module.download(server.url + path, tmp_path / "cache" / "m.tar.gz", sha256, wait=waits.append)
        return (tmp_path / "cache" / "m.tar.gz").read_bytes(), waits

    return run


def leftovers(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_whole_at_once(server, fetch, tmp_path):
    server.answers["/m.tar.gz"] = Answer(BODY)
    assert fetch(sha256=hashlib.sha256(BODY).hexdigest()) == (BODY, [])
    assert leftovers(tmp_path) == ["m.tar.gz"]


def test_it_goes_on_where_it_broke_off(server, fetch):
    server.answers["/m.tar.gz"] = Answer(BODY, at_once=120_000)
    content, waits = fetch()
    assert content == BODY and len(waits) == 2
    assert [wanted for _, wanted in server.requests] == [None, "bytes=120000-", "bytes=240000-"]


def test_progress_is_shown_without_secrets(server, fetch, caplog, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_S", 0)
    server.answers["/m.tar.gz"] = Answer(BODY)
    fetch("/m.tar.gz?token=s3cret")
    assert f"/m.tar.gz?…: 0 MB of {len(BODY)} bytes" in caplog.text and "s3cret" not in caplog.text


def test_through_the_proxy_of_the_environment(server, tmp_path, monkeypatch):
    server.answers["http://models.invalid/m.tar.gz"] = Answer(BODY)
    monkeypatch.setenv("http_proxy", server.url)
    transfer.proxies.cache_clear()
    try:
        module.download("http://models.invalid/m.tar.gz", tmp_path / "m.tar.gz")
    finally:
        transfer.proxies.cache_clear()
    assert (tmp_path / "m.tar.gz").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server, tmp_path):
    server.answers["/m.tar.gz"] = Answer(BODY[::-1], at_once=100_000, etag='"old"')

    def change(_):
        server.answers["/m.tar.gz"] = Answer(BODY, etag='"new"')

    module.download(f"{server.url}/m.tar.gz", tmp_path / "m.tar.gz", wait=change)
    assert (tmp_path / "m.tar.gz").read_bytes() == BODY


def test_without_a_tag_nobody_knows_whether_bytes_fit(server, fetch):
    server.answers["/m.tar.gz"] = Answer(BODY, at_once=120_000, etag=None)
    with pytest.raises(WeightsError, match="it broke off 5 times in a row"):
        fetch()
    assert {wanted for _, wanted in server.requests} == {None}


def test_redirects_are_followed(server, fetch):
    server.answers["/m.tar.gz"] = Answer(status=302, headers={"Location": "/elsewhere?token=secret"}, etag=None)
    server.answers["/elsewhere"] = Answer(BODY)
    assert fetch()[0] == BODY


@pytest.mark.parametrize(
    "answer, named",
    [
        (Answer(b"<html>Forbidden</html>", 403, PAGE), "HTTP status 403"),
        (Answer(b"<html>log in</html>", 200, PAGE), "the server sent a web page, which may ask you to log in"),
        (Answer(b"gone", 410), "HTTP status 410"),
    ],
)
def test_what_the_server_refuses_isnt_tried_again(server, fetch, tmp_path, answer, named):
    server.answers["/m.tar.gz"] = answer
    with pytest.raises(WeightsError, match=named):
        fetch("/m.tar.gz?token=secret")
    assert len(server.requests) == 1
    assert not leftovers(tmp_path)


def test_a_busy_server_is_asked_again_and_no_secret_is_told(server, fetch):
    server.answers["/m.tar.gz"] = Answer(b"busy", 503)
    with pytest.raises(WeightsError, match="it broke off 5 times in a row .HTTP status 503") as caught:
        fetch("/m.tar.gz?token=secret")
    assert len(server.requests) == 5 and "secret" not in str(caught.value)


def test_another_file_than_expected_isnt_kept(server, fetch, tmp_path):
    server.answers["/m.tar.gz"] = Answer(BODY)
    with pytest.raises(WeightsError, match="its SHA-256 is .*, expected 0000"):
        fetch(sha256="0" * 64)
    assert "m.tar.gz" not in leftovers(tmp_path)


def test_no_such_server(tmp_path):
    with pytest.raises(WeightsError, match="the download failed"):
        module.download("http://127.0.0.1:1/m.tar.gz", tmp_path / "m.tar.gz", wait=pytest.fail)
