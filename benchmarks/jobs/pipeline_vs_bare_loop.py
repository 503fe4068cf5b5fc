"""How close does the whole pipeline come to its detector alone?

    python -m benchmarks.jobs.pipeline_vs_bare_loop [SAVED_MODEL] [--detector demo] [--images 200] …

Both sides label the same photos with the same SavedModel, each in a process of its own. Peers: a bare loop
(`tf.saved_model.load`, then read, decode and call, one image after the other), of which once the model's calls alone
are counted and once all of it.

The pipeline's time is what a job of all photos takes longer than a job of one, both less the time of loading the
detector: reading, decoding, masks, tables, closing and merging are in it, while starting Beam and the model's first
call are in both. The bare loop's first call isn't counted either.
"""

import io
import tempfile
import time
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
from labelbeam.pipeline.job import run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from PIL import Image

from ..figures import Figure, arguments, in_own_process, publish
from ..photos import write_crops

CONCURRENT_CALLS = 2
GOALS = {"centernet_resnet50v2_512x512": 1 / 1.05, "mask_rcnn_inception_resnet_v2_1024x1024": 1 / 1.02}


class Loop(NamedTuple):
    """Seconds of the bare loop: in the model's calls, and in all."""

    calls: float
    whole: float


@dataclass(frozen=True)
class SpecWithCalls(DetectorSpec):
    """Loads a SavedModel that is called by so many threads at once."""

    concurrent_calls: int = CONCURRENT_CALLS

    def load(self) -> Detector:
        from labelbeam.detectors.saved_model import SavedModelDetector

        return SavedModelDetector(
            first_found([WeightsSource(self.weights)]), self.options, concurrent_calls=self.concurrent_calls
        )


def bare_loop(photos: Path, detector: str, weights: str | None) -> Loop:
    import tensorflow as tf

    folder = first_found([WeightsSource(weights or load_config(detector).weights)])
    call, name = tf.saved_model.load(folder).signatures[SIGNATURE], read_signature(folder).input_name
    paths = sorted(photos.iterdir())
    _call(call, name, _decoded(paths[0]))
    in_calls, started = 0.0, time.monotonic()
    for path in paths[1:]:
        pixels = _decoded(path)
        call_started = time.monotonic()
        _call(call, name, pixels)
        in_calls += time.monotonic() - call_started
    return Loop(in_calls, time.monotonic() - started)


def _decoded(path: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def _call(call, name: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {key: tensor.numpy() for key, tensor in call(**{name: pixels[np.newaxis]}).items()}


def pipeline(photos: Path, detector: str, weights: str | None, concurrent_calls: int) -> float:
    """Seconds, as in the module's docstring."""
    spec = prepare(load_config(detector), weights=weights)
    labels = LabelConfig(SpecWithCalls(**vars(spec), concurrent_calls=concurrent_calls))
    _job_seconds(photos, labels, 1)  # what a process does once, as importing, belongs to neither
    return -_job_seconds(photos, labels, 1) + _job_seconds(photos, labels, None)


def _job_seconds(photos: Path, labels: LabelConfig, limit: int | None) -> float:
    with tempfile.TemporaryDirectory() as output:
        options = PipelineOptions(["--runner=FnApiRunner"])
        job = prepare_job(JobSpec([str(photos)], output, labels, limit=limit), options)
        started = time.monotonic()
        result = run_job(job, options)
        seconds = time.monotonic() - started
    if result.record["failures"]:
        raise AssertionError(f"photos failed: {result.record['failures']}")
    return seconds - result.metrics["model_load_ms"] / 1000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", nargs="?", help="a SavedModel's folder or handle instead of the detector's own")
    parser.add_argument("--detector", default="demo", help="name of its configuration (%(default)s)")
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
        for _ in range(args.rounds):
            loop, loop_mib = in_own_process(bare_loop, photos, args.detector, args.saved_model)
            ours, ours_mib = in_own_process(pipeline, photos, args.detector, args.saved_model, args.concurrent_calls)
            rounds.append((ours, loop, ours_mib, loop_mib))
            print(f"pipeline {ours:.2f} s, bare loop {loop.whole:.2f} s, of it in calls {loop.calls:.2f} s", flush=True)
    ours, loop, ours_mib, loop_mib = sorted(rounds, key=lambda r: r[0] / r[1].calls)[len(rounds) // 2]
    goal, what = GOALS.get(args.detector), f"{args.detector}, {count} photos"
    ms = 1000 / (count - 1)
    publish(
        [
            Figure(what, peer, "ms an image", ours * ms, theirs * ms, False, ours_mib, loop_mib, goal)
            for peer, theirs, goal in (
                ("the bare loop's model calls alone", loop.calls, goal),
                ("bare loop: decode, call", loop.whole, None),
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
