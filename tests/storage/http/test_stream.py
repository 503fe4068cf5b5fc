import pytest
from labelbeam.storage.errors import StorageError
from labelbeam.storage.http import transfer
from labelbeam.storage.http.stream import HttpStream
from labelbeam.storage.retry import RetryPolicy

from tests.fakes.file_server import Answer, file_server
from tests.fakes.http_server import MisbehavingServer

HASTY = RetryPolicy(retries=2, backoff_s=0.01, read_timeout_s=1.0)
BODY = bytes(range(256)) * 4000
MODIFIED = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def read(url, policy=HASTY):
    with HttpStream(url, policy) as stream:
        return stream.read()


def test_what_breaks_off_goes_on_where_it_was():
    with file_server() as files:
        files.answers["/list"] = Answer(BODY, at_once=300_000)
        assert read(f"{files.url}/list") == BODY
        starts = [wanted for _, wanted in files.requests]
        assert starts == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]  # more than the retries in a row


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_tag_all_is_sent_again_and_nothing_is_read_twice(etag):
    with file_server() as files:
        files.answers["/list"] = Answer(BODY, at_once=300_000, headers=MODIFIED, etag=etag)
        with HttpStream(f"{files.url}/list", HASTY) as stream:
            start = stream.read(100_000)
            files.answers["/list"].at_once = None
            assert start + stream.read() == BODY
        assert len(files.requests) == 2


@pytest.mark.parametrize("etag, headers", [('"2"', {}), (None, {"Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT"})])
def test_the_rest_of_another_version_is_not_taken(etag, headers):
    with file_server() as files:
        files.answers["/list"] = Answer(BODY, at_once=300_000, headers=MODIFIED, etag=etag and '"1"')
        with HttpStream(f"{files.url}/list", HASTY) as stream:
            stream.read(100_000)
            files.answers["/list"] = Answer(BODY[::-1], headers={**MODIFIED, **headers}, etag=etag)
            with pytest.raises(StorageError, match="another version"):
                stream.read()


def test_what_cannot_be_gone_on_with_is_an_error_at_once():
    with file_server() as files:
        files.answers["/list"] = Answer(BODY, at_once=300_000, etag=None)
        with pytest.raises(StorageError, match="ended its answer early") as error:
            read(f"{files.url}/list")
        assert error.value.kind == "truncated" and len(files.requests) == 1


def test_statuses():
    with MisbehavingServer({"a": b"abc"}) as server:
        assert read(server.url("/flaky/503/2/a")) == b"abc"
        for status, kind, requests in ((404, "not_found", 1), (403, "forbidden", 1), (500, "unreachable", 3)):
            with pytest.raises(StorageError, match=f"HTTP status {status}") as error:
                read(server.url(f"/status/{status}"))
            assert error.value.kind == kind
            assert server.count(f"/status/{status}") == requests


def test_silence_is_limited():
    with MisbehavingServer({"a": b"abc"}) as server:
        with pytest.raises(StorageError, match="sent nothing for 1 s") as error:
            read(server.url("/hang"), RetryPolicy(retries=0, read_timeout_s=1.0))
        assert error.value.kind == "timeout"


def test_credentials_go_to_their_own_server_alone():
    with MisbehavingServer({"a": b"abc"}) as server, MisbehavingServer({"a": b"abc"}) as other:
        with_credentials = server.url("/private/a").replace("//", "//user:pa%20ss@")
        assert read(with_credentials) == b"abc"
        away = server.url(f"/redirect?to={other.url('/private/a')}").replace("//", "//user:pa%20ss@", 1)
        with pytest.raises(StorageError, match="401"):
            read(away)


def test_redirects_are_followed_to_http_alone_and_five_times():
    with MisbehavingServer({"a": b"abc"}) as server:
        assert read(server.url("/redirect?to=/files/a")) == b"abc"
        with pytest.raises(StorageError, match="something other than http"):
            read(server.url("/redirect?to=file:///etc/passwd"))
        with pytest.raises(StorageError, match="5"):
            read(server.url("/loop"))


def test_through_the_proxy_of_the_environment(monkeypatch):
    with MisbehavingServer({"a": b"abc"}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url("").replace("//", "//me:secret@"))
        monkeypatch.setenv("no_proxy", "")
        transfer.proxies.cache_clear()
        try:
            assert read("http://lists.invalid/files/a") == b"abc"
        finally:
            transfer.proxies.cache_clear()
