"""How fast are small images fetched over HTTP?  python -m benchmarks.reading.fetching [--img2dataset-python PYTHON]

5,000 JPEGs of about 10 KB from a server on this machine that answers each request after 20 ms; one process, 64
threads, and `--max-per-host 64`, as one sets it for a host of one's own (the default of 16 is for other people's).
All sides take the SHA-256.

- fetching alone, `Prefetch` with `read_bytes`, against a loop over one urllib3 connection, and against what 64
  connections and 20 ms allow at most: 3,200 images/s;
- the same with a Parquet file of the bytes, against img2dataset with `disable_all_reencoding`, as many threads, and
  its own count of the seconds, which leaves out the 5 to 10 that it takes to start. labelbeam itself keeps no bytes:
  this is its fetching with pyarrow's writer;
- a whole labelling job with a detector that costs nothing, which decodes every image and writes the tables, against
  img2dataset as above, which doesn't decode and writes the bytes.

Each figure is the median of several rounds, in which the sides take turns. img2dataset: `uv venv PLACE && uv pip
install --python PLACE/bin/python img2dataset 'setuptools<80'`, then `--img2dataset-python PLACE/bin/python`. Its
dependencies don't go with labelbeam's.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from labelbeam.storage import http_client
from labelbeam.transforms.elements import ImageFacts, ImageReference
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.prefetch import Prefetch
from labelbeam.transforms.fetch.read_bytes import read_bytes

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import run_free_job
from .image_server import image_server

IMAGES = 5_000
NUM_BYTES = 10_000
LATENCY_S = 0.02
THREADS = 64
OPTIONS = ExecutionOptions(read_threads=THREADS, max_per_host=THREADS)
SCHEMA = pa.schema({"uri": pa.string(), "sha256": pa.string(), "image": pa.binary()})
ROWS_A_GROUP = 250  # more than img2dataset's 100; a larger group stops the fetching while it is written


class Image(NamedTuple):
    uri: str
    sha256: str
    data: bytes


class Rate(NamedTuple):
    """Of a side: images/s, and peak memory of its process in MiB; None where it says nothing."""

    images_per_s: float
    mib: float | None

    @classmethod
    def of(cls, seconds_and_mib: tuple[float, float], images: int) -> "Rate":
        return cls(images / seconds_and_mib[0], seconds_and_mib[1])


def one_after_the_other(urls: list[str]) -> Iterator[Image]:
    pool = urllib3.PoolManager()
    for url in urls:
        data = pool.request("GET", url).data
        yield Image(url, hashlib.sha256(data).hexdigest(), data)


def ahead(urls: list[str]) -> Iterator[Image]:
    """As FetchImages reads, without decoding."""

    def fetch(url: str, reserve) -> Image:
        with http_client.admitted(http_client.host_of(url)):
            data = read_bytes(ImageReference(url), OPTIONS, ImageFacts())
        return Image(url, hashlib.sha256(data).hexdigest(), data)

    fetching = Prefetch(
        fetch,
        _give_up,
        threads=OPTIONS.read_threads,
        max_bytes=OPTIONS.prefetch_bytes,
        read_s=OPTIONS.deadline_s,
        at_once=OPTIONS.handed_on_at_once,
        host_key_of=http_client.host_of,
        may_start=lambda host: http_client.admit(host, OPTIONS),
    )
    for url in urls:
        fetching.submit(url)
        yield from fetching.results(leave=OPTIONS.prefetch_images - 1)
    yield from fetching.results()
    fetching.close()


def _give_up(url: str) -> Image:
    raise TimeoutError(f"{url} wasn't read in time")


def seconds_to_fetch(way: Callable[[list[str]], Iterator[Image]], urls: list[str]) -> float:
    """To be called in a fresh process."""
    started = time.monotonic()
    assert sum(len(image.data) > 0 for image in way(urls)) == len(urls)
    return time.monotonic() - started


def seconds_to_parquet(urls: list[str]) -> float:
    """To be called in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        # JPEGs are neither repeated nor to be made smaller.
        with pq.ParquetWriter(
            Path(folder, "images.parquet"), SCHEMA, use_dictionary=False, compression="none"
        ) as writer:
            waiting: list[Image] = []
            for image in ahead(urls):
                waiting.append(image)
                if len(waiting) == ROWS_A_GROUP:
                    _write(waiting, writer)
                    waiting = []
            _write(waiting, writer)
        seconds = time.monotonic() - started
        assert pq.read_metadata(Path(folder, "images.parquet")).num_rows == len(urls)
        return seconds


def _write(images: list[Image], writer: pq.ParquetWriter) -> None:
    writer.write_table(
        pa.Table.from_arrays([pa.array(column) for column in zip(*images)] if images else [[], [], []], schema=SCHEMA)
    )


def seconds_to_label(urls: list[str]) -> float:
    """To be called in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        listed = _write_list(Path(folder, "urls.txt"), urls)
        started = time.monotonic()
        result = run_free_job(listed, Path(folder, "labels"), len(urls), execution=OPTIONS)
        seconds = time.monotonic() - started
    assert not result.record["failures"], result.record
    return seconds


def img2dataset(python: Path, urls: list[str]) -> dict[str, float]:
    """What `img2dataset_side.py` says of these images."""
    with tempfile.TemporaryDirectory() as folder:
        listed = _write_list(Path(folder, "urls.txt"), urls)
        command = [python, Path(__file__).with_name("img2dataset_side.py"), listed, Path(folder, "out"), str(THREADS)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ended = subprocess.run(
            command, capture_output=True, text=True, env={**environment, "NO_ALBUMENTATIONS_UPDATE": "1"}
        )
    if ended.returncode:
        raise RuntimeError(f"img2dataset: exit code {ended.returncode}\n{ended.stderr[-2000:]}")
    cost = json.loads(ended.stdout.splitlines()[-1])
    assert cost["images"] == len(urls), ended.stdout[-2000:]
    return cost


def _write_list(path: Path, urls: list[str]) -> Path:
    path.write_text("".join(f"{url}\n" for url in urls))
    return path


def measure_round(urls: list[str], img2dataset_python: Path | None) -> dict[str, Rate]:
    """Each side once; the order is that of their names here."""
    rates = {"fetching": Rate.of(in_own_process(seconds_to_fetch, ahead, urls), len(urls))}
    if img2dataset_python:
        rates["into Parquet"] = Rate.of(in_own_process(seconds_to_parquet, urls), len(urls))
        cost = img2dataset(img2dataset_python, urls)
        rates["img2dataset"] = Rate(len(urls) / cost["seconds"], cost["peak_mib"])
        rates["labelling"] = Rate.of(in_own_process(seconds_to_label, urls), len(urls))
    print(", ".join(f"{side} {rate.images_per_s:,.0f} images/s" for side, rate in rates.items()), flush=True)
    return rates


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--img2dataset-python",
        type=Path,
        metavar="PYTHON",
        help="of an environment with img2dataset; without, that comparison is left out",
    )
    args = parser.parse_args()
    with image_server(LATENCY_S, NUM_BYTES) as url:
        urls = [f"{url}/{number:06d}.jpg" for number in range(args.images)]
        loop = Rate.of(
            in_own_process(seconds_to_fetch, one_after_the_other, urls[:500] if args.quick else urls),
            500 if args.quick else len(urls),
        )
        rounds = [measure_round(urls, args.img2dataset_python) for _ in range(args.rounds)]
    rates = {side: sorted(rates[side] for rates in rounds)[len(rounds) // 2] for side in rounds[0]}
    most = Rate(THREADS / LATENCY_S, None)
    compared = [
        ("fetching", "fetching", "a loop over one connection", loop, 25),
        ("fetching", "fetching", f"what {THREADS} connections allow", most, 0.5),
    ]
    if args.img2dataset_python:
        compared += [
            ("into Parquet", "fetching into Parquet", "img2dataset", rates["img2dataset"], 1.2),
            ("labelling", "labelling with a free detector", "img2dataset", rates["img2dataset"], None),
        ]
    size = f"{args.images:,} JPEGs of {NUM_BYTES // 1000} KB, {LATENCY_S * 1000:g} ms latency"
    publish(
        [
            Figure(
                f"{what}, {size}",
                peer,
                "images/s",
                rates[side].images_per_s,
                theirs.images_per_s,
                higher_is_better=True,
                ours_mib=rates[side].mib,
                theirs_mib=theirs.mib,
                goal=goal,
            )
            for side, what, peer, theirs, goal in compared
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
