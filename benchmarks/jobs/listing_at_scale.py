"""What does finding out what is still to be labelled cost?  python -m benchmarks.jobs.listing_at_scale

Lists 1,000,000 URIs, from a `.txt` and from a `.parquet` list, and leaves out 900,000 that finished parts hold, as
the first steps of a job do, on the FnApiRunner; prints seconds and peak memory, and how much memory a URI more takes
(the slope between two sizes). Peer: a set of ids in a bare loop over the same files.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.list_images import ListImages
from labelbeam.transforms.skip_labelled import SkipLabelled
from labelbeam.transforms.sources.inputs import ListOptions
from labelbeam.transforms.sources.uri_lists import read_entries

from ..figures import Figure, arguments, in_own_process, peak_mib, publish

IMAGES_A_PART = 50_000
OF_TEN_LABELLED = 9


class Cost(NamedTuple):
    """Of one way: images that were left, wall time in seconds, by how many MiB the process's peak memory grew."""

    todo: int
    seconds: float
    grown_mib: float


def uris(count: int) -> Iterator[str]:
    """As crawls have them: 54 characters, 16 of which nobody could guess."""
    rng = np.random.default_rng(0)
    for start in range(0, count, 1 << 16):
        for name in rng.integers(1 << 62, size=min(1 << 16, count - start)):
            yield f"https://images.example.com/train/{name:016x}.jpg"


def write_inputs(folder: Path, count: int) -> dict[str, Path]:
    """The lists by format, and an output folder `labels` with nine tenths of their images."""
    lists = {"txt": folder / "uris.txt", "parquet": folder / "uris.parquet"}
    with lists["txt"].open("w") as file:
        file.writelines(f"{uri}\n" for uri in uris(count))
    with pq.ParquetWriter(lists["parquet"], pa.schema({"uri": pa.string()})) as writer:
        listed = uris(count)
        while batch := list(itertools.islice(listed, 1 << 16)):
            writer.write_table(pa.table({"uri": batch}))
    images = folder / "labels" / "images"
    images.mkdir(parents=True)
    labelled = (image_id(uri) for uri in itertools.islice(uris(count), count * OF_TEN_LABELLED // 10))
    for number in itertools.count():
        if not (ids := list(itertools.islice(labelled, IMAGES_A_PART))):
            return lists
        pq.write_table(
            pa.table({"image_id": ids}), images / f"part-benchmark-{number:012x}.parquet", compression="zstd"
        )


def through_beam(uri_list: Path, folder: Path) -> int:
    """As `pipeline/job.py` begins."""
    counted = folder / f"counted-{uri_list.suffix}"
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        todo = pipeline | ListImages([str(uri_list)]) | SkipLabelled(str(folder / "labels"))
        _ = (
            todo["references"]
            | beam.combiners.Count.Globally()
            | beam.io.WriteToText(str(counted), shard_name_template="")
        )
    return int(counted.read_text())


def bare_loop(uri_list: Path, folder: Path) -> int:
    labelled = set()
    for part in (folder / "labels" / "images").iterdir():
        labelled.update(pq.read_table(part).column("image_id").to_pylist())
    entries = set(read_entries(str(uri_list), uri_list.suffix[1:], ListOptions()))
    return sum(image_id(entry) not in labelled for entry in entries)


def measure(way: str, uri_list: Path, folder: Path) -> Cost:
    """To be called in a fresh process."""
    run = {"labelbeam": through_beam, "bare loop": bare_loop}[way]
    before_mib, started = peak_mib(), time.monotonic()
    todo = run(uri_list, folder)
    return Cost(todo, time.monotonic() - started, peak_mib() - before_mib)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, default=100_000)
    parser.add_argument("--many", type=int, help="default: 1,000,000, with --quick 300,000")
    args = parser.parse_args()
    args.many = args.many or (300_000 if args.quick else 1_000_000)
    costs, peaks_mib = {}, {}
    for count in (args.few, args.many):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for (form, uri_list), way in itertools.product(
                write_inputs(folder, count).items(), ("labelbeam", "bare loop")
            ):
                costs[form, way, count], peaks_mib[form, way, count] = in_own_process(measure, way, uri_list, folder)
    print("| list | way | URIs | left | seconds | memory grew by, MiB |\n|---|---|---|---|---|---|")
    for (form, way, count), cost in costs.items():
        print(f"| .{form} | {way} | {count:,} | {cost.todo:,} | {cost.seconds:.1f} | {cost.grown_mib:,.0f} |")
    print()
    for form, way in dict.fromkeys((form, way) for form, way, _ in costs):
        few, many = (costs[form, way, count] for count in (args.few, args.many))
        slope = (many.grown_mib - few.grown_mib) * (1 << 20) / (args.many - args.few)
        print(f".{form}, {way}: {slope:.0f} bytes a URI more, {many.seconds / args.many * 1e6:.1f} µs a URI")
    print()
    publish(
        [
            Figure(
                f"listing {args.many:,} URIs (.{form}), nine tenths labelled",
                "a set of ids in a bare loop",
                "s",
                costs[form, "labelbeam", args.many].seconds,
                costs[form, "bare loop", args.many].seconds,
                False,
                peaks_mib[form, "labelbeam", args.many],
                peaks_mib[form, "bare loop", args.many],
            )
            for form in ("txt", "parquet")
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
