"""Does a device wait for labelbeam?  python -m benchmarks.jobs.busy_device

A stand-in for a GPU: each image keeps it busy for 20 ms, which cost no processor, and gives 20 masks. Photos of 1.2
megapixels are read, decoded, labelled, their masks encoded, and rows and masks written. Peers: the device's time
alone, which nothing can be faster than; and the same steps with the same functions as Beam's documentation has them,
one after the other: a Map that decodes, RunInference, a Map that makes rows, WriteToParquet. Time is what a job of
all photos takes longer than a job of one batch.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.schemas import TABLES
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec
from labelbeam.transforms.elements import ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.fetch_images import ImageFetcher
from labelbeam.transforms.to_rows import RowOptions, image_rows, rows_as_dicts

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import free_label_config
from ..photos import write_jpegs

OPTIONS = ["--runner=FnApiRunner"]
IMAGE_WH = (1280, 960)
BUSY_S = 0.02
MASKS = 20
GOAL = 1 / 1.05  # of the device's own time
ROW_OPTIONS = RowOptions({1: "thing"})


class BusyDevice:
    """Takes its time for each image, and finds the same ellipses in all of them."""

    batches = True

    def __init__(self):
        top_left = np.linspace(0, 0.6, MASKS, dtype=np.float32)
        y, x = np.mgrid[-1:1:33j, -1:1:33j].astype(np.float32)
        self._found = Detections(
            boxes_yxyx=np.stack([top_left, top_left, top_left + 0.3, top_left + 0.2], axis=1),
            class_ids=np.ones(MASKS, np.int32),
            scores=np.linspace(0.9, 0.5, MASKS, dtype=np.float32),
            masks=np.repeat(np.clip(1.4 - x * x - y * y, 0, 1)[np.newaxis], MASKS, axis=0),
        )

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        time.sleep(BUSY_S * len(images))
        return [self._found] * len(images)


@dataclass(frozen=True)
class BusyDeviceSpec(DetectorSpec):
    """Loads a `BusyDevice`, in no time."""

    def load(self) -> BusyDevice:
        return BusyDevice()


def labelbeams_way(folder: Path, count: int, output: Path) -> None:
    labels = free_label_config(mask_format="rle")
    labels = replace(labels, detector=BusyDeviceSpec(**{**vars(labels.detector), "has_masks": True}))
    options = PipelineOptions(OPTIONS)
    result = run_job(prepare_job(JobSpec([str(folder)], str(output), labels, limit=count), options), options)
    if result.record["rows"] != {"images": count, "detections": count * MASKS, "masks": count * MASKS}:
        raise AssertionError(f"not all was written: {result.record}")


class PlainHandler(ModelHandler[tuple[ImageReference, ImageFacts, np.ndarray], LabelledImage, BusyDevice]):
    """As in Beam's examples."""

    def load_model(self) -> BusyDevice:
        return BusyDevice()

    def run_inference(self, batch, model: BusyDevice, inference_args=None) -> Iterable[LabelledImage]:
        found = model.detect([pixels for _, _, pixels in batch])
        return [LabelledImage(reference, facts, detections) for (reference, facts, _), detections in zip(batch, found)]


def beams_way(folder: Path, count: int, output: Path) -> None:
    fetcher = ImageFetcher(ExecutionOptions(), DecodeOptions())

    def decoded(path: str) -> tuple[ImageReference, ImageFacts, np.ndarray]:
        image = fetcher.fetch(ImageReference(path))
        return image.reference, image.facts, image.pixels

    with beam.Pipeline(options=PipelineOptions(OPTIONS)) as p:
        rows = (
            p
            | beam.Create(sorted(map(str, folder.iterdir()))[:count])
            | "Decode" >> beam.Map(decoded)
            | RunInference(PlainHandler())
            | "Rows" >> beam.Map(lambda image: image_rows(image, ROW_OPTIONS, datetime.now(timezone.utc)))
        )
        for table in ("images", "detections", "masks"):
            _ = (
                rows
                | f"Dicts of {table}" >> beam.FlatMap(rows_as_dicts, table)
                | f"Write {table}" >> beam.io.WriteToParquet(str(output / table / "part"), TABLES[table])
            )


def seconds_of(way: Callable[[Path, int, Path], Any], folder: Path, count: int) -> float:
    """Seconds, as in the module's docstring; for a fresh process."""

    def one_job(count: int) -> float:
        with tempfile.TemporaryDirectory() as output:
            started = time.monotonic()
            way(folder, count, Path(output))
            return time.monotonic() - started

    batch = ExecutionOptions().max_batch_size
    one_job(batch)  # what a process does once, as importing, belongs to neither
    first = one_job(batch)
    return one_job(count) - first


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help="photos (1,000; 300 with --quick)")
    args = parser.parse_args()
    count = args.images or (300 if args.quick else 1000)
    images = count - ExecutionOptions().max_batch_size
    with tempfile.TemporaryDirectory() as name:
        folder = write_jpegs(Path(name, "photos"), count, IMAGE_WH)
        ours, ours_mib = in_own_process(seconds_of, labelbeams_way, folder, count)
        beams, beams_mib = in_own_process(seconds_of, beams_way, folder, count)
    what = f"a device that takes {BUSY_S * 1000:g} ms an image, {MASKS} masks, {count:,} photos of 1.2 MP"
    publish(
        [
            Figure(
                what, "the device alone", "ms an image", ours / images * 1000, BUSY_S * 1000, False, ours_mib, goal=GOAL
            ),
            Figure(
                what,
                "the same steps in Beam's own way",
                "ms an image",
                ours / images * 1000,
                beams / images * 1000,
                False,
                ours_mib,
                beams_mib,
            ),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
