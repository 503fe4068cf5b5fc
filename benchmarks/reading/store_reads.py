"""What does reading images from object stores cost, against the stores' own Python clients and Beam's filesystem?

    python -m benchmarks.reading.store_reads [--stores s3 gs az]

Reads objects of 100 KB, with as many threads as a job has: through labelbeam; through the store's own client (boto3,
google-cloud-storage, azure-storage-blob), one shared by all threads; and, from S3, through `FileSystems.open`. Each in
a fresh process, three rounds in turns, of which the median counts: images/s, processor time an image, memory. The
server is `object_server.py`, which is faster than any client, and whose own limit is printed; then, for Google's store
and Azure's, their emulators, which may be slower than labelbeam: there processor time tells more. Peers: the shared
client, Beam.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from labelbeam.storage import object_stores
from labelbeam.storage.stores import options as store_options
from labelbeam.transforms.execution_options import ExecutionOptions

from benchmarks.figures import Figure, arguments, in_own_process, peak_mib, publish
from tests.fakes.store_servers import (
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    azurite,
    azurite_binary,
    fake_gcs_server,
    fake_gcs_server_binary,
    make_azurite_container,
    s3_options,
)

from .object_server import limit, object_server

BUCKET = "images"
IMAGE_BYTES = 100_000
NAMES = [f"{number}.jpg" for number in range(50)]  # read again and again
NEEDS = {"s3": "boto3", "gs": "google.cloud.storage", "az": "azure.storage.blob"}
LABELBEAM, SHARED, BEAM = "labelbeam", "shared client", "Beam"


class Cost(NamedTuple):
    """Of one way to read: what the process took, by how many MiB its peak memory grew while it read, and to what."""

    images_per_s: float
    processor_us: float
    grown_mib: float
    peak_mib: float


@contextlib.contextmanager
def fast_server(store: str) -> Iterator[str]:
    """`object_server` as a store; gives its URL."""
    with object_server(IMAGE_BYTES) as port:
        rate, _ = in_own_process(limit, port, IMAGE_BYTES, 8_000, 4)
        print(f"{store}: the server gives {rate:,.0f} objects/s to bare sockets")
        yield f"http://127.0.0.1:{port}" + (f"/{AZURITE_ACCOUNT}" if store == "az" else "")


@contextlib.contextmanager
def emulator(store: str) -> Iterator[str]:
    """The emulator of a store, with images in it; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        if store == "gs":
            (Path(folder) / BUCKET).mkdir()
            for name in NAMES:
                (Path(folder) / BUCKET / name).write_bytes(os.urandom(IMAGE_BYTES))
            with fake_gcs_server(Path(folder)) as url:
                yield url
        else:
            with azurite(Path(folder)) as url:
                make_azurite_container(url, BUCKET)
                in_own_process(_fill, store, url)
                yield url


def _fill(store: str, url: str) -> None:
    _configure(store, url)
    for name in NAMES:
        object_stores.write(f"{store}://{BUCKET}/{name}", os.urandom(IMAGE_BYTES))


def measure(store: str, way: str, url: str, images: int, threads: int) -> Cost:
    """Reads images; to be called in a fresh process."""
    read = _reader(store, way, url, threads)
    read(NAMES[0])  # imports, and the client where there's one
    before_mib, started, used_s = peak_mib(), time.monotonic(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for num_bytes in pool.map(read, islice(cycle(NAMES), images)):
            assert num_bytes == IMAGE_BYTES
    seconds, used_s = time.monotonic() - started, time.process_time() - used_s
    return Cost(images / seconds, used_s / images * 1e6, peak_mib() - before_mib, peak_mib())


def _reader(store: str, way: str, url: str, threads: int) -> Callable[[str], int]:
    """Reads an object by its name; gives its size."""
    if way == LABELBEAM:
        _configure(store, url)
        options = ExecutionOptions()
        return lambda name: len(object_stores.get(f"{store}://{BUCKET}/{name}", options))
    if way == BEAM:
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        FileSystems.set_options(PipelineOptions(s3_options(int(url.rpartition(":")[2]))))

        def read_through_beam(name: str) -> int:
            with FileSystems.open(f"{store}://{BUCKET}/{name}") as file:
                return len(file.read())

        return read_through_beam
    return {"s3": _boto3_reader, "gs": _google_reader, "az": _azure_reader}[store](url, threads)


def _boto3_reader(url: str, threads: int) -> Callable[[str], int]:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
        config=Config(max_pool_connections=threads),
    )
    return lambda name: len(client.get_object(Bucket=BUCKET, Key=name)["Body"].read())


def _google_reader(url: str, threads: int) -> Callable[[str], int]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    client = storage.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
    client._http.mount("http://", HTTPAdapter(pool_maxsize=threads))  # else ten connections are kept
    bucket = client.bucket(BUCKET)
    return lambda name: len(bucket.blob(name).download_as_bytes())


def _azure_reader(url: str, threads: int) -> Callable[[str], int]:
    import requests
    from azure.core.pipeline.transport import (  # pyright: ignore[reportMissingImports]  # not everybody has it
        RequestsTransport,
    )
    from azure.storage.blob import BlobServiceClient  # pyright: ignore[reportMissingImports]
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=threads))
    transport: Any = RequestsTransport(session=session, session_owner=False)
    client = BlobServiceClient(url, credential=AZURITE_KEY, transport=transport).get_container_client(BUCKET)
    return lambda name: len(client.download_blob(name).readall())


def _configure(store: str, url: str) -> None:
    """Tells labelbeam where a store is."""
    if store == "gs":
        os.environ["STORAGE_EMULATOR_HOST"] = url
    settings = {
        "s3": (f"aws_endpoint={url}", "aws_access_key_id=a", "aws_secret_access_key=b", "aws_region=us-east-1"),
        "gs": (),
        "az": (f"azure_endpoint={url}", f"account_name={AZURITE_ACCOUNT}", f"account_key={AZURITE_KEY}"),
    }
    store_options.configure(settings[store])


def ways_to_read(store: str, images: int) -> dict[str, int]:
    """How many images are read each way. Beam's S3 filesystem makes a client for each: a few are enough."""
    return {LABELBEAM: images, SHARED: images // 2} | ({BEAM: max(10, images // 200)} if store == "s3" else {})


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


def servers(store: str) -> dict[str, Callable[[str], AbstractContextManager[str]]]:
    """Where a store's objects are read from, by what it is called in the figures."""
    if store == "s3":
        return {"s3://": fast_server}
    if (fake_gcs_server_binary if store == "gs" else azurite_binary)() is None:
        print(f"{store}: no emulator, which make store-servers installs")
        return {f"{store}://": fast_server}
    return {f"{store}://": fast_server, f"{store}://, its emulator": emulator}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--stores", nargs="+", choices=NEEDS, default=list(NEEDS))
    parser.add_argument("--images", type=int, help="default: 4000, with --quick 1000")
    parser.add_argument("--threads", type=int, default=ExecutionOptions().read_threads)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    images = args.images or (1000 if args.quick else 4000)
    figures = []
    for store in args.stores:
        if not _has(NEEDS[store]):
            print(f"{store}: left out, {NEEDS[store]} isn't installed")
            continue
        for name, serving in servers(store).items():
            with serving(store) as url:
                figures += _compare(store, name, url, images, args.threads, args.rounds)
    publish(figures, args.json)


def _compare(store: str, name: str, url: str, images: int, threads: int, rounds: int) -> list[Figure]:
    ways = ways_to_read(store, images)
    costs: dict[str, list[Cost]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, count in ways.items():
            costs[way].append(in_own_process(measure, store, way, url, count, threads)[0])
    middle = {way: Cost(*(median(column) for column in zip(*rows, strict=True))) for way, rows in costs.items()}
    for way, cost in middle.items():
        every = " · ".join(f"{one.images_per_s:,.0f}" for one in costs[way])
        print(
            f"{name}: {way:14} {cost.images_per_s:8,.1f} images/s ({every}), {cost.processor_us:8,.0f} µs of a "
            f"processor an image, memory grew by {cost.grown_mib:.0f} MiB"
        )
    ours, what = middle[LABELBEAM], f"objects of {IMAGE_BYTES // 1000} KB from {name}"
    figures = []
    for way in (way for way in ways if way != LABELBEAM):
        theirs = middle[way]
        memory = (ours.peak_mib, theirs.peak_mib)
        goal = 150 if way == BEAM else 4
        figures += [
            Figure(what, way, "images/s", ours.images_per_s, theirs.images_per_s, True, *memory, goal),
            Figure(
                f"{what}, processor time",
                way,
                "µs an image",
                ours.processor_us,
                theirs.processor_us,
                False,
            ),
        ]
    return figures


if __name__ == "__main__":
    main()
