"""How fast are small images fetched over HTTP?  python -m benchmarks.reading.fetching [--img2dataset-python PYTHON]

5,000 JPEGs of about 10 KB from a server on this machine that answers each request after 20 ms; one process, 64
connections (`--connections`), and `--max-per-host 64`, as one sets it for a host of one's own (the default of 16 is
for other people's). All sides take the SHA-256.

- fetching alone, `Prefetch` as `FetchImages` uses it, against a loop over one urllib3 connection, in images/s and in
  processor time, and against what 64 connections and 20 ms allow at most: 3,200 images/s;
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
from labelbeam.detectors.device_share import processors
from labelbeam.transforms.elements import ImageFacts, ImageReference
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.prefetch import Prefetch
from labelbeam.transforms.fetch.read_bytes import read_bytes, start_reading

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import run_free_job
from .image_server import image_server

IMAGES = 5_000
NUM_BYTES = 10_000
LATENCY_S = 0.02
CONNECTIONS = 64
SCHEMA = pa.schema({"uri": pa.string(), "sha256": pa.string(), "image": pa.binary()})
GOAL_US = 110
ROWS_A_GROUP = 250  # more than img2dataset's 100; a larger group stops the fetching while it is written


class Image(NamedTuple):
    uri: str
    sha256: str
    data: bytes


class Cost(NamedTuple):
    """Of a side: images/s, µs of a processor an image, and peak memory of its process in MiB; None where it says
    nothing."""

    images_per_s: float
    processor_us: float | None = None
    mib: float | None = None

    @classmethod
    def of(cls, seconds_and_mib: tuple[tuple[float, float], float], images: int) -> "Cost":
        (seconds, processor_s), mib = seconds_and_mib
        return cls(images / seconds, processor_s / images * 1e6, mib)


def options_for(connections: int) -> ExecutionOptions:
    return ExecutionOptions(
        read_threads=connections, max_per_host=connections, prefetch_images=max(128, 2 * connections)
    )


def one_after_the_other(urls: list[str], connections: int) -> Iterator[Image]:
    pool = urllib3.PoolManager()
    for url in urls:
        data = pool.request("GET", url).data
        yield Image(url, hashlib.sha256(data).hexdigest(), data)


def ahead(urls: list[str], connections: int) -> Iterator[Image]:
    """As FetchImages reads, without decoding."""
    options = options_for(connections)

    def make(url: str, reserve, fetch=None) -> Image:
        data = read_bytes(ImageReference(url), options, ImageFacts(), fetch)
        sha256 = hashlib.sha256(data).hexdigest()
        reserve(len(data))
        return Image(url, sha256, data)

    fetching = Prefetch(
        make,
        _give_up,
        threads=options.read_threads,
        producers=processors(),
        max_bytes=options.prefetch_bytes,
        read_s=options.deadline_s,
        at_once=options.handed_on_at_once,
        start=lambda url, *callbacks: start_reading(ImageReference(url), options, connections, *callbacks),
    )
    for url in urls:
        fetching.submit(url)
        yield from fetching.results(leave=options.prefetch_images - 1)
    yield from fetching.results()
    fetching.close()


def _give_up(url: str) -> Image:
    raise TimeoutError(f"{url} wasn't read in time")


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and seconds of all of the process's threads on processors."""
    started, processor_s = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - started, time.process_time() - processor_s


def seconds_to_fetch(
    way: Callable[[list[str], int], Iterator[Image]], urls: list[str], connections: int
) -> tuple[float, float]:
    """To be called in a fresh process."""

    def fetch() -> None:
        assert sum(len(image.data) > 0 for image in way(urls, connections)) == len(urls)

    return _timed(fetch)


def seconds_to_parquet(urls: list[str], connections: int) -> tuple[float, float]:
    """To be called in a fresh process."""

    def fetch_and_write() -> None:
        # JPEGs are neither repeated nor to be made smaller.
        with pq.ParquetWriter(file, SCHEMA, use_dictionary=False, compression="none") as writer:
            waiting: list[Image] = []
            for image in ahead(urls, connections):
                waiting.append(image)
                if len(waiting) == ROWS_A_GROUP:
                    _write(waiting, writer)
                    waiting = []
            _write(waiting, writer)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.parquet")
        seconds = _timed(fetch_and_write)
        assert pq.read_metadata(file).num_rows == len(urls)
        return seconds


def _write(images: list[Image], writer: pq.ParquetWriter) -> None:
    writer.write_table(
        pa.Table.from_arrays([pa.array(column) for column in zip(*images)] if images else [[], [], []], schema=SCHEMA)
    )


def seconds_to_label(urls: list[str], connections: int) -> tuple[float, float]:
    """To be called in a fresh process."""

    def label() -> None:
        result = run_free_job(listed, Path(folder, "labels"), len(urls), execution=options_for(connections))
        assert not result.record["failures"], result.record

    with tempfile.TemporaryDirectory() as folder:
        listed = _write_list(Path(folder, "urls.txt"), urls)
        return _timed(label)


def img2dataset(python: Path, urls: list[str], connections: int) -> dict[str, float]:
    """What `img2dataset_side.py` says of these images."""
    with tempfile.TemporaryDirectory() as folder:
        listed = _write_list(Path(folder, "urls.txt"), urls)
        side = Path(__file__).with_name("img2dataset_side.py")
        command = [python, side, listed, Path(folder, "out"), str(connections)]
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


def measure_round(urls: list[str], connections: int, img2dataset_python: Path | None) -> dict[str, Cost]:
    """Each side once; the order is that of their names here."""
    costs = {"fetching": Cost.of(in_own_process(seconds_to_fetch, ahead, urls, connections), len(urls))}
    if img2dataset_python:
        costs["into Parquet"] = Cost.of(in_own_process(seconds_to_parquet, urls, connections), len(urls))
        theirs = img2dataset(img2dataset_python, urls, connections)
        costs["img2dataset"] = Cost(len(urls) / theirs["seconds"], mib=theirs["peak_mib"])
        costs["labelling"] = Cost.of(in_own_process(seconds_to_label, urls, connections), len(urls))
    print(
        ", ".join(
            f"{side} {cost.images_per_s:,.0f} images/s"
            + ("" if cost.processor_us is None else f" ({cost.processor_us:.0f} µs of a processor each)")
            for side, cost in costs.items()
        ),
        flush=True,
    )
    return costs


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="default: %(default)s")
    parser.add_argument(
        "--img2dataset-python",
        type=Path,
        metavar="PYTHON",
        help="of an environment with img2dataset; without, that comparison is left out",
    )
    args = parser.parse_args()
    with image_server(LATENCY_S, NUM_BYTES) as url:
        urls = [f"{url}/{number:06d}.jpg" for number in range(args.images)]
        few = urls[:500] if args.quick else urls
        loop = Cost.of(in_own_process(seconds_to_fetch, one_after_the_other, few, 1), len(few))
        rounds = [measure_round(urls, args.connections, args.img2dataset_python) for _ in range(args.rounds)]
    costs = {side: sorted(costs[side] for costs in rounds)[len(rounds) // 2] for side in rounds[0]}
    most = Cost(args.connections / LATENCY_S)
    compared = [
        ("fetching", "fetching", "a loop over one connection", loop, 25),
        ("fetching", "fetching", f"what {args.connections} connections allow", most, 0.9),
    ]
    if args.img2dataset_python:
        compared += [
            ("into Parquet", "fetching into Parquet", "img2dataset", costs["img2dataset"], 1.5),
            ("labelling", "labelling with a free detector", "img2dataset", costs["img2dataset"], None),
        ]
    processor_us = sorted(costs["fetching"].processor_us or 0.0 for costs in rounds)[len(rounds) // 2]
    size = f"{args.images:,} JPEGs of {NUM_BYTES // 1000} KB, {LATENCY_S * 1000:g} ms latency"
    figures = [
        Figure(
            f"{what}, {size}",
            peer,
            "images/s",
            costs[side].images_per_s,
            theirs.images_per_s,
            higher_is_better=True,
            ours_mib=costs[side].mib,
            theirs_mib=theirs.mib,
            goal=goal,
        )
        for side, what, peer, theirs, goal in compared
    ]
    figures.append(
        Figure(f"fetching, {size}", f"{GOAL_US} µs", "µs of a processor an image", processor_us, GOAL_US, False, goal=1)
    )
    publish(figures, args.json)


if __name__ == "__main__":
    main()
