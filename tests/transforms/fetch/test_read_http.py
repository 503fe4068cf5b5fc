"""Images read over http(s), from a server that misbehaves in every way that servers do."""

import socket
import time

import pytest
from labelbeam.transforms.fetch.options import ReadOptions

from tests.fakes.http_server import MisbehavingServer, make_certificate
from tests.transforms.fetch.reading import BODY, WAIT_S, kind_of, read


class TestHttp:
    @pytest.mark.parametrize(
        "path", ["/files/a.jpg", "/files/a.jpg?size=large#top", "/chunked/a.jpg", "/gzip/a.jpg", "/drip/short"]
    )
    def test_reads(self, server, path):
        server.files["short"] = b"abc"
        assert read(server.url(path)) == (b"abc" if "drip" in path else BODY, 1)

    @pytest.mark.parametrize("path", ["/files/ä ö.jpg", "/files/%C3%A4%20%C3%B6.jpg"])
    def test_reads_paths_escaped_or_not(self, server, path):
        assert read(server.url(path)) == (b"umlauts", 1)

    def test_asks_for_the_file_as_it_is_and_says_who_asks(self, server):
        read(server.url("/files/a.jpg?agent"), ReadOptions(user_agent="me (me@example.org)"))
        headers = next(request.headers for request in server.requests if request.path.endswith("?agent"))
        assert headers["Accept-Encoding"] == "identity"
        assert headers["User-Agent"] == "me (me@example.org)"

    def test_connections_are_used_again_after_images_and_after_failures(self, server):
        read(server.url("/files/a.jpg"))
        connections = server.connections
        for path in ("/files/a.jpg", "/chunked/a.jpg", "/status/404", "/status/500", "/redirect?to=/files/a.jpg"):
            read(server.url(path))
        assert server.connections == connections

    @pytest.mark.parametrize(
        "status, kind, attempts",
        [
            (404, "not_found", 1),
            (410, "not_found", 1),
            (401, "forbidden", 1),
            (403, "forbidden", 1),
            (451, "forbidden", 1),
            (408, "timeout", 3),
            (504, "timeout", 3),
            (429, "unreachable", 3),
            (500, "unreachable", 3),
            (502, "unreachable", 3),
            (503, "unreachable", 3),
            (400, "unreachable", 1),
            (418, "unreachable", 1),
            (501, "unreachable", 1),
            (304, "unreachable", 1),
            (599, "unreachable", 1),
        ],
    )
    def test_statuses(self, server, status, kind, attempts):
        error, tried = read(server.url(f"/status/{status}"))
        assert (error.kind, tried) == (kind, attempts)
        assert str(status) in error.message

    def test_message_names_the_status(self, server):
        assert read(server.url("/status/404"))[0].message == "HTTP status 404 Not Found"

    def test_answer_without_a_body_is_empty(self, server):
        assert read(server.url("/status/204")) == (b"", 1)

    @pytest.mark.parametrize("path", ["/flaky/500/1/a.jpg", "/flaky/429/1/a.jpg", "/reset/1/a.jpg"])
    def test_second_try_succeeds(self, path):
        # A server of its own: on a connection that was idle, libcurl asks again by itself.
        with MisbehavingServer({"a.jpg": BODY}) as server:
            assert read(server.url(path)) == (BODY, 2)

    def test_waits_as_long_as_the_server_asks_for(self, server):
        started = time.monotonic()
        assert read(server.url("/busy/1/a.jpg")) == (BODY, 2)
        assert time.monotonic() - started >= 1

    def test_does_not_wait_beyond_the_deadline(self, server):
        started = time.monotonic()
        assert kind_of(server.url("/busy/3600/a.jpg")) == ("unreachable", 1)
        assert time.monotonic() - started < WAIT_S

    def test_no_retries_if_none_are_wanted(self, server):
        assert kind_of(server.url("/status/500?once"), ReadOptions(retries=0)) == ("unreachable", 1)
        assert server.count("/status/500?once") == 1

    @pytest.mark.parametrize("path", ["/drip/a.jpg", "/drip-headers", "/hang"])
    def test_deadline_holds_whatever_the_server_does(self, server, path):
        started = time.monotonic()
        error, attempts = read(server.url(path), ReadOptions(deadline_s=0.4, retries=3))
        assert (error.kind, attempts) == ("timeout", 1)
        assert "0.4 s" in error.message
        assert 0.4 <= time.monotonic() - started < WAIT_S

    @pytest.mark.heavy
    def test_deadline_counts_all_tries_together(self, server):
        started = time.monotonic()
        options = ReadOptions(read_timeout_s=1, deadline_s=3.5, retries=100, backoff_s=0)
        error, attempts = read(server.url("/hang"), options)
        assert error.kind == "timeout" and attempts > 1
        assert time.monotonic() - started < WAIT_S

    def test_silence(self, server):
        options = ReadOptions(read_timeout_s=0.1, deadline_s=60, retries=1, backoff_s=0)
        error, attempts = read(server.url("/hang"), options)
        assert (error.kind, attempts) == ("timeout", 2)
        assert error.message == f"127.0.0.1:{server.port} sent nothing for 1 s"  # libcurl counts whole seconds

    def test_body_that_ends_early_is_asked_for_again_and_then_truncated(self, server):
        assert kind_of(server.url("/declares-more/a.jpg")) == ("truncated", 3)

    def test_body_longer_than_declared_ends_where_declared(self, server):
        assert read(server.url("/declares-less/a.jpg")) == (BODY[:-10], 1)
        assert read(server.url("/files/a.jpg"))[0] == BODY, "what was too much must not be the next answer"

    def test_reset_in_the_middle_of_a_body(self, server):
        kind, attempts = kind_of(server.url("/reset"))
        assert kind in ("unreachable", "truncated") and attempts == 3

    @pytest.mark.parametrize("path", ["/declares-huge", "/endless", "/files/a.jpg"])
    def test_limit_of_bytes(self, server, path):
        assert kind_of(server.url(path), ReadOptions(max_bytes=5000, deadline_s=WAIT_S)) == ("too_large", 1)

    def test_refused(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            error, attempts = read(f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg")
        assert (error.kind, attempts) == ("unreachable", 3)
        assert "refused" in error.message

    def test_unknown_name(self):
        error, _ = read("http://no-such-host.invalid/a.jpg")
        assert error.kind == "unreachable"
        assert error.message == "the name no-such-host.invalid can't be resolved"

    @pytest.mark.parametrize("errno, attempts", [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
    def test_only_names_that_may_be_resolved_later_are_tried_again(self, monkeypatch, errno, attempts):
        def resolve(*args, **kwargs):
            raise socket.gaierror(errno, "as the resolver says")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert kind_of("http://example.org/a.jpg") == ("unreachable", attempts)

    def test_plain_http_where_tls_is_expected(self, server):
        error, _ = read(server.url("/files/a.jpg").replace("http:", "https:"))
        assert error.kind == "unreachable" and "no secure connection" in error.message

    @pytest.mark.parametrize("url", ["http://", "http:///a.jpg", "http://[::1/a.jpg", "http://host:99999/a.jpg"])
    def test_malformed(self, url):
        assert kind_of(url) == ("unreachable", 0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(scope="module")
def secure(certificate):
    with MisbehavingServer({"a.jpg": BODY}, certificate) as server:
        yield server


class TestHttps:
    def test_reads_and_keeps_the_deadline(self, secure, certificate, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert read(secure.url("/files/a.jpg")) == (BODY, 1)
        assert read(secure.url("/flaky/503/1/a.jpg")) == (BODY, 2)
        for path in ("/drip/a.jpg", "/drip-headers"):
            assert kind_of(secure.url(path), ReadOptions(deadline_s=0.4)) == ("timeout", 1)

    def test_untrusted_certificate(self, certificate):
        with MisbehavingServer({"a.jpg": BODY}, certificate) as server:
            error, attempts = read(server.url("/files/a.jpg"))
        assert (error.kind, attempts) == ("unreachable", 1)
        assert "certificate" in error.message

    def test_redirected_to_https(self, server, secure, certificate, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert read(server.url("/redirect?to=" + secure.url("/files/a.jpg"))) == (BODY, 1)


class TestRedirects:
    @pytest.mark.parametrize("target", ["/files/a.jpg", "../files/a.jpg", "/redirect?to=/redirect?to=/files/a.jpg"])
    def test_followed(self, server, target):
        assert read(server.url("/redirect?to=" + target)) == (BODY, 1)

    def test_to_another_server(self, server):
        with MisbehavingServer({"b.jpg": b"other"}) as other:
            assert read(server.url("/redirect?to=" + other.url("/files/b.jpg"))) == (b"other", 1)

    def test_to_a_path_in_utf8(self, server):
        assert read(server.url("/redirect?to=/files/%C3%A4%20%C3%B6.jpg")) == (b"umlauts", 1)

    def test_loop_ends(self, server):
        before = server.count("/loop")
        error, attempts = read(server.url("/loop"))
        assert (error.kind, attempts) == ("unreachable", 1)
        assert "more than 5 redirects" in error.message
        assert server.count("/loop") - before == 6

    @pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.jpg", "data:image/png,x"])
    def test_never_to_another_scheme(self, server, target):
        error, _ = read(server.url("/redirect?to=" + target))
        assert error.kind == "forbidden"
        assert "redirected by 127.0.0.1" in error.message


class TestCredentials:
    def with_user(self, url):
        return url.replace("http://", "http://user:pa%20ss@", 1)

    def test_are_used(self, server):
        assert read(self.with_user(server.url("/private/a.jpg"))) == (BODY, 1)
        assert kind_of(server.url("/private/a.jpg")) == ("forbidden", 1)

    def test_stay_with_their_server(self, server):
        assert read(self.with_user(server.url("/redirect?to=/private/a.jpg"))) == (BODY, 1)
        with MisbehavingServer({"a.jpg": BODY}) as other:
            elsewhere = server.url("/redirect?to=" + other.url("/private/a.jpg"))
            assert kind_of(self.with_user(elsewhere)) == ("forbidden", 1)

    @pytest.mark.parametrize(
        "path",
        [
            "/status/404",
            "/status/500",
            "/loop",
            "/redirect?to=file:///x",
            "/reset",
            "/hang",
            "/declares-huge",
            "/declares-more/a.jpg",
        ],
    )
    def test_never_appear_in_messages(self, server, path):
        options = ReadOptions(read_timeout_s=0.05, deadline_s=WAIT_S, retries=1, backoff_s=0)
        error, _ = read(self.with_user(server.url(path)), options)
        assert not any(secret in error.message for secret in ("pa%20ss", "pa ss", "user:", "user@"))

    def test_never_appear_in_messages_without_a_server(self):
        for host in ("no-such-host.invalid", "127.0.0.1:1", ":x"):
            assert "pa%20ss" not in read(f"http://user:pa%20ss@{host}/")[0].message
