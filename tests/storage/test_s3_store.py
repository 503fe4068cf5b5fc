"""Objects of S3, against a real moto server in a process of its own, with a proxy in front that can be killed."""

import threading
import uuid

import pytest
from labelbeam.storage import files as output_files
from labelbeam.storage import object_stores
from labelbeam.storage.errors import StorageError, UsageError
from labelbeam.storage.read_options import ReadOptions
from labelbeam.storage.retry import RetryPolicy
from labelbeam.transforms.sources.find_files import find_files

from tests.fakes.store_servers import free_port, moto_server, tcp_proxy

KEYS_IN_PAGE = 4  # of a listing

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def moto():
    with moto_server(MOTO_S3_DEFAULT_MAX_KEYS=str(KEYS_IN_PAGE)) as port:
        yield port


def options(port):
    return [
        f"--s3_endpoint_url=http://127.0.0.1:{port}",
        "--s3_access_key_id=a",
        "--s3_secret_access_key=b",
        "--s3_region_name=us-east-1",
    ]


@pytest.fixture
def bucket(moto, use_store_options):
    """A new bucket's URI; `labelbeam` knows where it is."""
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{moto}",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
    ).create_bucket(Bucket=name)
    use_store_options(options(moto))
    return f"s3://{name}"


def get(uri, **settings):
    attempts = []
    try:
        options = ReadOptions(backoff_s=0.01, **settings)
        return object_stores.get(uri, options, lambda: attempts.append(1)), len(attempts)
    except StorageError as error:
        return error.kind, len(attempts)


def test_objects_are_written_read_listed_and_deleted(bucket):
    data = bytes(range(256)) * 100
    for key in ("out/images/b.parquet", "out/images/ä b#?.parquet", "out/imagesx", "photos/1.jpg"):
        output_files.write_atomically(f"{bucket}/{key}", memoryview(data))
    assert output_files.read(f"{bucket}/out/images/ä b#?.parquet") == data
    assert get(f"{bucket}/photos/1.jpg") == (data, 1)
    assert output_files.list_files(f"{bucket}/out/images/*.parquet") == [
        f"{bucket}/out/images/b.parquet",
        f"{bucket}/out/images/ä b#?.parquet",
    ]
    assert output_files.list_files(f"{bucket}/nothing/*.parquet") == []
    assert [file.uri for file in find_files(f"{bucket}/photos")] == [f"{bucket}/photos/1.jpg"]
    assert [file.uri for file in find_files(f"{bucket}/photos/1.jpg")] == [f"{bucket}/photos/1.jpg"]
    object_stores.delete(f"{bucket}/photos/1.jpg")
    object_stores.delete(f"{bucket}/photos/1.jpg")  # nor is one that isn't there an error
    assert not object_stores.exists(f"{bucket}/photos/1.jpg")
    assert get(f"{bucket}/photos/1.jpg") == ("not_found", 1)
    with pytest.raises(FileNotFoundError):
        output_files.read(f"{bucket}/photos/1.jpg")


def test_create_makes_an_object_once(bucket):
    assert output_files.create_exclusive(f"{bucket}/log/1.json", b"one")
    assert not output_files.create_exclusive(f"{bucket}/log/1.json", b"two")
    assert output_files.read(f"{bucket}/log/1.json") == b"one"


def test_listing_goes_on_behind_a_page(bucket):
    keys = [f"{bucket}/n/{i}" for i in range(2 * KEYS_IN_PAGE + 1)]
    for key in keys:
        object_stores.write(key, b"")
    assert list(object_stores.list_uris(f"{bucket}/n/")) == keys


def test_limit_of_bytes(bucket):
    object_stores.write(f"{bucket}/a.jpg", bytes(100))
    assert get(f"{bucket}/a.jpg", max_bytes=99) == ("too_large", 1)


@pytest.mark.parametrize(
    "act", [lambda uri: object_stores.write(uri, b"x"), lambda uri: list(object_stores.list_uris(uri))]
)
def test_a_bucket_that_does_not_exist_is_said_at_once(bucket, act):
    with pytest.raises(
        UsageError, match=r"s3://no-such-bucket/x can't be .*bucket does not exist.*See that the bucket exists"
    ):
        act("s3://no-such-bucket/x")


def test_a_store_that_comes_back_is_waited_for(bucket, moto, use_store_options, caplog):
    port = free_port()
    use_store_options(options(port))
    done = threading.Event()

    def start_late():
        while not caplog.messages and not done.wait(0.01):
            pass
        with tcp_proxy(port, moto):
            done.wait()

    thread = threading.Thread(target=start_late)
    thread.start()
    try:
        object_stores.write(f"{bucket}/late", b"x")
        assert object_stores.read(f"{bucket}/late") == b"x"
    finally:
        done.set()
        thread.join()
    [warning] = caplog.messages
    assert warning.startswith(f"{bucket}/late can't be written now, trying again for up to")


def test_a_store_that_stays_away_ends_in_one_sentence(bucket, use_store_options, monkeypatch):
    use_store_options(options(free_port()))
    monkeypatch.setattr(object_stores, "STORE_POLICY", RetryPolicy(deadline_s=0.5, backoff_s=0.05, retries=100))
    with pytest.raises(
        OSError, match=r"/x can't be written: .*: error sending request \(Connection refused\).* Tried for"
    ):
        object_stores.write(f"{bucket}/x", b"x")
    kind, attempts = get(f"{bucket}/x", retries=2)
    assert (kind, attempts) == ("unreachable", 3)
