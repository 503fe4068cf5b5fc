"""What can a worker feed a GPU?  python -m benchmarks.jobs.feeding [--quick]

First what each stage of an image takes of a processor, alone in one thread: reading a file, its SHA-256, decoding,
each engine's own preprocessing, rows, masks, Parquet. Then whole jobs with a fake device that computes by itself: the
main thread's processor time an image, which no number of cores helps, and images a second against the device's own.
Both sizes of a job run in one process each; what counts is the slope of time over size. Last, what so many cores can
feed: the lesser of cores over the stages' sum, and of one over the main thread's share.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.rows import ImageRows
from labelbeam.labelset.schemas import build_table
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec
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

SIZES_WH = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}
DEVICE_MS = (0.3, 1.0, 3.0)
CORES = (2, 8, 16, 64)
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


def stages(path: Path, seconds: float) -> dict[str, float]:
    """Milliseconds of a processor that each stage takes for an image; for a fresh process."""
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
        "read": cpu_ms(lambda: read_bytes(reference, options, ImageFacts()), seconds),
        "sha256": cpu_ms(lambda: hashlib.sha256(data).hexdigest(), seconds),
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


def job(folder: Path, count: int, device_s: float) -> tuple[float, float, float]:
    """Seconds of wall time, of the main thread, of all processors, of a job; for a fresh process."""
    labels = free_label_config()
    labels = replace(labels, detector=FakeDeviceSpec(**{**vars(labels.detector), "seconds": device_s}))
    options = PipelineOptions(["--runner=FnApiRunner"])
    with tempfile.TemporaryDirectory(dir=folder.parent) as output:
        began = time.monotonic(), time.thread_time(), time.process_time()
        run_job(prepare_job(JobSpec([str(folder)], output, labels, limit=count), options), options)
        ended = time.monotonic(), time.thread_time(), time.process_time()
    wall, main, cpu = (end - begin for begin, end in zip(began, ended, strict=True))
    return wall, main, cpu


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each job, of which the fastest counts (%(default)s)")
    args = parser.parse_args()
    rounds, seconds = (1, 0.3) if args.quick else (args.rounds, 1.0)
    few, many = (500, 2000) if args.quick else (1000, 5000)
    figures, per_image = [], {}
    with tempfile.TemporaryDirectory() as name:
        for size, size_wh in SIZES_WH.items():
            folder = write_jpegs(Path(name, "one", size), 1, size_wh, distinct=1)
            per_image[size], _ = in_own_process(stages, next(folder.iterdir()), seconds)
        names = list(per_image["0.3 MP"])
        print("Milliseconds of a processor an image:\n")
        print(f"| image | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
        for size, found in per_image.items():
            print(f"| {size} | {' | '.join(f'{found[stage]:.3f}' for stage in names)} |", flush=True)
        folders = {count: write_jpegs(Path(name, str(count)), count, SIZES_WH["0.3 MP"]) for count in (few, many)}
        print(
            "\n| device, ms an image | images/s | device alone | main thread, ms an image | all threads, ms an image |"
        )
        print("|---|---|---|---|---|")
        main_ms = 0.0
        for device_ms in DEVICE_MS:
            best = {}
            for count, images in folders.items():
                runs = [in_own_process(job, images, count, device_ms / 1000)[0] for _ in range(rounds)]
                best[count] = [min(column) for column in zip(*runs, strict=True)]
            wall, main, cpu = ((b - a) / (many - few) for a, b in zip(best[few], best[many], strict=True))
            main_ms = max(main_ms, 1000 * main)
            print(
                f"| {device_ms} | {1 / wall:,.0f} | {1000 / device_ms:,.0f} | {1000 * main:.3f} | {1000 * cpu:.3f} |",
                flush=True,
            )
            figures.append(
                Figure(
                    f"job, 0.3 MP, a device of {device_ms} ms an image",
                    "the device alone",
                    "images/s",
                    1 / wall,
                    1000 / device_ms,
                    True,
                )
            )
    figures.append(Figure("main thread, 0.3 MP", "its goal", "ms an image", main_ms, GOAL_MAIN_MS, False))
    print(
        f"\nImages/s that cores can feed (* the main thread is the limit):\n\n| image | {' | '.join(map(str, CORES))} |"
    )
    print(f"|---{'|---' * len(CORES)}|")
    for size, found in per_image.items():
        host_ms = sum(ms for stage, ms in found.items() if not stage.startswith("resize")) + main_ms
        cells = [
            f"{min(1000 * cores / host_ms, 1000 / main_ms):,.0f}{'*' * (1000 / main_ms < 1000 * cores / host_ms)}"
            for cores in CORES
        ]
        print(f"| {size} | {' | '.join(cells)} |")
    print()
    publish(figures, args.json)


if __name__ == "__main__":
    main()
