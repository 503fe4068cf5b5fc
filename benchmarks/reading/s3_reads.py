"""What does reading images from S3 cost, against Beam's own filesystem?  python -m benchmarks.reading.s3_reads

Reads the same objects of 100 KB through our client and through `FileSystems.open`, each in a process of its own, from
a moto server on this machine, with as many threads as a job has; prints images/s, peak memory and both ratios. Peer:
Beam's filesystem.
"""

import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.storage import object_stores
from labelbeam.transforms.execution_options import ExecutionOptions

from benchmarks.figures import Figure, arguments, in_own_process, peak_mib, publish
from tests.fakes.store_servers import moto_server, s3_options

BUCKET = "images"
IMAGE_BYTES = 100_000

Way = Literal["labelbeam", "beam"]


class Cost(NamedTuple):
    """Of one way to read: images/s, and by how many MiB the process's peak memory grew."""

    images_per_s: float
    grown_mib: float


def fill(port: int, images: int) -> list[str]:
    _set_options(port)
    _boto3_client(port).create_bucket(Bucket=BUCKET)
    uris = [f"s3://{BUCKET}/{i}.jpg" for i in range(images)]
    for uri in uris:
        object_stores.write(uri, os.urandom(IMAGE_BYTES))
    return uris


def measure(way: Way, port: int, uris: list[str], threads: int) -> Cost:
    """Reads every object once; to be called in a fresh process."""
    _set_options(port)
    read = _read_through_beam if way == "beam" else functools.partial(_read_through_client, options=ExecutionOptions())
    read(uris[0])  # imports, and the client where there's one
    before_mib, started = peak_mib(), time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for num_bytes in pool.map(read, uris):
            assert num_bytes == IMAGE_BYTES
    return Cost(len(uris) / (time.monotonic() - started), peak_mib() - before_mib)


def _read_through_client(uri: str, options: ExecutionOptions) -> int:
    return len(object_stores.get(uri, options))


def _boto3_client(port: int):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
    )


def _read_through_beam(uri: str) -> int:
    with FileSystems.open(uri) as file:
        return len(file.read())


def _set_options(port: int) -> None:
    FileSystems.set_options(PipelineOptions(s3_options(port)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=ExecutionOptions().read_threads)
    args = parser.parse_args()
    costs, peaks_mib = {}, {}
    with moto_server() as port:
        uris = fill(port, args.images)
        for way in ("labelbeam", "beam"):
            costs[way], peaks_mib[way] = cost, _ = in_own_process(measure, way, port, uris, args.threads)
            print(f"{way:10} {cost.images_per_s:7.1f} images/s, memory grew by {cost.grown_mib:6.1f} MiB")
    ours, beams = costs["labelbeam"], costs["beam"]
    print(
        f"{ours.images_per_s / beams.images_per_s:.1f}× the images/s of Beam's filesystem, "
        f"{ours.grown_mib / beams.grown_mib:.3f}× its memory\n"
    )
    publish(
        [
            Figure(
                f"{args.images} objects of {IMAGE_BYTES // 1000} KB from S3",
                "Beam's filesystem",
                "images/s",
                ours.images_per_s,
                beams.images_per_s,
                higher_is_better=True,
                ours_mib=peaks_mib["labelbeam"],
                theirs_mib=peaks_mib["beam"],
                goal=30,
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
