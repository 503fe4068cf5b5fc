"""What does a label set of many parts ask of its store?  python -m benchmarks.labels.request_budgets

Label sets of 1,000 and of 10,000 small parts lie in an S3 in memory that counts (`tests/fakes/counting/s3.py`); jobs
begin, skip, close and repair on them, commands read them. Prints requests and bytes by step, their slopes per part,
what a row of `images` costs in a compacted part, and what all that makes for a billion images, in requests, hours,
gigabytes and dollars. Counts don't depend on the machine, but for the PUTs of heartbeats, one every 15 s. Peer: reading
whole files of `images` where a job that starts reads ids.
"""

import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_job, gather
from labelbeam.labelset.compact import TARGET_BYTES, compact_parts
from labelbeam.labelset.part_files import iter_file
from labelbeam.labelset.parts import Part, count_part, list_parts, part_path
from labelbeam.labelset.side_by_side import THREADS
from labelbeam.pipeline.running.repair import repair
from labelbeam.pipeline.running.status import collect_status
from labelbeam.results.reader import open_label_set
from labelbeam.storage.stores.readers import TAIL_BYTES
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.skip_labelled import SkipLabelled

from benchmarks.figures import Figure, arguments, in_own_process, publish
from tests.fakes.counting.label_sets import LABEL_SET, OUTPUT, ids_of, put_label_set, put_part, random_ids
from tests.fakes.counting.s3 import DELETE, GET, LIST, PUT, CountingS3, counting_s3
from tests.fakes.folders_of_parts import reference
from tests.fakes.generated_label_sets import generate_label_set

NEW_PARTS = 20  # that a job adds
IMAGES_A_PART = 4  # of the generated sets: requests don't depend on it
BOXES_A_IMAGE, SHAPES, PART_IMAGES = 7, 5000, 2000  # of the part that is compacted
KINDS = (LIST, GET, PUT, DELETE)


@dataclass(frozen=True)
class Cost:
    """Requests by kind, and bytes of bodies."""

    requests: dict[str, int]
    read: int
    written: int


@contextmanager
def _counted(store: CountingS3, costs: dict[str, Cost], step: str) -> Iterator[None]:
    store.reset()
    yield
    requests = {kind: store.count(kind) for kind in KINDS}
    costs[step] = Cost(requests, sum(store.bytes_read.values()), sum(store.bytes_written.values()))


def measure(store: CountingS3, num_parts: int, new_parts: int = NEW_PARTS) -> dict[str, Cost]:
    """The cost of each step on a label set of `num_parts` parts. The store's options must be in use."""
    costs: dict[str, Cost] = {}
    jobs = [f"2026020{day}T000000-{num_parts:06x}" for day in range(5)]
    parts = put_label_set(store, num_parts, IMAGES_A_PART)
    with _counted(store, costs, "status"):
        collect_status(OUTPUT)
    with _counted(store, costs, "open to read"):
        open_label_set(OUTPUT)
    with _counted(store, costs, "start"):
        job = begin_job(OUTPUT, jobs[1], LABEL_SET)
    with _counted(store, costs, "skip what has a row"):
        with beam.Pipeline("FnApiRunner", PipelineOptions(store.options)) as pipeline:
            _ = pipeline | beam.Create([reference("new")]) | SkipLabelled(job)
    added = [put_part(store, jobs[1], random_ids(IMAGES_A_PART)) for _ in range(new_parts)]
    with _counted(store, costs, f"close with {new_parts} new parts"):
        close_job(job, "complete", gather(job, added, agree=True).parts)
    begin_job(OUTPUT, jobs[2], LABEL_SET)
    left = [put_part(store, jobs[2], random_ids(IMAGES_A_PART)) for _ in range(new_parts)]
    with _counted(store, costs, f"start, {new_parts} parts of a dead job"):
        job = begin_job(OUTPUT, jobs[3], LABEL_SET, dead_after_s=0)
    with _counted(store, costs, "close, nothing new"):
        close_job(job, "complete", gather(job, (), agree=False).parts)
    job = begin_job(OUTPUT, jobs[4], LABEL_SET, may_repeat=True)
    again = [put_part(store, jobs[4], ids_of(store, part)) for part in [*parts[:1], *left[:1]]]
    with _counted(store, costs, "close, images of 2 parts labelled again"):
        close_job(job, "complete", gather(job, again, agree=True).parts)
    with _counted(store, costs, "repair: reads all, compacts"):
        repair(OUTPUT)
    return costs


@dataclass(frozen=True)
class Compacted:
    """What compaction makes of small parts with detections and masks of a real detector's sizes.

    Attributes:
      images: in the part that it made.
      num_bytes: of its files by table.
      seconds, peak_mib: of compacting; `idle_mib` of a process that only imports the same.
      id_requests, id_bytes: what reading its ids asked of a store, without the end of the file, which comes first.
      row_groups: of its table `images`.
    """

    images: int
    num_bytes: dict[str, int]
    seconds: float
    peak_mib: float
    idle_mib: float
    id_requests: int
    id_bytes: int
    row_groups: int


def compact(output: str) -> tuple[Part, float]:
    """Makes one part of all in a folder; to be called in a fresh process."""
    parts = [count_part(output, stem, sizes) for stem, sizes in list_parts(output).items()]
    started = time.monotonic()
    return compact_parts(output, "made", parts), time.monotonic() - started


def measure_compacted(store: CountingS3, num_images: int) -> Compacted:
    """Compacts on a local disk, then reads the ids from the store, as a job does that starts."""
    with tempfile.TemporaryDirectory() as folder:
        output = generate_label_set(
            Path(folder), num_images, mean_detections=BOXES_A_IMAGE, part_images=PART_IMAGES, num_shapes=SHAPES
        )
        (made, seconds), peak_mib = in_own_process(compact, str(output))
        data = Path(part_path(str(output), "images", made.stem)).read_bytes()
    uri = part_path(OUTPUT, "images", made.stem)
    store.put(uri.removeprefix("s3://"), data)
    store.reset()
    rows = sum(batch.num_rows for batch in iter_file(uri, "images", ["image_id", "error_kind"]))
    assert rows == num_images
    return Compacted(
        num_images,
        dict(made.num_bytes),
        seconds,
        peak_mib,
        in_own_process(list_parts, tempfile.gettempdir())[1],
        store.count(GET) - 1,
        sum(store.bytes_read.values()) - TAIL_BYTES,
        pq.read_metadata(io.BytesIO(data)).num_row_groups,
    )


def budget_table(few: int, many: int, costs: dict[int, dict[str, Cost]]) -> str:
    """Requests and bytes of each step at both sizes, and what a part more adds, as Markdown."""
    lines = [f"| step | requests at {few:,} parts | at {many:,} | per 1,000 parts more | bytes read per part more |"]
    lines.append("|---|---|---|---|---|")
    for step, less in costs[few].items():
        more = costs[many][step]
        slopes = {kind: (more.requests[kind] - less.requests[kind]) / (many - few) * 1000 for kind in KINDS}
        grows = ", ".join(f"{slope:,.4g} {kind}" for kind, slope in slopes.items() if abs(slope) >= 0.005) or "none"
        read = (more.read - less.read) / (many - few)
        lines.append(f"| {step} | {_shown(less)} | {_shown(more)} | {grows} | {read:,.0f} |")
    return "\n".join(lines)


def _shown(cost: Cost) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in cost.requests.items() if number)


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars: of a thousand puts or listings, of a thousand gets, of a gigabyte and month."""

    store: str
    puts: float
    gets: float
    gigabyte_month: float


PRICES = (
    Prices("S3 Standard, us-east-1", 0.005, 0.0004, 0.023),
    Prices("GCS Standard, us-east1", 0.005, 0.0004, 0.020),
)
WAIT_S = 0.05  # of a request to a store in the same region, about


def billion_table(compacted: Compacted, images: int = 1_000_000_000, workers: int = 100) -> str:
    """What the measured slopes make for so many images, as Markdown."""
    largest = max(compacted.num_bytes.values()) / compacted.images
    small = images / ExecutionOptions().part_images
    large = images * largest / TARGET_BYTES
    tables, pieces = len(compacted.num_bytes), 5 << 20  # of a multipart upload
    total = sum(compacted.num_bytes.values()) / compacted.images * images
    id_requests = large + images / compacted.images * compacted.row_groups * 2  # of ids and of failures
    id_bytes = compacted.id_bytes / compacted.images * images + large * TAIL_BYTES
    rows = [
        ("list the images by their prefix, one listing", images / 1000, 0, 0, images / 1000 * WAIT_S),
        ("read them", 0, images, 0, None),
        ("write parts", small * tables, small * 2, 0, None),
        (
            "close: compact",
            total / pieces + large * tables * 2,
            small * tables,
            total,
            small * tables * WAIT_S / workers,
        ),
        (
            "close after a worker has died: compare all new rows",
            0,
            small,
            images * compacted.num_bytes["images"] / compacted.images,
            small * WAIT_S / workers,
        ),
        ("close: list, write the snapshot", small * tables / 1000 * 2, 10, 0, small * tables / 1000 * 2 * WAIT_S),
        (
            "start the next job: list parts, read all ids",
            large * tables / 1000,
            id_requests,
            id_bytes,
            id_requests * WAIT_S / workers,
        ),
        (
            "start after a job that died half-way: list and read its parts",
            small / 2 * tables / 1000,
            small / 2 * tables,
            images / 2 * compacted.num_bytes["images"] / compacted.images,
            small / 2 * tables * WAIT_S / THREADS,
        ),
        ("open to read, or `status`", large * tables / 1000, 5, 0, large * tables / 1000 * WAIT_S),
        ("`repair`: reads everything", large * tables / 1000, total / (16 << 20), total, total / 100e6),
    ]
    lines = [
        "| step | PUT, LIST | GET | GB read | hours waiting | " + " | ".join(f"$, {p.store}" for p in PRICES) + " |"
    ]
    lines.append("|---|---|---|---|---|" + "---|" * len(PRICES))
    for what, puts, gets, read, seconds in rows:
        dollars = [f"{puts / 1000 * prices.puts + gets / 1000 * prices.gets:,.2f}" for prices in PRICES]
        hours = "with the images" if seconds is None else f"{seconds / 3600:,.2g}"
        lines.append(f"| {what} | {puts:,.0f} | {gets:,.0f} | {read / 1e9:,.0f} | {hours} | {' | '.join(dollars)} |")
    kept = [f"{total / 1e9 * prices.gigabyte_month:,.0f}" for prices in PRICES]
    lines.append(f"| keep the tables, a month | | | {total / 1e9:,.0f} | | {' | '.join(kept)} |")
    return "\n".join(lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, default=1000, metavar="N", help="parts")
    parser.add_argument("--many", type=int, metavar="N", help="parts; default: 10,000, with --quick 2,000")
    parser.add_argument(
        "--images", type=int, metavar="N", help="in the compacted part; default: 100,000, with --quick 50,000"
    )
    args = parser.parse_args()
    images = args.images or (50_000 if args.quick else 100_000)
    many = args.many or (2000 if args.quick else 10_000)
    with counting_s3() as store:
        FileSystems.set_options(PipelineOptions(store.options))
        costs = {num_parts: measure(store, num_parts) for num_parts in (args.few, many)}
        compacted = measure_compacted(store, images)
    print(budget_table(args.few, many, costs), "\n")
    sizes = ", ".join(f"{table} {size / compacted.images:.0f}" for table, size in compacted.num_bytes.items())
    print(
        f"A compacted part of {compacted.images:,} images: {sizes} bytes an image; made in {compacted.seconds:.0f} s "
        f"with {compacted.peak_mib:,.0f} MiB at most, {compacted.idle_mib:,.0f} of them imports. Ids of its "
        f"{compacted.row_groups} row groups: {compacted.id_requests} requests beside that of the file's end, "
        f"{compacted.id_bytes / compacted.images:.1f} bytes an image\n"
    )
    print(billion_table(compacted))
    ids, whole = (num_bytes / compacted.images for num_bytes in (compacted.id_bytes, compacted.num_bytes["images"]))
    what = f"what a job that starts reads of a compacted part of {images:,} images"
    publish([Figure(what, "whole files of `images`", "bytes an image", ids, whole, higher_is_better=False)], args.json)


if __name__ == "__main__":
    main()
