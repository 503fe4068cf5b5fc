"""How close does the whole pipeline come to its detector alone?

    python -m benchmarks.jobs.pipeline_vs_bare_loop [SAVED_MODEL] [--detector demo] [--images 200] …
    python -m benchmarks.jobs.pipeline_vs_bare_loop --onnx …

Both sides label the same photos with the same SavedModel, or the same ONNX model (random convolutions, made here), each
in a process of its own. Peers: a bare loop (`tf.saved_model.load` or ONNX Runtime's session, then read, decode and
call, one image after the other), of which once the model's calls alone are counted and once all of it.

The pipeline's time is what a job of all photos takes longer than a job of one, both less the time of loading the
detector: reading, decoding, masks, tables, closing and merging are in it, while starting Beam and the model's first
call are in both. The bare loop's first call isn't counted either. Processors' time is told beside it, which neighbours
change less.
"""

import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import DetectorSpec, prepare
from labelbeam.detectors.protocol import Detector
from labelbeam.detectors.signature import SIGNATURE, read_signature
from labelbeam.detectors.weights.find import first_found
from labelbeam.detectors.weights.source import WeightsSource
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from PIL import Image

from .. import onnx_network
from ..figures import Figure, arguments, in_own_process, publish
from ..photos import write_crops

CONCURRENT_CALLS = 2
GOALS = {
    "centernet_resnet50v2_512x512": 1 / 1.05,
    "convolutions": 1 / 1.05,
    "mask_rcnn_inception_resnet_v2_1024x1024": 1 / 1.02,
}


class Loop(NamedTuple):
    """Seconds of the bare loop: in the model's calls, and in all; and of processors, in all."""

    calls: float
    whole: float
    cpu: float


class Spent(NamedTuple):
    """Seconds of a job, by the clock and of processors."""

    seconds: float
    cpu: float


@dataclass(frozen=True)
class SpecWithCalls(DetectorSpec):
    """Loads a SavedModel that is called by so many threads at once."""

    concurrent_calls: int = CONCURRENT_CALLS

    def load(self) -> Detector:
        from labelbeam.detectors.saved_model import SavedModelDetector

        return SavedModelDetector(
            first_found([WeightsSource(self.weights)]), self.options, concurrent_calls=self.concurrent_calls
        )


def saved_model_loop(photos: Path, detector: str, weights: str | None) -> Loop:
    import tensorflow as tf

    folder = first_found([WeightsSource(weights or load_config(detector).weights)])
    model = tf.saved_model.load(folder)  # holds the variables for as long as it is referenced
    call, name = model.signatures[SIGNATURE], read_signature(folder).input_name
    return _loop(
        photos,
        lambda image: np.asarray(image)[np.newaxis],
        lambda pixels: {key: tensor.numpy() for key, tensor in call(**{name: pixels}).items()},
    )


def onnx_loop(photos: Path, file: str) -> Loop:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def prepared(image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.resize((onnx_network.SIDE,) * 2, Image.Resampling.BILINEAR), np.float32) / 255
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))[np.newaxis]

    return _loop(photos, prepared, lambda pixels: session.run(None, {"images": pixels}))


def _loop(photos: Path, prepared: Callable[[Image.Image], np.ndarray], call: Callable[[np.ndarray], object]) -> Loop:
    paths = sorted(photos.iterdir())
    call(prepared(_decoded(paths[0])))
    in_calls, started, cpu_started = 0.0, time.monotonic(), time.process_time()
    for path in paths[1:]:
        pixels = prepared(_decoded(path))
        call_started = time.monotonic()
        call(pixels)
        in_calls += time.monotonic() - call_started
    return Loop(in_calls, time.monotonic() - started, time.process_time() - cpu_started)


def _decoded(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


def pipeline(photos: Path, spec: DetectorSpec) -> Spent:
    """As in the module's docstring."""
    labels = LabelConfig(spec)
    _job(photos, labels, 1)  # what a process does once, as importing, belongs to neither
    one, whole = _job(photos, labels, 1), _job(photos, labels, None)
    return Spent(whole.seconds - one.seconds, whole.cpu - one.cpu)


def _job(photos: Path, labels: LabelConfig, limit: int | None) -> Spent:
    with tempfile.TemporaryDirectory() as output:
        options = PipelineOptions(["--runner=FnApiRunner"])
        job = prepare_job(JobSpec([str(photos)], output, labels, limit=limit), options)
        started, cpu_started = time.monotonic(), time.process_time()
        result = run_job(job, options)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu_started
    if result.record["failures"]:
        raise AssertionError(f"photos failed: {result.record['failures']}")
    return Spent(seconds - result.metrics["model_load_ms"] / 1000, cpu)  # loading costs both jobs as much of processors


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", nargs="?", help="a SavedModel's folder or handle instead of the detector's own")
    parser.add_argument("--detector", default="demo", help="name of its configuration (%(default)s)")
    parser.add_argument("--onnx", action="store_true", help="an ONNX model that is made here, on engine onnx")
    parser.add_argument("--images", type=int, help="photos (200; 60 with --quick)")
    parser.add_argument("--concurrent-calls", type=int, default=CONCURRENT_CALLS, help="of the model (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=1, help="both sides so often; the median ratio counts (%(default)s)"
    )
    args = parser.parse_args()
    count = args.images or (60 if args.quick else 200)
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        photos = write_crops(Path(name, "photos"), count)
        if args.onnx:
            file = str(onnx_network.write_network(Path(name, "convolutions.onnx")))
            bare_loop, spec = (onnx_loop, photos, file), find_detector(file)
        else:
            spec = prepare(load_config(args.detector), weights=args.saved_model)
            spec = SpecWithCalls(**vars(spec), concurrent_calls=args.concurrent_calls)
            bare_loop = saved_model_loop, photos, args.detector, args.saved_model
        for _ in range(args.rounds):
            loop, loop_mib = in_own_process(*bare_loop)
            ours, ours_mib = in_own_process(pipeline, photos, spec)
            rounds.append((ours, loop, ours_mib, loop_mib))
            print(
                f"pipeline {ours.seconds:.2f} s, bare loop {loop.whole:.2f} s, of it in calls {loop.calls:.2f} s; "
                f"of processors {ours.cpu:.2f} s and {loop.cpu:.2f} s",
                flush=True,
            )
    ours, loop, ours_mib, loop_mib = sorted(rounds, key=lambda r: r[0].seconds / r[1].calls)[len(rounds) // 2]
    goal, what = GOALS.get(spec.config.name), f"{spec.config.name}, {count} photos"
    ms = 1000 / (count - 1)
    publish(
        [
            Figure(what, peer, unit, mine * ms, theirs * ms, False, ours_mib, loop_mib, goal)
            for peer, unit, mine, theirs, goal in (
                ("the bare loop's model calls alone", "ms an image", ours.seconds, loop.calls, goal),
                ("bare loop: decode, call", "ms an image", ours.seconds, loop.whole, None),
                ("bare loop: decode, call", "ms of processors an image", ours.cpu, loop.cpu, None),
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
