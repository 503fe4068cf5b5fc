"""What does writing labels cost, and how large are they?  python -m benchmarks.labels.tables

Writes the rows of some thousand images with 20 detections each, with and without masks (COCO's encodings in every
format), each side in a process of its own: labelbeam's parts of 500 images (Arrow tables, Parquet files with zstd,
fsync), against JSON lines (one object a row, one file a table), the same with gzip, and TFRecord files of tf.Example,
one an image, as the Object Detection API writes them. Each side is handed the rows in the form that it likes best.
Prints detections/s and bytes a detection.
"""

import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.parts import new_stem, write_part
from labelbeam.labelset.rows import ImageRows
from labelbeam.labelset.schemas import build_table
from labelbeam.transforms.elements import ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.to_rows import RowOptions, image_rows, rows_as_dicts

from ..figures import Figure, arguments, in_own_process, publish
from .masks import detections

SIZE_HW = (480, 640)
PER_IMAGE = 20
CLASS_NAMES = dict(enumerate(("person", "bicycle", "car", "dog", "chair", "bottle"), start=1))
LABELLED_AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Measured(NamedTuple):
    """Of one side: detections written a second, bytes a detection on disk, all tables together."""

    detections_per_s: float
    bytes_per_detection: float


def labelled(images: int, with_masks: bool) -> list[ImageRows]:
    """Rows as `ToRows` makes them."""
    rng = np.random.default_rng(0)
    masks, boxes = detections(200, whole_image=False)
    rows = []
    for number in range(images):
        chosen = rng.choice(len(boxes), PER_IMAGE, replace=False)
        jittered = np.clip(boxes[chosen] + rng.normal(0, 0.01, (PER_IMAGE, 4)), 0, 1).astype(np.float32)
        scores = np.sort(rng.uniform(0.3, 1, PER_IMAGE).astype(np.float32))[::-1]
        found = Detections(
            jittered,
            rng.integers(1, len(CLASS_NAMES) + 1, PER_IMAGE, dtype=np.int32),
            scores,
            masks[chosen] if with_masks else None,
        )
        facts = ImageFacts(
            1,
            SIZE_HW[1],
            SIZE_HW[0],
            int(rng.integers(50_000, 200_000)),
            rng.bytes(32).hex(),
            float(rng.uniform(5, 50)),
            float(rng.uniform(1, 2)),
        )
        image = LabelledImage(
            ImageReference(f"s3://collection/photos/2026/{number // 1000:04d}/{number:08d}.jpg"), facts, found
        )
        rows.append(image_rows(image, RowOptions(CLASS_NAMES), LABELLED_AT))
    return rows


def write_parquet(rows: list[ImageRows], folder: str, tables: Sequence[str]) -> Callable[[], None]:
    def write() -> None:
        for start in range(0, len(rows), ExecutionOptions.part_images):
            part = rows[start : start + ExecutionOptions.part_images]
            write_part(folder, new_stem("benchmark"), {name: build_table(name, part) for name in tables})

    return write


def write_json_lines(rows: list[ImageRows], folder: str, tables: Sequence[str]) -> Callable[[], None]:
    return _json_writer(rows, folder, tables, lambda path: open(path, "w", encoding="utf-8"), "jsonl")


def write_gzipped_json_lines(rows: list[ImageRows], folder: str, tables: Sequence[str]) -> Callable[[], None]:
    return _json_writer(
        rows, folder, tables, lambda path: gzip.open(path, "wt", compresslevel=6, encoding="utf-8"), "jsonl.gz"
    )


def _json_writer(rows, folder, tables, open_file, suffix) -> Callable[[], None]:
    dicts = {name: [row for image in rows for row in rows_as_dicts(image, name)] for name in tables}
    for row in dicts["images"]:
        row["labelled_at"] = row["labelled_at"].isoformat()

    def write() -> None:
        for name, table in dicts.items():
            with open_file(os.path.join(folder, f"{name}.{suffix}")) as file:
                for row in table:
                    file.write(json.dumps(row) + "\n")

    return write


def write_tfrecord(rows: list[ImageRows], folder: str, tables: Sequence[str]) -> Callable[[], None]:
    import tensorflow as tf

    columns = [
        {
            f"{table}/{name}": list(values)
            for table in tables
            for name, values in image.tables[table].items()
            if name != "image_id" or table == "images"
        }
        for image in rows
    ]
    for image in columns:
        image["images/labelled_at"] = [LABELLED_AT.isoformat()]

    def feature(values: list) -> tf.train.Feature:
        values = [value for value in values if value is not None]
        if values and isinstance(values[0], str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))
        if values and isinstance(values[0], (float, np.floating)):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def write() -> None:
        with tf.io.TFRecordWriter(os.path.join(folder, "labels.tfrecord")) as file:
            for image in columns:
                example = tf.train.Example(
                    features=tf.train.Features(feature={n: feature(v) for n, v in image.items()})
                )
                file.write(example.SerializeToString())

    return write


WRITERS = {
    "Parquet": write_parquet,
    "JSON lines": write_json_lines,
    "JSON lines, gzip": write_gzipped_json_lines,
    "TFRecord of tf.Example": write_tfrecord,
}


def measure(writer: str, images: int, with_masks: bool, rounds: int) -> Measured:
    """The best of some rounds; to be called in a fresh process."""
    tables = ("images", "detections", *(("masks",) if with_masks else ()))
    rows = labelled(images, with_masks)
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            write = WRITERS[writer](rows, folder, tables)
            started = time.perf_counter()
            write()
            seconds.append(time.perf_counter() - started)
            num_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return Measured(images * PER_IMAGE / min(seconds), num_bytes / (images * PER_IMAGE))


def main() -> None:
    args = arguments(__doc__).parse_args()
    images, rounds = (1000, 2) if args.quick else (4000, 3)
    figures = []
    for with_masks in (False, True):
        what = "detections and masks" if with_masks else "detections"
        found = {writer: in_own_process(measure, writer, images, with_masks, rounds) for writer in WRITERS}
        mine, mine_mib = found.pop("Parquet")
        for peer, (other, other_mib) in found.items():
            figures.append(
                Figure(
                    f"writing {what}",
                    peer,
                    "detections/s",
                    mine.detections_per_s,
                    other.detections_per_s,
                    higher_is_better=True,
                    ours_mib=mine_mib,
                    theirs_mib=other_mib,
                )
            )
            figures.append(
                Figure(
                    f"size of {what}",
                    peer,
                    "bytes a detection",
                    mine.bytes_per_detection,
                    other.bytes_per_detection,
                    higher_is_better=False,
                )
            )
    publish(figures, args.json)


if __name__ == "__main__":
    main()
