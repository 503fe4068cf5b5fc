"""What does labelbeam itself cost an image, and does that grow?  python -m benchmarks.jobs.many_small_images

Labels 100,000 small JPEGs end to end, as `labelbeam label` does, with a detector that costs nothing, on the
FnApiRunner; prints images/s and peak memory in each tenth of the way. Peer: a bare loop that reads and decodes the
same files with Pillow.
"""

import functools
import hashlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from labelbeam.transforms.execution_options import ExecutionOptions
from PIL import Image

from benchmarks.figures import Figure, arguments, in_own_process, publish
from benchmarks.free_detector import run_free_job
from benchmarks.photos import write_jpegs

IMAGE_WH = (128, 96)
IMAGES_A_FOLDER = 10_000
SAMPLE_EVERY_S = 0.1


class Cost(NamedTuple):
    """Of one way: seconds of wall time and of processors' time; peak resident memory in MiB in each tenth of the
    images, and, as an eleventh figure, after the last one (while parts are merged)."""

    seconds: float
    cpu_seconds: float
    peaks_mib: list[float]


def write_images(folder: Path, count: int) -> None:
    """Small photographic JPEGs in folders of 10,000."""
    for first in range(0, count, IMAGES_A_FOLDER):
        write_jpegs(folder / f"{first // IMAGES_A_FOLDER:03d}", min(IMAGES_A_FOLDER, count - first), IMAGE_WH)


class Watch:
    """Samples this process's resident memory, and what part of the images is done.

    Args:
      done: gives how many images are done; 0 while the first is still waited for, which counts for no tenth.
      count: images in all.
    """

    def __init__(self, done: Callable[[], int], count: int):
        self._done, self._count = done, count
        self._peaks = [0.0] * 11
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> list[float]:
        """Gives the peaks of `Cost`; right once the context has ended."""
        self._thread.start()
        return self._peaks

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        most = 0  # merging makes many parts one
        while not self._stopped.wait(SAMPLE_EVERY_S):
            most = max(most, self._done())
            if most:
                tenth = most * 10 // self._count
                self._peaks[tenth] = max(self._peaks[tenth], resident_mib())


def resident_mib() -> float:
    """Of this process; Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def through_labelbeam(images: Path, count: int) -> Cost:
    """To be called in a fresh process."""
    output = images.parent / "labels"
    written = functools.partial(_parts_in, output / "images")
    started, cpu_started = time.monotonic(), time.process_time()
    with Watch(lambda: written() * ExecutionOptions.part_images, count) as peaks:
        run_free_job(images, output, count)
    return Cost(time.monotonic() - started, time.process_time() - cpu_started, peaks)


def _parts_in(folder: Path) -> int:
    return sum(name.startswith("part-") for name in os.listdir(folder)) if folder.is_dir() else 0


def bare_loop(images: Path, count: int) -> Cost:
    """What can't be left out: every file read, its SHA-256, its pixels."""
    done, started, cpu_started = 0, time.monotonic(), time.process_time()
    with Watch(lambda: done, count) as peaks:
        for image in images.rglob("*.jpg"):
            data = image.read_bytes()
            hashlib.sha256(data).hexdigest()
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            done += 1
    return Cost(time.monotonic() - started, time.process_time() - cpu_started, peaks)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help="default: 100,000, with --quick 10,000")
    args = parser.parse_args()
    args.images = args.images or (10_000 if args.quick else 100_000)
    if args.images < 10_000:
        parser.error("--images: expected 10,000 or more, so that each tenth has parts of its own")
    costs, peaks_mib = {}, {}
    with tempfile.TemporaryDirectory() as name:
        images = Path(name, "images")
        write_images(images, args.images)
        for way in (bare_loop, through_labelbeam):
            costs[way.__name__], peaks_mib[way.__name__] = in_own_process(way, images, args.images)
    print(
        "| way | seconds | CPU seconds | images/s | peak MiB in each tenth | after | last tenth against first |\n"
        "|---|---|---|---|---|---|---|"
    )
    for way, cost in costs.items():
        *tenths, after = (f"{peak:.0f}" for peak in cost.peaks_mib)
        print(
            f"| {way} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {args.images / cost.seconds:,.0f} "
            f"| {', '.join(tenths)} "
            f"| {after} | {cost.peaks_mib[9] / cost.peaks_mib[0]:.2f}× |"
        )
    bare, ours = costs["bare_loop"], costs["through_labelbeam"]
    cpu_ms = (ours.cpu_seconds - bare.cpu_seconds) / args.images * 1000
    print(
        f"\n{ours.seconds / bare.seconds:.2f}× the time of the bare loop, "
        f"{cpu_ms:.2f} ms of a processor an image on top of it\n"
    )
    publish(
        [
            Figure(
                f"{args.images:,} JPEGs of {IMAGE_WH[0]} × {IMAGE_WH[1]} pixels, a detector that costs nothing",
                "reading and decoding alone, in a loop",
                "images/s",
                args.images / ours.seconds,
                args.images / bare.seconds,
                higher_is_better=True,
                ours_mib=peaks_mib["through_labelbeam"],
                theirs_mib=peaks_mib["bare_loop"],
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
