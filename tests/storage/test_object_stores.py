"""Objects of S3, Google Cloud Storage and Azure, against servers in processes of their own: the same promises for
all.
"""

import base64
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from labelbeam.storage import files, object_stores
from labelbeam.storage.errors import StorageError, UsageError
from labelbeam.storage.read_options import ReadOptions
from labelbeam.storage.retry import RetryPolicy
from labelbeam.storage.stores import calls, clients, readers
from labelbeam.storage.stores import options as store_options
from labelbeam.transforms.sources.find_files import find_files

from tests.fakes.store_servers import (
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    NO_AZURITE,
    azurite,
    azurite_binary,
    free_port,
    make_azurite_container,
    moto_server,
    new_bucket,
    s3_filesystem,
    tcp_proxy,
)

KEYS_IN_PAGE = {"moto": 4, "seaweedfs": 1000}  # of a listing
BODY = bytes(range(256)) * 100
SEAWEEDFS = pytest.param("seaweedfs", marks=pytest.mark.heavy)  # which takes ten seconds to start
WITH_KEYS = pytest.mark.parametrize("store", [SEAWEEDFS, "az"], indirect=True)  # the others let anybody in
MANY = 16


class Store(NamedTuple):
    """A store with an empty bucket: its URI; where its server listens; `configure` sends labelbeam to a port, with
    another secret if one is given; `keys_in_page` of its listings."""

    bucket: str
    port: int
    configure: Callable[..., None]
    keys_in_page: int


@pytest.fixture(scope="module")
def moto():
    with moto_server(MOTO_S3_DEFAULT_MAX_KEYS=str(KEYS_IN_PAGE["moto"])) as port:
        yield port


@pytest.fixture(scope="module")
def gcs(moto):
    port = free_port()
    with tcp_proxy(port, moto):  # which passes conditions on as S3 wants them
        yield port


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    if azurite_binary() is None:
        pytest.skip(NO_AZURITE)
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield int(url.split(":")[2].partition("/")[0])


def configure_s3(port, secret="b"):
    keys = ("aws_access_key_id=a", f"aws_secret_access_key={secret}", "aws_region=us-east-1")
    store_options.configure([f"aws_endpoint=http://127.0.0.1:{port}", *keys])


def configure_gcs(port):
    store_options.configure([f"gcs_base_url=http://127.0.0.1:{port}", "gcs_bearer_token=any"])


def configure_azure(port, secret=AZURITE_KEY):
    endpoint = f"azure_endpoint=http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"
    store_options.configure([endpoint, f"account_name={AZURITE_ACCOUNT}", f"account_key={secret}"])


@pytest.fixture(params=["moto", SEAWEEDFS, "gs", "az"])
def store(request, monkeypatch):
    """A store of each kind, S3 by two servers, with a new bucket."""
    name, keys_in_page = new_bucket(), KEYS_IN_PAGE.get(request.param, KEYS_IN_PAGE["moto"])
    if request.param == "az":
        scheme, port, configure = "az", request.getfixturevalue("azure"), configure_azure
        make_azurite_container(f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}", name)
    elif request.param == "gs":
        s3_filesystem(request.getfixturevalue("moto"), name)
        scheme, port, configure = "gs", request.getfixturevalue("gcs"), configure_gcs
    else:
        scheme, port, configure = "s3", request.getfixturevalue(request.param), configure_s3
        s3_filesystem(port, name)
    configure(port)
    monkeypatch.setattr(calls, "STORE_POLICY", RetryPolicy(deadline_s=20, backoff_s=0.2, retries=100))
    yield Store(f"{scheme}://{name}", port, configure, keys_in_page)
    store_options.configure(())
    clients.close()


def get(uri, **settings):
    """Bytes or the kind of the error, and the number of attempts."""
    attempts = []
    try:
        options = ReadOptions(**{"backoff_s": 0.01, **settings})
        return object_stores.get(uri, options, lambda: attempts.append(1)), len(attempts)
    except StorageError as error:
        return error.kind, len(attempts)


def test_objects_are_written_read_listed_and_deleted(store):
    bucket = store.bucket
    for key in ("out/images/b.parquet", "out/images/ä b#?.parquet", "out/imagesx", "photos/1.jpg"):
        files.write_atomically(f"{bucket}/{key}", memoryview(BODY))
    assert files.read(f"{bucket}/out/images/ä b#?.parquet") == BODY
    assert get(f"{bucket}/photos/1.jpg") == (BODY, 1)
    parts = [f"{bucket}/out/images/b.parquet", f"{bucket}/out/images/ä b#?.parquet"]
    assert files.list_files(f"{bucket}/out/images/*.parquet") == parts
    assert [(file.path, file.size_in_bytes) for file in files.list_below(f"{bucket}/out/images")] == [
        (part, len(BODY)) for part in parts
    ]
    assert files.list_files(f"{bucket}/nothing/*.parquet") == []
    assert [file.uri for file in find_files(f"{bucket}/photos")] == [f"{bucket}/photos/1.jpg"]
    assert [file.uri for file in find_files(f"{bucket}/photos/1.jpg")] == [f"{bucket}/photos/1.jpg"]
    files.delete([f"{bucket}/photos/1.jpg"] * 2)  # nor is one that isn't there an error
    assert not object_stores.exists(f"{bucket}/photos/1.jpg") and object_stores.exists(parts[0])
    assert get(f"{bucket}/photos/1.jpg") == ("not_found", 1)
    with pytest.raises(FileNotFoundError):
        files.read(f"{bucket}/photos/1.jpg")


def test_listing_asking_and_reading_tell_the_same_version_until_the_object_is_replaced(store):
    uri, read = f"{store.bucket}/photos/1.jpg", []
    for body in (BODY, BODY[::-1]):
        object_stores.write(uri, body)
        [listed] = find_files(f"{store.bucket}/photos")
        object_stores.get(uri, ReadOptions(), on_version=read.append)
        asked = files.version_of(uri, RetryPolicy())
        assert listed.version is not None and listed.version.etag and listed.version.num_bytes == len(BODY)
        assert (asked.etag, asked.num_bytes) == listed.version[::-2] == (read[-1].etag, read[-1].num_bytes)
    assert read[0].etag != read[1].etag


def test_an_object_is_created_once(store):
    path = f"{store.bucket}/log/1.json"
    assert files.create_exclusive(path, b"one")
    assert not files.create_exclusive(path, b"two")
    assert files.read(path) == b"one"


@WITH_KEYS
@pytest.mark.heavy
def test_of_many_who_create_an_object_at_once_one_does(store):
    """The log of an output folder rests on that. moto looks first and writes then."""
    with ThreadPoolExecutor(MANY) as threads:
        for number in range(3):
            path = f"{store.bucket}/log/{number}.json"
            created = list(threads.map(lambda who, path=path: files.create_exclusive(path, b"%d" % who), range(MANY)))
            assert sum(created) == 1 and files.read(path) == b"%d" % created.index(True)


@WITH_KEYS
def test_a_wrong_secret_is_forbidden(store):
    object_stores.write(f"{store.bucket}/a.jpg", BODY)
    store.configure(store.port, base64.b64encode(b"wrong").decode())
    assert get(f"{store.bucket}/a.jpg") == ("forbidden", 1)
    with pytest.raises(UsageError, match="a.jpg can't be written: .*See that .* credentials .* are those of its store"):
        object_stores.write(f"{store.bucket}/a.jpg", b"")
    with pytest.raises(UsageError, match="can't be listed: .*credentials"):
        list(object_stores.list_uris(store.bucket))


@pytest.mark.parametrize("fault, kind", [("--breaks", "truncated"), ("--falls-silent", "timeout")])
def test_a_server_that_fails_in_mid_read(store, fault, kind):
    object_stores.write(f"{store.bucket}/a.jpg", BODY)
    for times, expected in ((1, BODY), (2, kind)):
        port = free_port()
        with tcp_proxy(port, store.port, f"{fault}={times}"):
            store.configure(port)
            assert get(f"{store.bucket}/a.jpg", read_timeout_s=1, retries=1) == (expected, 2)


def test_large_objects_are_written_in_parts_and_read_in_ranges(store, monkeypatch):
    monkeypatch.setattr(readers, "RANGE_BYTES", 1 << 20)
    data = BODY * 500  # 12.8 MB: multipart above 5
    files.write_atomically(f"{store.bucket}/large", data)
    assert files.read(f"{store.bucket}/large") == data
    with files.open_to_read(f"{store.bucket}/large") as file:
        file.seek(-100, 2)
        assert file.read() == data[-100:] and file.tell() == len(data)
        file.seek(5_000_000)
        assert file.read(10) == data[5_000_000:5_000_010]
    assert get(f"{store.bucket}/large") == (data, 1)


def test_an_empty_object(store):
    files.write_atomically(f"{store.bucket}/empty", b"")
    assert files.read(f"{store.bucket}/empty") == b"" == get(f"{store.bucket}/empty")[0]


def test_listing_goes_on_behind_a_page_and_finds_names_by_their_beginning(store):
    keys = [f"{store.bucket}/n/{i:04}" for i in range(2 * store.keys_in_page + 1)]
    with ThreadPoolExecutor(MANY) as threads:
        list(threads.map(lambda key: object_stores.write(key, b""), [*keys, f"{store.bucket}/n-other"]))
    assert list(object_stores.list_uris(f"{store.bucket}/n/")) == keys
    assert list(object_stores.list_uris(f"{store.bucket}/n/0005")) == keys[5:6]
    assert list(object_stores.list_uris(f"{store.bucket}/n-")) == [f"{store.bucket}/n-other"]


def test_limit_of_bytes(store):
    object_stores.write(f"{store.bucket}/a.jpg", bytes(100))
    assert get(f"{store.bucket}/a.jpg", max_bytes=99) == ("too_large", 1)
    assert get(f"{store.bucket}/a.jpg", max_bytes=100) == (bytes(100), 1)


@pytest.mark.parametrize(
    "act",
    [lambda uri: object_stores.write(uri, b"x"), lambda uri: list(object_stores.list_uris(uri)), object_stores.read],
)
def test_a_bucket_that_does_not_exist_is_said_at_once(store, act):
    uri = f"{store.bucket.partition('://')[0]}://nosuchbucket/x"
    with pytest.raises(UsageError, match=f"{uri} can't be .*See that the bucket exists"):
        act(uri)


@pytest.mark.parametrize("name", ["a//b", "a/../b", "./b"])
def test_names_that_the_library_cannot_address_fail_alone(store, name):
    assert get(f"{store.bucket}/{name}") == ("not_found", 1)


def test_a_store_that_comes_back_is_waited_for(store, caplog):
    port, started, done = free_port(), threading.Event(), threading.Event()
    store.configure(port)

    def start_late():
        while not caplog.records and not done.wait(0.05):
            pass
        with tcp_proxy(port, store.port):
            started.set()
            done.wait()

    thread = threading.Thread(target=start_late)
    thread.start()
    try:
        object_stores.write(f"{store.bucket}/late", b"x")
        assert object_stores.read(f"{store.bucket}/late") == b"x"
    finally:
        done.set()
        thread.join()
    assert started.is_set()
    messages = [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()]
    assert len(messages) == 1
    assert messages[0].startswith(f"{store.bucket}/late can't be written now, trying again for up to")


def test_a_store_that_stays_away_ends_in_one_sentence(store, monkeypatch):
    store.configure(free_port())
    monkeypatch.setattr(calls, "STORE_POLICY", RetryPolicy(deadline_s=0.5, backoff_s=0.05, retries=100))
    with pytest.raises(OSError, match=r"/x can't be written: .*\(Connection refused\).* Tried for"):
        object_stores.write(f"{store.bucket}/x", b"x")
    with contextlib.suppress(OSError):
        assert get(f"{store.bucket}/x", retries=2) == ("unreachable", 3)
