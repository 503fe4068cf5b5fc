"""What may be read, and that credentials show nowhere: through `read_bytes` against real local servers."""

import socket
import time

import pytest
from labelbeam.storage import http_client, read_policy
from labelbeam.storage.http import transfer
from labelbeam.storage.read_policy import is_public
from labelbeam.storage.redaction import redact, redact_name, without_credentials
from labelbeam.transforms.elements import ImageError, ImageFacts, ImageReference, MemberLocation
from labelbeam.transforms.fetch.options import ReadOptions
from labelbeam.transforms.fetch.read_bytes import read_bytes

from tests.fakes.http_server import MisbehavingServer

BODY = b"image" * 100


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"a.jpg": BODY}) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No connection of an earlier test is used again, and no proxy of this machine; what a test sets is read anew."""
    http_client.close_idle()
    transfer.proxies.cache_clear()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    transfer.proxies.cache_clear()


def read(uri, location=None, **options):
    options = ReadOptions(retries=0, deadline_s=30, **options)
    try:
        return read_bytes(ImageReference(uri, location), options, ImageFacts())
    except ImageError as error:
        return error


def allowing(*schemes):
    return {"allow_schemes": frozenset(schemes)}


class TestSchemes:
    def test_only_those_allowed_are_read(self, server, tmp_path):
        (tmp_path / "a.jpg").write_bytes(BODY)
        path, url = str(tmp_path / "a.jpg"), server.url("/files/a.jpg")
        for uri in (path, f"file://{path}", f"FILE://{path}"):
            assert read(uri, **allowing("file")) == BODY
            error = read(uri, **allowing("http", "s3"))
            assert error.kind == "forbidden" and "--allow-schemes" in error.message and "(http, s3)" in error.message
        assert read(url, **allowing("http")) == read(url) == read(path) == BODY
        before = len(server.requests)
        for uri in (url, url.replace("http", "HTTP")):
            assert read(uri, **allowing("file", "https")).kind == "forbidden"
        assert len(server.requests) == before

    def test_members_of_containers_are_read_wherever_those_lie(self, tmp_path):
        location = MemberLocation(str(tmp_path / "missing.tar"), "tar", 0, 10)
        assert read("http://host/shard.tar#a.jpg", location, **allowing("http")).kind == "not_found"

    def test_redirects_obey_them_too(self, server):
        down = server.url("/redirect?to=https://127.0.0.1:1/a.jpg")
        assert read(down, **allowing("http")).kind == "forbidden"
        assert read(down, **allowing("http", "https")).kind == "unreachable"


class TestPublicHosts:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::a00:1",
            "2001:db8::1",
        ],
    )
    def test_addresses_that_are_not(self, address):
        assert not is_public(address)

    @pytest.mark.parametrize(
        "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    )
    def test_addresses_that_are(self, address):
        assert is_public(address)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
    def test_a_server_in_here_is_never_even_connected_to(self, server, host):
        before = server.connections
        error = read(f"http://{host}:{server.port}/files/a.jpg", public_hosts_only=True)
        assert error.kind == "forbidden" and "--public-hosts-only" in error.message
        assert server.connections == before

    def test_connections_that_others_have_made_are_not_used(self, server):
        url = server.url("/files/a.jpg")
        assert read(url) == BODY
        assert read(url, public_hosts_only=True).kind == "forbidden"

    def test_the_address_that_is_checked_is_the_one_connected_to(self, server, monkeypatch):
        """libcurl asks with the address of the socket that it is about to open: a name can't turn to another one in
        between.
        """
        checked = []
        monkeypatch.setattr(read_policy, "is_public", lambda address: checked.append(address) or address == "127.0.0.1")
        assert read(f"http://localhost:{server.port}/files/a.jpg", public_hosts_only=True) == BODY
        assert "127.0.0.1" in checked
        assert read(f"http://127.0.0.2:{server.port}/files/a.jpg", public_hosts_only=True).kind == "forbidden"
        assert checked[-1] == "127.0.0.2"

    def test_a_connection_that_was_checked_is_used_again(self, server, monkeypatch):
        monkeypatch.setattr(read_policy, "is_public", lambda address: True)
        before = server.connections
        for _ in range(3):
            assert read(server.url("/files/a.jpg"), public_hosts_only=True) == BODY
        assert server.connections == before + 1

    def test_redirects_are_checked(self, server, monkeypatch):
        monkeypatch.setattr(read_policy, "is_public", lambda address: address == "127.0.0.1")
        with MisbehavingServer({"a.jpg": BODY}) as inner:
            target = f"http://127.0.0.2:{inner.port}/files/a.jpg"
            assert read(server.url(f"/redirect?to={target}"), public_hosts_only=True).kind == "forbidden"
            assert not inner.requests

    def test_no_proxy_is_asked(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url(""))
        before = server.connections
        assert read("http://localhost:1/a.jpg", public_hosts_only=True).kind == "forbidden"
        assert server.connections == before


class TestProxies:
    """A proxy gets the whole URL in its request line; to the misbehaving server that is a path of its own."""

    def test_is_asked_with_its_own_credentials(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url("").replace("://", "://me:secret@"))
        error = read("http://images.example/a.jpg")
        assert error.kind == "not_found" and "secret" not in error.message
        assert server.requests[-1].path == "http://images.example/a.jpg"
        assert server.requests[-1].headers["Proxy-Authorization"].startswith("Basic ")

    def test_is_left_out_for_hosts_that_the_environment_names(self, server, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        assert read(server.url("/files/a.jpg")).kind == "unreachable"
        http_client.close_idle()
        transfer.proxies.cache_clear()
        monkeypatch.setenv("no_proxy", "127.0.0.1,example.org")
        assert read(server.url("/files/a.jpg")) == BODY

    def test_that_hangs_does_not_stretch_the_deadline(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(ImageError, match="0.3 s") as raised:
                read_bytes(ImageReference("https://images.example/a.jpg"), ReadOptions(deadline_s=0.3), ImageFacts())
        assert raised.value.kind == "timeout"


class TestCredentials:
    @pytest.mark.parametrize(
        "uri, shown",
        [
            ("https://user:pass@host/a.jpg?w=1", "https://host/a.jpg?w=1"),
            ("HTTP://token@host:8080/a@b.jpg", "HTTP://host:8080/a@b.jpg"),
            ("http://user:p@ss w@host", "http://host"),
            ("https://host/a@b.jpg", "https://host/a@b.jpg"),
            ("https://host?mail=a@b", "https://host?mail=a@b"),
            ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
            ("/photos/https://a@b.jpg", "/photos/https://a@b.jpg"),
            ("https://host:8080/a@b.jpg", "https://host:8080/a@b.jpg"),
            ("https://user:pa/s#s?x@host/a.jpg", "https://host/a.jpg"),
            ("sftp://user:pass@host/a.jpg", "sftp://host/a.jpg"),
            ("http://[::1]:80/a@b.jpg?w=1", "http://[::1]:80/a@b.jpg?w=1"),
            ("http://h/a?w=1&X-Amz-Signature=ab%2Bc&n=2", "http://h/a?w=1&X-Amz-Signature=REDACTED&n=2"),
            ("https://h/a?sv=1&sig=x&AWSAccessKeyId=y", "https://h/a?sv=1&sig=REDACTED&AWSAccessKeyId=REDACTED"),
            ("http://h/?u=http%3A%2F%2Fi%3Ftoken%3Dx%26n%3D2", "http://h/?u=http%3A%2F%2Fi%3Ftoken%3DREDACTED%26n%3D2"),
            ("http://h/?u=http://a:b@i/c", "http://h/?u=http://i/c"),
            ("http://h/a?design=1&key=a.jpg&sigma=2", "http://h/a?design=1&key=a.jpg&sigma=2"),
            ("/photos/a?token=1&b://c.jpg", "/photos/a?token=1&b://c.jpg"),
            (
                "abfs://container@account.dfs.core.windows.net/a.jpg",
                "abfs://container@account.dfs.core.windows.net/a.jpg",
            ),
        ],
    )
    def test_uri_for_tables(self, uri, shown):
        assert without_credentials(uri) == shown

    @pytest.mark.parametrize(
        "text, shown",
        [
            ("GET https://u:p@h/a.jpg?X-Amz-Signature=abc&b=1 failed", "GET https://h/a.jpg?… failed"),
            ("with url: /a.jpg?sig=a%2Bb (Caused by x)", "with url: /a.jpg?… (Caused by x)"),
            ("'https://u:p@h/?token=1', 'http://v:q@i/'", "'https://h/?…', 'http://i/'"),
            ("did you mean --x? a=1 is fine", "did you mean --x? a=1 is fine"),
            ("ftp://u:p/w@h/a.jpg and https://h:80/b@c.jpg", "ftp://h/a.jpg and https://h:80/b@c.jpg"),
            ("no connection to http://u:p@h: x@y", "no connection to http://h: x@y"),
            ("a\x1b[2Jb\rc\u202ed.jpg\n\té", "a\\x1b[2Jb\\rc\\u202ed.jpg\n\té"),
        ],
    )
    def test_text(self, text, shown):
        assert redact(text) == shown

    def test_a_name_stays_on_one_line(self):
        assert redact_name("http://u:p@h/a\nb\tc.jpg") == "http://h/a\\nb\\tc.jpg"

    @pytest.mark.parametrize("piece", ["a://b:", "a://b@", "a://", "?a", "?a=", "@", "&x_", "a:/", "&token", "%3F"])
    def test_takes_time_in_proportion_to_the_text(self, piece):
        started = time.process_time()
        for text in ("http://" + piece * 30_000, "@ " + piece * 30_000 + "@", "x@" + piece * 30_000):
            redact(text)
            without_credentials(text)
        assert time.process_time() - started < 2
