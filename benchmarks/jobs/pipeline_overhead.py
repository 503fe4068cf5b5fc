"""What does the pipeline cost an image, on top of decoding it?  python -m benchmarks.jobs.pipeline_overhead

Labels 640×480 JPEGs end to end, as `labelbeam label` does, with a detector that costs nothing, on the FnApiRunner.
Peer: reading and decoding the same files, by the same decoder in as many threads, and nothing else. Each size runs in
a process of its own; what counts is the slope of time over size, so that starting Python and Beam doesn't, and
listing, closing and merging do. Of several rounds, in which the sides take turns, the fastest of each size counts:
whatever else a machine does only adds to times.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from labelbeam.detectors.device_share import processors
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.workers.malloc import keep_large_blocks

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import run_free_job
from ..photos import write_jpegs

SIZES = (1000, 2000, 4000)
IMAGE_WH = (640, 480)
GOAL_MS = 0.25


class Cost(NamedTuple):
    """Of one way with one number of images: seconds of wall time and of the processors' time."""

    seconds: float
    cpu_seconds: float


def through_labelbeam(folder: Path, count: int) -> Cost:
    with tempfile.TemporaryDirectory(dir=folder.parent) as output:
        started, cpu_started = time.monotonic(), time.process_time()
        run_free_job(folder, Path(output), count)
        return Cost(time.monotonic() - started, time.process_time() - cpu_started)


def decoding_alone(folder: Path, count: int) -> Cost:
    keep_large_blocks()
    options = DecodeOptions()
    started, cpu_started = time.monotonic(), time.process_time()
    paths = [str(path) for path in folder.iterdir()]
    assert len(paths) == count
    with ThreadPoolExecutor(processors()) as threads:
        shares = threads.map(
            lambda share: _decode_all(share, options), [paths[i :: processors()] for i in range(processors())]
        )
        list(shares)
    return Cost(time.monotonic() - started, time.process_time() - cpu_started)


def _decode_all(paths: list[str], options: DecodeOptions) -> None:
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        decode(data, options)


def slope_ms(sizes: list[int], costs: list[float]) -> float:
    """Milliseconds an image, by least squares."""
    return float(np.polyfit(sizes, costs, 1)[0]) * 1000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--rounds", type=int, default=7, help="the fastest of so many is taken (%(default)s; 2 with --quick)"
    )
    args = parser.parse_args()
    sizes = SIZES[::2] if args.quick else SIZES
    rounds = 2 if args.quick else args.rounds
    ways = (decoding_alone, through_labelbeam)
    costs = {(way, size): [] for way in ways for size in sizes}
    peaks = dict.fromkeys(ways, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folders = {size: write_jpegs(Path(name, str(size)), size, IMAGE_WH) for size in sizes}
        for _ in range(rounds):
            for (way, size), seen in costs.items():
                cost, peak = in_own_process(way, folders[size], size)
                seen.append(cost)
                peaks[way] = max(peaks[way], peak)
    print("| way | images | seconds | CPU seconds |\n|---|---|---|---|")
    for (way, size), seen in costs.items():
        print(f"| {way.__name__} | {size} | " + " | ".join(f"{min(column):.2f}" for column in zip(*seen)) + " |")
    slopes = {}
    for way in ways:
        for field in Cost._fields:
            slopes[way, field] = slope_ms(
                sizes, [min(getattr(cost, field) for cost in costs[way, size]) for size in sizes]
            )
    print()
    for field, what in (("seconds", "wall time"), ("cpu_seconds", "processors' time")):
        ours, theirs = slopes[through_labelbeam, field], slopes[decoding_alone, field]
        print(f"Overhead in {what}: {ours - theirs:.3f} ms an image (goal for wall time: at most {GOAL_MS})")
    print()
    publish(
        [
            Figure(
                f"whole job, 640×480 JPEGs, free detector, {what}",
                f"decoding alone, {processors()} threads",
                "ms an image",
                slopes[through_labelbeam, field],
                slopes[decoding_alone, field],
                False,
                peaks[through_labelbeam],
                peaks[decoding_alone],
            )
            for field, what in (("seconds", "wall time"), ("cpu_seconds", "processors' time"))
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
