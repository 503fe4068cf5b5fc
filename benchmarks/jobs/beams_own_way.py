"""What does labelbeam win over the ways that Beam and the OD API show?

    python -m benchmarks.jobs.beams_own_way [SAVED_MODEL]

The same photos, the same SavedModel, the same runner (FnApiRunner), each way in a process of its own:

    labelbeam    a job without masks, as `labelbeam label --mask-format none` runs it
    Beam's       read and decode in a Map, RunInference with a plain handler (a call an image), WriteToParquet
    the OD API's one element, one image, one call, as in its own Beam pipelines: TFRecord of tf.Example in, the same out

Without masks, since neither peer encodes any. With `--free` the model costs nothing, and what is compared is
everything else. The time is what a job of all photos takes longer than a job of one, both less the time of loading
the model.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import prepare
from labelbeam.detectors.protocol import DetectOptions
from labelbeam.detectors.signature import SIGNATURE, read_signature
from labelbeam.detectors.weights.find import first_found
from labelbeam.detectors.weights.source import WeightsSource
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from PIL import Image

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import FreeDetector, free_label_config
from ..photos import write_crops

OPTIONS = ["--runner=FnApiRunner"]
MIN_SCORE = 0.3
SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("class_id", pa.int32()),
        ("score", pa.float32()),
        *((edge, pa.float32()) for edge in ("ymin", "xmin", "ymax", "xmax")),
    ]
)

_load_seconds: list[float] = []  # of this process: FnApiRunner's workers are threads of it

Outputs = dict[str, np.ndarray]
CallModel = Callable[[np.ndarray], Outputs]


def load_model(weights: str | None) -> CallModel:
    """A function from one image to the OD API's outputs; `weights` None for a model that costs nothing."""
    started = time.monotonic()
    if weights is None:
        found = FreeDetector().detect([None])[0]
        outputs = {
            "detection_boxes": found.boxes_yxyx,
            "detection_scores": found.scores,
            "detection_classes": found.class_ids,
        }

        def call(pixels: np.ndarray) -> Outputs:
            return outputs
    else:
        import tensorflow as tf

        model = tf.saved_model.load(weights)
        call = partial(_call, model, read_signature(weights).input_name)
    _load_seconds.append(time.monotonic() - started)
    return call


def _call(model, input_name: str, pixels: np.ndarray) -> Outputs:
    outputs = model.signatures[SIGNATURE](**{input_name: pixels[np.newaxis]})
    return {name: outputs[name].numpy()[0] for name in ("detection_boxes", "detection_scores", "detection_classes")}


class PlainHandler(ModelHandler[tuple[str, np.ndarray], PredictionResult, Any]):
    """As in Beam's examples: loads, loops; everything else is Beam's default."""

    def __init__(self, weights: str | None):
        super().__init__()
        self._weights = weights

    def load_model(self):
        return Callee(self._weights)

    def run_inference(
        self, batch: Sequence[tuple[str, np.ndarray]], model, inference_args=None
    ) -> Iterable[PredictionResult]:
        return [PredictionResult(path, model.call(pixels)) for path, pixels in batch]


class Callee:
    """RunInference keeps weak references to models, which functions of some kinds can't have."""

    def __init__(self, weights: str | None):
        self.call = load_model(weights)


def read_and_decode(path: str) -> tuple[str, np.ndarray]:
    return path, np.asarray(Image.open(io.BytesIO(Path(path).read_bytes())).convert("RGB"))


def rows_of(result: PredictionResult) -> Iterator[dict[str, Any]]:
    outputs = result.inference
    for box, score, class_id in zip(*(outputs[f"detection_{name}"] for name in ("boxes", "scores", "classes"))):
        if score >= MIN_SCORE:
            yield {
                "uri": result.example,
                "class_id": int(class_id),
                "score": float(score),
                **dict(zip(("ymin", "xmin", "ymax", "xmax"), map(float, box))),
            }


def beams_way(paths: list[str], weights: str | None, output: str) -> None:
    with beam.Pipeline(options=PipelineOptions(OPTIONS)) as p:
        _ = (
            p
            | beam.Create(paths)
            | "Decode" >> beam.Map(read_and_decode)
            | RunInference(PlainHandler(weights))
            | beam.FlatMap(rows_of)
            | beam.io.WriteToParquet(os.path.join(output, "detections"), SCHEMA)
        )


class DetectExample(beam.DoFn):
    """One tf.Example in, the same with its detections out."""

    def __init__(self, weights: str | None):
        self._weights = weights

    def setup(self):
        import tensorflow as tf

        self._tf = tf
        self._call = load_model(self._weights)

    def process(self, serialized: bytes) -> Iterator[bytes]:
        tf = self._tf
        example = tf.train.Example.FromString(serialized)
        pixels = tf.io.decode_jpeg(example.features.feature["image/encoded"].bytes_list.value[0], channels=3).numpy()
        outputs = self._call(pixels)
        kept = outputs["detection_scores"] >= MIN_SCORE
        feature = example.features.feature
        feature["image/detection/score"].float_list.value.extend(outputs["detection_scores"][kept])
        feature["image/detection/label"].int64_list.value.extend(outputs["detection_classes"][kept].astype(np.int64))
        for name, edges in zip(("ymin", "xmin", "ymax", "xmax"), outputs["detection_boxes"][kept].T):
            feature[f"image/detection/bbox/{name}"].float_list.value.extend(edges)
        yield example.SerializeToString()


def write_examples(paths: list[str], file: str) -> None:
    """The input of the OD API's way; not timed."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(file) as writer:
        for path in paths:
            values = {"image/filename": path.encode(), "image/encoded": Path(path).read_bytes()}
            features = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def od_apis_way(paths: list[str], weights: str | None, output: str) -> None:
    with beam.Pipeline(options=PipelineOptions(OPTIONS)) as p:
        _ = (
            p
            | beam.io.ReadFromTFRecord(_examples(paths))
            | beam.ParDo(DetectExample(weights))
            | beam.io.WriteToTFRecord(os.path.join(output, "detections"))
        )


def _examples(paths: list[str]) -> str:
    return os.path.join(os.path.dirname(paths[0]), os.pardir, f"{len(paths)}.tfrecord")


def labelbeams_way(paths: list[str], weights: str | None, output: str) -> None:
    if weights is None:
        labels = free_label_config()
    else:
        spec = prepare(load_config("demo"), weights=weights, options=DetectOptions(min_score=MIN_SCORE, masks=False))
        labels = LabelConfig(spec, mask_format="none")
    spec = JobSpec([os.path.dirname(paths[0])], output, labels, limit=len(paths))
    options = PipelineOptions(OPTIONS)
    result = run_job(prepare_job(spec, options), options)
    _load_seconds.append(result.metrics["model_load_ms"] / 1000)
    if result.record["rows"]["images"] != len(paths) or result.record["failures"]:
        raise AssertionError(f"not all were labelled: {result.record}")


def seconds_of(way: Callable[[list[str], str | None, str], None], paths: list[str], weights: str | None) -> float:
    """Seconds, as in the module's docstring; for a fresh process."""

    def one_job(paths: list[str]) -> float:
        if way is od_apis_way:
            write_examples(paths, _examples(paths))
        _load_seconds.clear()
        with tempfile.TemporaryDirectory() as output:
            started = time.monotonic()
            way(paths, weights, output)
            return time.monotonic() - started - sum(_load_seconds)

    one_job(paths[:1])  # what a process does once, as importing, belongs to none
    first = one_job(paths[:1])
    return one_job(paths) - first


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", nargs="?", help="a SavedModel's folder instead of the demo detector's")
    parser.add_argument("--free", action="store_true", help="a model that costs nothing")
    parser.add_argument("--images", type=int, help="photos (200; 2,000 with --free; a quarter with --quick)")
    args = parser.parse_args()
    count = args.images or (2000 if args.free else 200) // (4 if args.quick else 1)
    weights = None if args.free else first_found([WeightsSource(args.saved_model or load_config("demo").weights)])
    what = f"{'free model' if args.free else Path(weights).name}, {count} photos"
    with tempfile.TemporaryDirectory() as name:
        paths = sorted(map(str, write_crops(Path(name, "photos"), count).iterdir()))
        measured = {}
        for way in (labelbeams_way, beams_way, od_apis_way):
            measured[way] = in_own_process(seconds_of, way, paths, weights)
    ours, ours_mib = measured[labelbeams_way]
    publish(
        [
            Figure(what, peer, "images/s", count / ours, count / measured[way][0], True, ours_mib, measured[way][1])
            for way, peer in (
                (beams_way, "Beam's RunInference, plain handler, WriteToParquet"),
                (od_apis_way, "the OD API's way, TFRecord in and out"),
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
