"""Whether a device would wait for the host that feeds it, for what, and how many processors it would need."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ...detectors.device_share import processors
from ...detectors.protocol import PreparingDetector
from ...labelset.parts import new_stem, write_part
from ...labelset.schemas import build_table
from ...storage.read_options import ReadOptions
from ...storage.temporary import temporary_folder
from ...storage.uris import is_http
from ...transforms.detect import box_prompts, labelled
from ...transforms.elements import FetchedImage, ImageFacts, ImageReference
from ...transforms.fetch.read_bytes import read_bytes
from ...transforms.fetch_images import ImageFetcher
from ...transforms.to_rows import rows_of_images
from ..job import Job

MAX_IMAGES, MAX_S = 32, 3.0  # what the stages are timed with, and for how long at most each
RESIZING_THREADS = 8  # of an engine, at most
LEAST_MS = 0.01  # of a model: what is left of a call without its resize is no more exact than that

Clock = Callable[[], float]


@dataclass(frozen=True)
class Feeding:
    """What a host does for an image, and what a device makes of it.

    Attributes:
      host_ms: of a processor, by stage: `fetch`, `decode` (and the hash of the file), `resize` (0 where the model does
        it), `rows` (masks and tables). Each alone in one thread.
      model_ms: by the clock, in the model's calls, resizing aside.
      prepared_ms: by the clock, from one image that the host has done its work for to the next, if it does nothing
        else.
      waits_for: the stage that a device as fast as the model would wait for most; None if it never waits.
      cores: processors that it takes to keep such a device busy.
    """

    host_ms: Mapping[str, float]
    model_ms: float
    prepared_ms: float
    waits_for: str | None
    cores: int


def feeding(host_ms: Mapping[str, float], read_ms: float, model_ms: float, cores: int) -> Feeding:
    """The slowest of three: reads that wait for disks and servers, the host's processors, the device.

    Args:
      host_ms: see `Feeding`.
      read_ms: by the clock, from one file that is read to the next, however many processors there are.
      model_ms: see `Feeding`.
      cores: processors of the host.
    """
    computing_ms = sum(host_ms.values()) / cores
    prepared_ms = max(computing_ms, read_ms)
    slowest = "fetch" if read_ms > computing_ms else max(host_ms, key=lambda stage: host_ms[stage])
    return Feeding(
        host_ms,
        model_ms,
        prepared_ms,
        slowest if prepared_ms > model_ms else None,
        max(1, math.ceil(sum(host_ms.values()) / model_ms)),
    )


def measure_feeding(job: Job, references: Sequence[ImageReference], model_ms: float) -> Feeding | None:
    """Times each stage of the host, one image after the other, in this thread.

    Args:
      job: says how; its detector is kept loaded (`keeping_detector`), and called once or twice.
      references: some of its images, those first that are less likely to be in a cache.
      model_ms: by the clock, an image, in the model's calls.

    Returns:
      None if none of the images can be decoded.
    """
    read = _TimedRead()
    execution = job.spec.execution
    fetcher = ImageFetcher(
        execution, job.label_config.decode_options(execution.max_pixels, execution.exif_columns), read
    )
    images, spent, end = [], 0.0, time.monotonic() + MAX_S
    for reference in references[:MAX_IMAGES]:
        began = time.process_time()
        image = fetcher.fetch(reference)
        spent += time.process_time() - began
        if isinstance(image, FetchedImage):
            images.append(image)
        if time.monotonic() > end:
            break
    tried = max(1, read.count)
    if not images:
        return None
    at_once = min(execution.read_threads, execution.max_per_host if is_http(references[0].uri) else math.inf)
    host_ms = {
        "fetch": 1000 * read.cpu_s / tried,
        "decode": max(0.0, 1000 * (spent - read.cpu_s) / len(images)),
        **_after_decoding(job, images, model_ms),
    }
    # Of a detector that processes share, resizing is a part of its calls.
    resize_ms = host_ms["resize"] / min(RESIZING_THREADS, processors()) if execution.share_model else 0.0
    return feeding(host_ms, 1000 * read.wall_s / tried / at_once, max(model_ms - resize_ms, LEAST_MS), processors())


class _TimedRead:
    """`read_bytes`, which adds up what it takes. HTTP is read by another thread: so the process's time counts."""

    def __init__(self):
        self.count, self.cpu_s, self.wall_s = 0, 0.0, 0.0

    def __call__(self, reference: ImageReference, options: ReadOptions, facts: ImageFacts) -> bytes:
        cpu, wall = time.process_time(), time.monotonic()
        try:
            return read_bytes(reference, options, facts)
        finally:
            self.count += 1
            self.cpu_s += time.process_time() - cpu
            self.wall_s += time.monotonic() - wall


def _after_decoding(job: Job, images: Sequence[FetchedImage], model_ms: float) -> dict[str, float]:
    """Milliseconds of this thread that resizing and rows take an image."""
    detector: Any = job.label_config.detector.load()
    few = images[: max(1, min(job.spec.execution.max_batch_size, int(1000 * MAX_S / model_ms)))]
    pixels: list[Any] = [image.pixels for image in few]
    boxes = box_prompts(few)
    found = labelled(few, detector.detect_in_boxes(pixels, boxes) if boxes else detector.detect(pixels))
    options = job.label_config.row_options(job.carry)
    began = resized = time.thread_time()
    if isinstance(detector, PreparingDetector):
        for one in pixels:
            detector.prepare(one)
        resized = time.thread_time()
    rows = rows_of_images(found, options, datetime.now(timezone.utc)) * max(1, MAX_IMAGES // len(found))
    made = time.thread_time()
    with temporary_folder("estimate") as folder:
        tables = {name: build_table(name, rows) for name in job.label_config.tables}
        write_part(folder, new_stem(job.job_id), tables)
    written = time.thread_time()
    return {
        "resize": 1000 * (resized - began) / len(few),
        "rows": 1000 * ((made - resized) / len(few) + (written - made) / len(rows)),
    }


def describe_feeding(found: Feeding) -> list[str]:
    """For a person: lines, each a name and what is told under it."""
    stages = sorted(((ms, stage) for stage, ms in found.host_ms.items() if ms >= 0.005), reverse=True)
    of_stages = ", ".join(f"{stage} {ms:.2g}" for ms, stage in stages)
    waits = "never waits for the host"
    if found.waits_for is not None:
        share = 1 - found.model_ms / found.prepared_ms
        waits = f"waits {share:.0%} of the time, most of all for {found.waits_for}"
    needs = "1 processor feeds it" if found.cores == 1 else f"it takes {found.cores:,} processors to feed it"
    return [
        f"  host        {sum(found.host_ms.values()):,.3g} ms of a processor an image: {of_stages}",
        f"  model       {found.model_ms:,.3g} ms an image; the host prepares one in {found.prepared_ms:,.3g} ms",
        f"  device      one as fast as the model {waits}; {needs}",
    ]
