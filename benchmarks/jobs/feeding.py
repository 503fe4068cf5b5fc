"""What can a worker feed a GPU?

    python -m benchmarks.jobs.feeding [--quick]
    python -m benchmarks.jobs.feeding --main-thread [--rounds 5] [--device-ms 0.67 --batch-size 64]

First what each stage of an image takes of a processor: fetching from a disk, over HTTP and from S3 with its SHA-256 and
the hand-over between threads (all threads of a process; the server is another), then alone in one thread decoding, each
engine's own preprocessing, rows, masks, Parquet. Then whole jobs with a fake device that computes by itself: the main
thread's processor time an image, which no number of cores helps, and images a second against the device's own. What
counts is the slope of time over size, each size's fastest of several rounds. Last, what so many cores can feed:
the lesser of cores over the stages' sum, and of one over the main thread's share.

`--main-thread` measures nothing but such a job, with JPEGs of 160×120: to compare two versions of the code.
"""

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.rows import ImageRows
from labelbeam.labelset.schemas import build_table
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec
from labelbeam.storage.stores import options as store_options
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.elements import ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.fetch.read_bytes import read_bytes
from labelbeam.transforms.to_rows import RowOptions, image_rows
from labelbeam.transforms.workers.malloc import keep_large_blocks

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import FreeDetector, free_label_config
from ..photos import write_jpegs
from ..reading.fetching import ahead
from ..reading.object_server import object_server

SIZES_WH = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}
DEVICE_MS = (0.3, 1.0, 3.0)
CORES = (2, 8, 16, 64)
SOURCES = ("disk", "HTTP", "S3")
FETCHES = {"0.3 MP": 2000, "2 MP": 800, "12 MP": 200}
CONNECTIONS = 16
SMALL_WH = (160, 120)
MASKS = 10
GOAL_MAIN_MS = 0.10


class FakeDevice(FreeDetector):
    """Takes its time for each image, of no processor's."""

    def __init__(self, seconds: float):
        super().__init__()
        self._seconds = seconds

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        time.sleep(self._seconds * len(images))
        return super().detect(images)


@dataclass(frozen=True)
class FakeDeviceSpec(DetectorSpec):
    """Loads a `FakeDevice`."""

    seconds: float = 0.0

    def load(self) -> FakeDevice:
        return FakeDevice(self.seconds)


def cpu_ms(call: Callable[[], object], seconds: float) -> float:
    """Processor time of a call, in milliseconds: the median of as many as fit in so many seconds."""
    call()
    taken, end = [], time.monotonic() + seconds
    while not taken or time.monotonic() < end:
        began = time.thread_time()
        call()
        taken.append(time.thread_time() - began)
    return 1000 * float(np.median(taken))


def fetch_ms(uri: str, count: int, s3_port: int | None) -> float:
    """Milliseconds of all threads of this process that fetching and hashing one of `count` images takes; for a fresh
    process.
    """
    if s3_port is not None:
        endpoint = f"aws_endpoint=http://127.0.0.1:{s3_port}"
        store_options.configure((endpoint, "aws_access_key_id=a", "aws_secret_access_key=b", "aws_region=us-east-1"))
    for _ in ahead([uri] * 20, CONNECTIONS):
        pass  # clients, connections, threads
    began = time.process_time()
    for _ in ahead([uri] * count, CONNECTIONS):
        pass
    return 1000 * (time.process_time() - began) / count


def fetches(path: Path, count: int) -> dict[str, float]:
    """`fetch_ms` of a file, and of as many bytes from local servers, by source."""
    with object_server(path.stat().st_size) as port:
        uris = {"disk": str(path), "HTTP": f"http://127.0.0.1:{port}/images/0.jpg", "S3": "s3://images/0.jpg"}
        return {
            source: in_own_process(fetch_ms, uri, count, port if source == "S3" else None)[0]
            for source, uri in uris.items()
        }


def stages(path: Path, seconds: float) -> dict[str, float]:
    """Milliseconds of a processor that each stage behind fetching takes for an image; for a fresh process."""
    keep_large_blocks()
    reference, options = ImageReference(str(path)), ExecutionOptions()
    data = read_bytes(reference, options, ImageFacts())
    pixels = decode(data, DecodeOptions())
    height, width = pixels.shape[:2]
    facts = ImageFacts(1, width, height, len(data), hashlib.sha256(data).hexdigest(), 1.0, 1.0)
    found = FreeDetector(MASKS).detect([pixels])[0]
    plain = LabelledImage(reference, facts, found)
    y, x = np.mgrid[-1:1:33j, -1:1:33j].astype(np.float32)
    masks = np.repeat(np.clip(1.4 - x * x - y * y, 0, 1)[np.newaxis], MASKS, axis=0)
    masked = replace(plain, detections=replace(found, masks=masks))
    now = datetime.now(timezone.utc)
    make = partial(image_rows, options=RowOptions({1: "thing"}, "rle"), labelled_at=now)
    rows: list[ImageRows] = [make(masked)] * 500
    tables = ("images", "detections", "masks")
    found_ms = {
        "decode": cpu_ms(lambda: decode(data, DecodeOptions()), seconds),
        "rows": cpu_ms(lambda: make(plain), seconds),
        f"{MASKS} masks": cpu_ms(lambda: make(masked), seconds),
        "parts": cpu_ms(lambda: [build_table(name, rows) for name in tables], seconds) / len(rows),
    }
    found_ms[f"{MASKS} masks"] -= found_ms["rows"]
    from labelbeam.detectors.keras.centernet import preprocess as centernet  # Keras: not in the jobs' processes
    from labelbeam.detectors.keras.mask_rcnn import preprocess as mask_rcnn

    for name, preprocess in (("centernet", centernet.preprocess), ("mask_rcnn", mask_rcnn.preprocess)):
        found_ms[f"resize for {name}"] = cpu_ms(lambda resize=preprocess: resize(pixels), seconds)
    return found_ms


def jobs(
    folders: dict[int, Path], device_s: float, rounds: int, batch_size: int | Literal["auto"]
) -> dict[int, list[float]]:
    """Milliseconds by the clock, of the main thread, of all threads that a job of each size takes: the least of all
    rounds, which take turns. For a fresh process; a first job pays for what a process does once.
    """
    labels = free_label_config()
    labels = replace(labels, detector=FakeDeviceSpec(**{**vars(labels.detector), "seconds": device_s}))
    options = PipelineOptions(["--runner=FnApiRunner"])

    def spent(folder: Path) -> list[float]:
        with tempfile.TemporaryDirectory(dir=folder.parent) as output:
            began = time.monotonic(), time.thread_time(), time.process_time()
            spec = JobSpec([str(folder)], output, labels, execution=ExecutionOptions(batch_size=batch_size))
            run_job(prepare_job(spec, options), options)
            ended = time.monotonic(), time.thread_time(), time.process_time()
        return [1000 * (end - begin) for begin, end in zip(began, ended, strict=True)]

    spent(folders[min(folders)])
    found = [{count: spent(folder) for count, folder in folders.items()} for _ in range(rounds)]
    return {
        count: [min(column) for column in zip(*(one_round[count] for one_round in found), strict=True)]
        for count in folders
    }


def slopes(
    folders: dict[int, Path], device_ms: float, rounds: int, batch_size: int | Literal["auto"] = "auto"
) -> tuple[float, float, float]:
    """Milliseconds an image by the clock, of the main thread, of all threads: what images add to a job."""
    found, _ = in_own_process(jobs, folders, device_ms / 1000, rounds, batch_size)
    few, many = sorted(found)
    wall, main, cpu = ((b - a) / (many - few) for a, b in zip(found[few], found[many], strict=True))
    print(f"  a device of {device_ms} ms: main thread {main:.3f} ms an image, all threads {cpu:.3f}", flush=True)
    return wall, main, cpu


def write_folders(root: Path, counts: Sequence[int], size_wh: tuple[int, int]) -> dict[int, Path]:
    return {count: write_jpegs(root / str(count), count, size_wh) for count in counts}


def describe(size: str, host_ms: dict[str, float], main_ms: float) -> list[str]:
    """Rows of the table of cores, one a network: images/s from a disk, over HTTP, from S3, and what limits first."""
    rows = []
    always = {name: host_ms[name] for name in ("decode", "rows", "parts")}
    for network, more in (("centernet", ()), ("mask_rcnn", (f"{MASKS} masks",))):
        of_network = {name: host_ms[name] for name in (f"resize for {network}", *more)}
        sums = [host_ms[source] + sum(always.values()) + sum(of_network.values()) for source in SOURCES]
        cells = [" / ".join(f"{min(1000 * cores / ms, 1000 / main_ms):,.0f}" for ms in sums) for cores in CORES]
        slowest = max({**always, **of_network}.items(), key=lambda stage: stage[1])[0]
        from_cores = math.ceil(min(sums) / main_ms)
        rows.append(f"| {network}, {size} | {' | '.join(cells)} | {slowest}; from {from_cores} cores the main thread |")
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each job, of which the fastest counts (%(default)s)")
    parser.add_argument("--main-thread", action="store_true", help="nothing but a job with small JPEGs")
    parser.add_argument("--device-ms", type=float, default=DEVICE_MS[0], help="of that job, an image (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="of that job (auto)")
    args = parser.parse_args()
    rounds, seconds = (min(args.rounds, 4), 0.3) if args.quick else (args.rounds, 1.0)
    few, many = (500, 2000) if args.quick else (500, 4500)
    with tempfile.TemporaryDirectory() as name:
        if args.main_thread:
            folders = write_folders(Path(name), (few, many), SMALL_WH)
            wall, main_ms, _ = slopes(folders, args.device_ms, rounds, args.batch_size or "auto")
            publish([_job_figure("160×120", args.device_ms, wall), _main_figure(main_ms)], args.json)
            return
        per_image = {}
        for size, size_wh in SIZES_WH.items():
            path = next(write_jpegs(Path(name, "one", size), 1, size_wh, distinct=1).iterdir())
            per_image[size] = {
                **fetches(path, FETCHES[size] // (4 if args.quick else 1)),
                **in_own_process(stages, path, seconds)[0],
            }
        names = list(per_image["0.3 MP"])
        print("Milliseconds of a processor an image, the first three of fetching and hashing:\n")
        print(f"| image | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
        for size, found in per_image.items():
            print(f"| {size} | {' | '.join(f'{found[stage]:.3f}' for stage in names)} |", flush=True)
        folders = write_folders(Path(name), (few, many), SIZES_WH["0.3 MP"])
        figures, main_ms, rows = [], 0.0, []
        for device_ms in DEVICE_MS:
            wall, of_main, cpu = slopes(folders, device_ms, rounds)
            main_ms = max(main_ms, of_main)
            rows.append(f"| {device_ms} | {1000 / wall:,.0f} | {1000 / device_ms:,.0f} | {of_main:.3f} | {cpu:.3f} |")
            figures.append(_job_figure("0.3 MP", device_ms, wall))
    print(
        "\n| device, ms an image | images/s | device alone | main thread, ms | all threads, ms |\n|---|---|---|---|---|"
    )
    print("\n".join(rows))
    figures.append(_main_figure(main_ms))
    print(f"\nImages/s that cores can feed, from {', '.join(SOURCES)}:\n")
    print(f"| network, image | {' | '.join(map(str, CORES))} | what limits first |\n|---{'|---' * (len(CORES) + 1)}|")
    print("\n".join(row for size, found in per_image.items() for row in describe(size, found, main_ms)) + "\n")
    publish(figures, args.json)


def _job_figure(size: str, device_ms: float, wall_ms: float) -> Figure:
    what = f"job, {size}, a device of {device_ms} ms an image"
    return Figure(what, "the device alone", "images/s", 1000 / wall_ms, 1000 / device_ms, True)


def _main_figure(main_ms: float) -> Figure:
    return Figure("main thread of a job", "its goal", "ms an image", main_ms, GOAL_MAIN_MS, False)


if __name__ == "__main__":
    main()
