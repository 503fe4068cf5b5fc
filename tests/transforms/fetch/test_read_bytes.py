import contextlib
import errno
import io
import os
import sys
import tarfile

import pytest
from apache_beam.io.filesystem import BeamIOError, FileSystem
from apache_beam.io.localfilesystem import LocalFileSystem
from labelbeam.storage.stores import clients
from labelbeam.transforms.elements import MemberLocation
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.options import ReadOptions

from tests.transforms.fetch.reading import BODY, kind_of, read


class TestLocalFiles:
    @pytest.mark.parametrize("name", ["a.jpg", "ä 日本.jpg", "per%20cent.jpg", "question?.jpg", "ha#sh.jpg"])
    def test_reads_paths_as_they_are(self, tmp_path, name):
        (tmp_path / name).write_bytes(BODY)
        assert read(tmp_path / name) == (BODY, 1)

    @pytest.mark.parametrize(
        "uri, name",
        [
            ("file://{}/a%20b.jpg", "a b.jpg"),
            ("file://localhost{}/%C3%A4.jpg", "ä.jpg"),
            ("FILE://{}/a?b#c.jpg", "a?b#c.jpg"),
        ],
    )
    def test_reads_file_uris(self, tmp_path, uri, name):
        (tmp_path / name).write_bytes(BODY)
        assert read(uri.format(tmp_path)) == (BODY, 1)

    def test_reads_a_name_that_is_not_utf8(self, tmp_path):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg")
        with open(path, "wb") as file:
            file.write(BODY)
        assert read(path) == (BODY, 1)
        assert read(f"file://{tmp_path}/%FF%FE.jpg") == (BODY, 1)

    @pytest.mark.parametrize(
        "name", ["missing.jpg", "a.jpg/below-a-file.jpg", "x" * 5000, "nul\0byte.jpg", "loop.jpg", "\ud800.jpg"]
    )
    def test_names_without_a_file_are_not_found(self, tmp_path, name):
        (tmp_path / "a.jpg").write_bytes(BODY)
        (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
        assert kind_of(f"{tmp_path}/{name}") == ("not_found", 1)

    def test_folder_is_not_an_image(self, tmp_path):
        (tmp_path / "folder.jpg").mkdir()
        assert kind_of(tmp_path / "folder.jpg") == ("not_an_image", 1)

    def test_pipe_and_device_never_block(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        assert kind_of(tmp_path / "pipe.jpg") == ("not_an_image", 1)
        assert kind_of("/dev/zero") == ("not_an_image", 1)

    def test_unreadable_is_forbidden(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(BODY)
        (tmp_path / "a.jpg").chmod(0)
        with unprivileged(tmp_path):
            assert kind_of(tmp_path / "a.jpg") == ("forbidden", 1)

    def test_limit_of_bytes(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(BODY)
        assert read(tmp_path / "a.jpg", ReadOptions(max_bytes=len(BODY))) == (BODY, 1)
        error, _ = read(tmp_path / "a.jpg", ReadOptions(max_bytes=len(BODY) - 1))
        assert error.kind == "too_large"
        assert error.message == "10,240 bytes, the limit is 10,239 (max_bytes)"

    def test_large_file_is_not_read_at_all(self, tmp_path):
        with open(tmp_path / "sparse.jpg", "wb") as file:
            file.truncate(1 << 40)
        assert kind_of(tmp_path / "sparse.jpg") == ("too_large", 1)

    def test_file_uri_of_another_host(self):
        error, _ = read("file://nas/images/a.jpg")
        assert error.kind == "unreachable"
        assert "'nas'" in error.message and "file:///images/a.jpg" in error.message


@contextlib.contextmanager
def unprivileged(folder):
    """As a user whom permissions hold for, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    for path in (folder, *folder.parents):  # pytest's folders are closed to others
        if path.stat().st_uid == 0 and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o011)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


class MemoryFileSystem(LocalFileSystem):
    """Beam finds filesystems by their subclasses and schemes: this one serves `memory://` from a dict."""

    files = {}

    @classmethod
    def scheme(cls):
        return "memory"

    def open(self, path, mime_type="", compression_type="auto"):
        entry = self.files.get(path, FileNotFoundError(errno.ENOENT, "no such blob"))
        if isinstance(entry, Exception):
            raise entry
        assert compression_type == "uncompressed", "a file named .gz is to be read as it is"
        return io.BytesIO(entry)


class CloudError(Exception):
    """As google.api_core's exceptions and Beam's S3ClientError: not an OSError, with the HTTP status as `code`."""

    def __init__(self, code):
        super().__init__(f"status {code}")
        self.code = code


class TestBeamFilesystems:
    def test_reads(self, monkeypatch):
        monkeypatch.setattr(MemoryFileSystem, "files", {"memory://b/a.jpg.gz": BODY * 300})
        assert read("memory://b/a.jpg.gz") == (BODY * 300, 1)

    def test_limit_of_bytes(self, monkeypatch):
        monkeypatch.setattr(MemoryFileSystem, "files", {"memory://b/a.jpg": BODY})
        assert kind_of("memory://b/a.jpg", ReadOptions(max_bytes=10_000)) == ("too_large", 1)

    @pytest.mark.parametrize(
        "error, kind",
        [
            (FileNotFoundError(2, "gone"), "not_found"),
            (OSError(errno.ENOENT, "Not found: s3://…"), "not_found"),
            (BeamIOError("open failed", {"memory://b/a.jpg": FileNotFoundError(2, "gone")}), "not_found"),
            (BeamIOError("open failed", {"memory://b/a.jpg": CloudError(403)}), "forbidden"),
            (CloudError(404), "not_found"),
            (CloudError(503), "unreachable"),
            (PermissionError(13, "no"), "forbidden"),
            (TimeoutError("slow"), "timeout"),
            (ConnectionResetError("gone"), "unreachable"),
        ],
    )
    def test_errors(self, monkeypatch, error, kind):
        monkeypatch.setattr(MemoryFileSystem, "files", {"memory://b/a.jpg": error})
        assert kind_of("memory://b/a.jpg") == (kind, 1)

    def test_unknown_scheme_says_what_to_install(self):
        assert "nosuch" not in {system.scheme() for system in FileSystem.get_all_subclasses()}
        error, _ = read("nosuch://bucket/a.jpg")
        assert error.kind == "unreachable" and "pip install" in error.message


class TestS3:
    """Against a server that answers what S3 would: `s3://files/a.jpg` is its route `/files/a.jpg`."""

    @pytest.fixture(autouse=True)
    def s3(self, server, use_store_options):
        pytest.importorskip("boto3")
        use_store_options(
            [
                "--s3_endpoint_url",
                server.url(""),
                "--s3_access_key_id=a",
                "--s3_secret_access_key=b",
                "--s3_region_name=us-east-1",
                "--s3_disable_ssl",
            ]
        )

    def test_reads_with_one_request_and_signs_it(self, server):
        before = len(server.requests)
        assert read("s3://files/a.jpg") == (BODY, 1)
        assert read("S3://files/ä ö.jpg") == (b"umlauts", 1)
        assert len(server.requests) == before + 2
        assert server.requests[-1].headers["Authorization"].startswith("AWS4-HMAC-SHA256")

    @pytest.mark.parametrize("code, kind", [(404, "not_found"), (403, "forbidden"), (500, "unreachable")])
    def test_statuses(self, code, kind):
        assert kind_of(f"s3://status/{code}", ReadOptions(retries=0)) == (kind, 1)

    def test_limit_of_bytes(self):
        assert kind_of("s3://files/a.jpg", ReadOptions(max_bytes=100)) == ("too_large", 1)

    def test_silence(self):
        assert kind_of("s3://hang/a.jpg", ReadOptions(read_timeout_s=0.1, retries=0)) == ("timeout", 1)

    def test_body_that_ends_early(self):
        assert kind_of("s3://declares-more/a.jpg", ReadOptions(retries=0)) == ("truncated", 1)


def test_a_store_whose_credentials_cannot_be_looked_for_says_what_to_install(monkeypatch):
    clients.close()
    monkeypatch.setitem(sys.modules, "google.auth", None)
    error, attempts = read("gs://bucket/a.jpg")
    assert (error.kind, attempts) == ("unreachable", 1)
    assert "'google-auth>=" in error.message and "skip_signature" in error.message


class TestMembers:
    @pytest.fixture
    def member(self, tmp_path):
        path = str(tmp_path / "shard.tar")
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("a.jpg")
            info.size = len(BODY)
            archive.addfile(info, io.BytesIO(BODY))
        with tarfile.open(path) as archive:
            info = archive.getmember("a.jpg")
        return MemberLocation(path, "tar", info.offset_data, info.size)

    def test_reads(self, member):
        assert read(f"{member.container}#a.jpg", location=member) == (BODY, 1)

    def test_a_location_wins_over_the_scheme_of_the_uri(self, member):
        assert read("http://127.0.0.1:9/shard.tar#a.jpg", location=member) == (BODY, 1)

    def test_limit_of_bytes(self, member):
        assert kind_of("shard.tar#a.jpg", ReadOptions(max_bytes=100), location=member) == ("too_large", 1)

    def test_missing_container(self, tmp_path):
        assert kind_of("x", location=MemberLocation(str(tmp_path / "no.tar"), "tar", 512, 10)) == ("not_found", 1)


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_bytes", 0),
        ("deadline_s", 0),
        ("connect_timeout_s", -1),
        ("retries", -1),
        ("read_threads", 0),
        ("prefetch_images", 0),
        ("decode_threads", 0),
    ],
)
def test_options_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        ExecutionOptions(**{field: value})
