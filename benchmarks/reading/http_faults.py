"""What do faulty servers cost a job? 10,000 images over HTTP with 5 % faults in all, against the same without faults.

    python -m benchmarks.reading.http_faults

Runs FetchImages in a pipeline without a detector, with its own defaults but for the deadline, against a real server
in another process; checks that each image ends as it must, and exits with 1 if one doesn't. Peer: the job without
faults, by processor time and by wall time. Wall time is mostly waits that are promised: it ends with the deadline of
the last image that hangs, ten seconds after it was asked for, whatever the client does meanwhile. So there is a third
job, without those that hang: its wall time has the second for which the host is left alone after two 429 in a row, and,
at the end, the pauses before the last images' retries, three and a half seconds at most. A faster client shortens none
of that; processor time tells what faults cost it.
"""

import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from labelbeam.transforms.elements import FailedImage, FetchOutcome, ImageReference
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch_images import FetchImages
from PIL import Image

from benchmarks.figures import Figure, arguments, publish
from tests.fakes.http_server import MisbehavingServer

DEADLINE_S = 10.0
IMAGES, QUICK_IMAGES = 10_000, 2_000


@dataclass(frozen=True)
class Fault:
    """A route of the server that misbehaves, how many of 10,000 images lie there, and how they must end."""

    route: str
    of_10_000: int
    ends_as: tuple[str, ...]  # error kinds that are right, "ok" for an image
    attempts: int


FAULTS = (
    Fault("/status/404", 125, ("not_found",), 1),
    Fault("/flaky/500/1/a.jpg", 125, ("ok",), 2),
    Fault("/busy/1/a.jpg", 80, ("ok",), 2),
    Fault("/reset", 80, ("unreachable", "truncated"), 4),
    Fault("/declares-more/a.jpg", 80, ("truncated",), 4),
    Fault("/hang", 5, ("timeout",), 1),
    Fault("/drip/a.jpg", 5, ("timeout",), 1),
)
HANGING = tuple(fault for fault in FAULTS if fault.ends_as == ("timeout",))
GOOD = "/files/a.jpg"


@dataclass(frozen=True)
class Run:
    """What one job took, in seconds by the clock and of a processor, and how its images ended: (route, status or error
    kind, attempts) -> images."""

    seconds: float
    processor_s: float
    ends: Counter


def routes(images: int, faults: tuple[Fault, ...]) -> list[str]:
    """A route for each image, in random order, the same each time. What ends by its deadline lies in the first
    half: at the list's end, it would be the deadline that is measured."""
    faulty = {fault.route: fault.of_10_000 * images // 10_000 for fault in faults}
    hanging = [fault.route for fault in HANGING for _ in range(faulty.pop(fault.route, 0))]
    others = [route for route, count in faulty.items() for _ in range(count)]
    others += [GOOD] * (images - len(hanging) - len(others))
    random = np.random.default_rng(0)
    others = random.permutation(others).tolist()
    half = random.permutation(hanging + others[: images // 2]).tolist()
    return half + others[images // 2 :]


@contextmanager
def server() -> Iterator[str]:
    """A misbehaving server with one small JPEG, in a process of its own; gives its URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join()


def _serve(connection) -> None:
    with MisbehavingServer({"a.jpg": _small_jpeg()}) as served:
        connection.send(served.url(""))
        connection.recv()


def _small_jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def fetch(url: str, paths: list[str]) -> Run:
    """Fetches an image from each path; a query tells them apart."""
    with tempfile.TemporaryDirectory() as folder:
        ends = os.path.join(folder, "ends")
        references = [ImageReference(f"{url}{path}?n={number}") for number, path in enumerate(paths)]
        started, used_s = time.monotonic(), time.process_time()
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            _ = (
                pipeline
                | beam.Create(references, reshuffle=False)
                | FetchImages(ExecutionOptions(deadline_s=DEADLINE_S))
                | beam.FlatMap(lambda batch: batch)
                | beam.Map(_end_of, url)
                | beam.io.WriteToText(ends, shard_name_template="")
            )
        seconds, used_s = time.monotonic() - started, time.process_time() - used_s
        with open(ends) as lines:
            return Run(seconds, used_s, Counter(tuple(line.split()) for line in lines))


def _end_of(image: FetchOutcome, url: str) -> str:
    route = image.reference.uri.removeprefix(url).partition("?")[0]
    return f"{route} {image.kind if isinstance(image, FailedImage) else 'ok'} {image.facts.attempts}"


def wrong_ends(run: Run) -> list[str]:
    """The images that didn't end as they must, with how they did."""
    right = {fault.route: (fault.ends_as, fault.attempts) for fault in FAULTS} | {GOOD: (("ok",), 1)}
    return [
        f"{count} × {route}: {end} after {attempts} attempts"
        for (route, end, attempts), count in run.ends.items()
        if end not in right[route][0] or int(attempts) != right[route][1]
    ]


def measure(images: int = IMAGES) -> tuple[Run, Run, Run]:
    """The job without faults, with those that don't hang, and with all."""
    answering = tuple(fault for fault in FAULTS if fault not in HANGING)
    with server() as url:
        fetch(url, [GOOD] * 500)  # warm up
        clean = fetch(url, routes(images, ()))
    with server() as url:  # one that knows of no earlier tries
        answered = fetch(url, routes(images, answering))
    with server() as url:
        return clean, answered, fetch(url, routes(images, FAULTS))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help=f"default: {IMAGES}, with --quick {QUICK_IMAGES}")
    args = parser.parse_args()
    images = args.images or (QUICK_IMAGES if args.quick else IMAGES)
    clean, answered, faulty = measure(images)
    print("| job | seconds | images/s | ms of a processor an image |\n|---|---|---|---|")
    for name, run in (("without faults", clean), ("5 % faults, none hangs", answered), ("5 % faults", faulty)):
        per_image_ms = run.processor_s / images * 1e3
        print(f"| {name} | {run.seconds:.1f} | {images / run.seconds:.0f} | {per_image_ms:.2f} |")
    print(
        f"\nWith faults, against without: processor time {faulty.processor_s / clean.processor_s:.2f}×, wall time "
        f"{faulty.seconds / clean.seconds:.2f}×, {answered.seconds / clean.seconds:.2f}× where none hangs\n"
    )
    what, peer, goal = f"{images:,} images over HTTP, 5 % faults", "without faults", round(1 / 1.2, 2)
    publish(
        [
            Figure(f"{what}: processor time", peer, "s", faulty.processor_s, clean.processor_s, False, goal=goal),
            Figure(f"{what}: wall time", peer, "s", faulty.seconds, clean.seconds, False),
            Figure(f"{what}, none hangs: wall time", peer, "s", answered.seconds, clean.seconds, False),
        ],
        args.json,
    )
    if wrong := wrong_ends(clean) + wrong_ends(answered) + wrong_ends(faulty):
        sys.exit("\n".join(f"wrong: {line}" for line in wrong))


if __name__ == "__main__":
    main()
