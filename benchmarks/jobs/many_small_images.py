"""What does labelbeam itself cost an image, and does that grow?  python -m benchmarks.jobs.many_small_images

Labels small JPEGs end to end, as `labelbeam label` does, with a detector that costs nothing, on the FnApiRunner. Prints
images/s and peak memory in each tenth of the way, how long a start and a close take, and what files come out. `--kill`
kills the job when half of the images are done, and has a second one do the rest. Peer: a bare loop that reads and
decodes the same files with Pillow.
"""

import hashlib
import io
import os
import resource
import signal
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.figures import Figure, arguments, in_own_process, publish
from benchmarks.free_detector import run_free_job
from benchmarks.photos import write_jpegs

IMAGE_WH = (128, 96)
IMAGES_A_FOLDER = 10_000
BARE_IMAGES = 100_000  # at most, for the bare loop: it keeps nothing, so more of them say nothing new
SAMPLE_EVERY_S = 0.2
LEAST_IMAGES = 10_000  # fewer, and a tenth has no parts of its own


@dataclass
class Run:
    """What one job cost, up to its end or to its kill. Memory is resident, in MiB; times are seconds by the clock.

    Attributes:
      start_s: until the first part.
      close_s: from the last image to the end of the process.
      seconds, cpu_seconds: in all; `cpu_seconds` of processors.
      reached_s: when each tenth of all images was done, by its number.
      peaks_mib: in each tenth; number 10 is after the last image.
      killed: whether it was.
    """

    start_s: float = 0.0
    close_s: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reached_s: dict[int, float] = field(default_factory=dict)
    peaks_mib: dict[int, float] = field(default_factory=dict)
    killed: bool = False

    def tenths(self) -> list[tuple[int, float | None, float]]:
        """(number from 1, seconds, peak memory) of each tenth that this job worked at; None for the seconds of one that
        it didn't do from its first to its last part."""
        times = {0: self.start_s, **self.reached_s} if 1 in self.reached_s else self.reached_s
        return [
            (k + 1, times[k + 1] - times[k] if {k, k + 1} <= times.keys() else None, peak)
            for k, peak in sorted(self.peaks_mib.items())
            if k < 10
        ]


class DoneImages:
    """Counts the images in a label set's parts as they appear.

    Args:
      folder: of the table `images`.
      count: images in all; compaction writes them again.
    """

    def __init__(self, folder: Path, count: int):
        self._folder, self._count = folder, count
        self._seen: set[str] = set()
        self._rows = 0

    def __call__(self) -> int:
        if self._folder.is_dir() and self._rows < self._count:
            for name in {name for name in os.listdir(self._folder) if name.startswith("part-")} - self._seen:
                self._seen.add(name)
                self._rows += pq.read_metadata(self._folder / name).num_rows
        return min(self._rows, self._count)


def write_images(folder: Path, count: int) -> None:
    """Small photographic JPEGs in folders of 10,000."""
    for first in range(0, count, IMAGES_A_FOLDER):
        write_jpegs(folder / f"{first // IMAGES_A_FOLDER:03d}", min(IMAGES_A_FOLDER, count - first), IMAGE_WH)


def run_job(images: Path, output: Path, count: int, kill_at: float | None = None) -> Run:
    """Labels a folder in a process of its own, which is watched from here.

    Args:
      kill_at: the share of the images after which the process is killed; None for never.
    """
    run, done_images = Run(), DoneImages(output / "images", count)
    before, cpu_before = done_images(), _children_cpu_s()
    process = get_context("spawn").Process(target=run_free_job, args=(images, output, count))
    process.start()
    assert process.pid is not None
    began, last_image_s = time.monotonic(), None
    while process.is_alive():
        now, done, resident = time.monotonic() - began, done_images(), _resident_mib(process.pid)
        tenth = done * 10 // count
        if done > before:
            run.start_s = run.start_s or now
            for k in range(before * 10 // count + 1, tenth + 1):
                run.reached_s.setdefault(k, now)
            run.peaks_mib[tenth] = max(run.peaks_mib.get(tenth, 0.0), resident)
        if done == count and last_image_s is None:
            last_image_s = now
        if kill_at is not None and done >= kill_at * count and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            run.killed = True
            break
        time.sleep(SAMPLE_EVERY_S)
    process.join()
    if process.exitcode != 0 and not run.killed:
        raise RuntimeError(f"the job ended with {process.exitcode}")
    run.seconds, run.cpu_seconds = time.monotonic() - began, _children_cpu_s() - cpu_before
    run.close_s = run.seconds - last_image_s if last_image_s is not None else 0.0
    return run


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident_mib(pid: int) -> float:
    """Of a process; 0 if it has ended. Linux."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def bare_loop(images: Path, count: int) -> tuple[float, float]:
    """What can't be left out: every file read, its SHA-256, its pixels. Seconds by the clock and of a processor."""
    started, cpu_started = time.monotonic(), time.process_time()
    for _, image in zip(range(count), images.rglob("*.jpg")):
        data = image.read_bytes()
        hashlib.sha256(data).hexdigest()
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return time.monotonic() - started, time.process_time() - cpu_started


def print_run(name: str, run: Run, count: int) -> None:
    """One job's tenths, and what surrounds them."""
    print(f"\n{name}: {run.seconds:,.0f} s, {run.cpu_seconds:,.0f} s of processors")
    print(f"  start, until the first part: {run.start_s:.1f} s")
    print("  tenth  images/s  peak MiB")
    for k, seconds, peak in run.tenths():
        rate = f"{count / 10 / seconds:,.0f}" if seconds else ""
        print(f"  {k:>5}  {rate:>8}  {peak:>8,.0f}")
    if run.killed:
        print("  killed")
    else:
        print(f"  close, from the last image to the end: {run.close_s:.1f} s, {run.peaks_mib.get(10, 0):,.0f} MiB")


def print_files(output: Path) -> None:
    """How many files a label set has, by folder."""
    for folder in sorted(path for path in output.iterdir() if path.is_dir()):
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        print(f"  {folder.name}: {len(sizes):,} files, {sum(sizes) / (1 << 20):,.1f} MiB")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help="default: 100,000, with --quick 10,000")
    parser.add_argument("--kill", action="store_true", help="kill the job half-way; a second one does the rest")
    args = parser.parse_args()
    count = args.images or (10_000 if args.quick else 100_000)
    if count < LEAST_IMAGES:
        parser.error(f"--images: expected {LEAST_IMAGES:,} or more, so that each tenth has parts of its own")
    with tempfile.TemporaryDirectory() as name:
        images, output = Path(name, "images"), Path(name, "labels")
        write_images(images, count)
        bare_count = min(count, BARE_IMAGES)
        (bare_s, bare_cpu_s), bare_mib = in_own_process(bare_loop, images, bare_count)
        print(f"bare loop over {bare_count:,}: {bare_count / bare_s:,.0f} images/s, {bare_mib:,.0f} MiB", flush=True)
        runs = [run_job(images, output, count, kill_at=0.5 if args.kill else None)]
        print_run("a job" if not args.kill else "a job, killed half-way", runs[0], count)
        if args.kill:
            runs.append(run_job(images, output, count))
            print_run("the second start", runs[1], count)
        print("what came out:")
        print_files(output)
    peaks = {k: peak for run in runs for k, _, peak in run.tenths()}
    print(f"\nmemory of the last tenth against the first: {peaks[10] / peaks[1]:.2f}×")
    seconds, cpu_seconds = (sum(getattr(run, what) for run in runs) for what in ("seconds", "cpu_seconds"))
    cpu_ms = (cpu_seconds / count - bare_cpu_s / bare_count) * 1000
    print(f"{cpu_ms:.2f} ms of a processor an image on top of the bare loop\n")
    publish(
        [
            Figure(
                f"{count:,} JPEGs of {IMAGE_WH[0]} × {IMAGE_WH[1]} pixels, a detector that costs nothing",
                "reading and decoding alone, in a loop",
                "images/s",
                count / seconds,
                bare_count / bare_s,
                higher_is_better=True,
                ours_mib=max(max(run.peaks_mib.values()) for run in runs),
                theirs_mib=bare_mib,
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
