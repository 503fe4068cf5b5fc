"""One step of `gpu.py`, in a process of its own; prints its result as a line of JSON.

python -m benchmarks.gpu_steps BACKEND network NETWORK PRECISION BATCH
python -m benchmarks.gpu_steps BACKEND job NETWORK PRECISION BATCH IMAGES

The weights are those of the golden files: real numbers, since a GPU multiplies zeros faster than those.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

MEASURE_S = 3.0
KEPT = 10  # masks an image
IMAGE_WH = (640, 480)
TOLERANCES = {"score_tolerance": 2e-4, "box_tolerance": 2e-5}  # of two runs in float32
# Dense TFLOP/s of a device, by precision. The names are whole: there are other cards whose names begin so.
_HOPPER = {"float32": 67, "tf32": 494, "bfloat16": 989}
PEAKS = {"NVIDIA H100 80GB HBM3": _HOPPER, "NVIDIA H200": _HOPPER}


def images(count: int) -> list[np.ndarray]:
    """Smooth random images, uint8 `[480, 640, 3]`: a few over and over."""
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)) for _ in range(min(count, 16))]
    drawn = [np.asarray(image.resize(IMAGE_WH, Image.Resampling.BICUBIC)) for image in small]
    return [drawn[i % len(drawn)] for i in range(count)]


def device() -> tuple[str, float | None]:
    """The accelerator's name, and the GiB of its memory that this process has used at most."""
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        first = jax.local_devices()[0]
        used = (first.memory_stats() or {}).get("peak_bytes_in_use")
        return first.device_kind, None if used is None else used / 2**30
    import torch

    if not torch.cuda.is_available():
        return "cpu", None
    return torch.cuda.get_device_name(0), torch.cuda.max_memory_allocated() / 2**30


def build(name: str, precision: str):
    """A network with the golden weights, and its golden file."""
    from labelbeam.detectors.keras import weights
    from labelbeam.detectors.keras.networks import build_network

    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    model = build_network(name, keras_precision(precision))
    golden, variables = golden_weights(model)
    weights.fill(model, variables)
    return model, golden


def keras_precision(precision: str) -> str:
    return "bfloat16" if precision == "bfloat16" else "float32"


def golden_weights(model) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A network's golden file, and the variables that it was made with."""
    from labelbeam.detectors.keras import weights

    from tests.detectors.keras.support.golden_weights import GOLDEN, golden_variables

    with np.load(GOLDEN / f"{'mask_rcnn' if model.has_proposals else 'centernet'}.npz") as file:
        golden = dict(file)
    return golden, golden_variables(golden, weights.needed_variables(model))


def network(name: str, precision: str, batch: int) -> dict:
    """Images a second of a network, preprocessing aside; and in float32 whether it gives what the golden file says."""
    from keras import ops

    from .detectors.keras_on_accelerator import batch_of, images_per_second, runner
    from .detectors.network_costs import centernet_parts, mask_rcnn_parts

    model, golden = build(name, precision)
    label, inputs = runner(model, keras_precision(precision)), batch_of(model, images(batch))
    began = time.perf_counter()
    label(inputs)
    compile_s = time.perf_counter() - began
    rate = images_per_second(lambda: label(inputs), batch, MEASURE_S)
    on_device = [ops.convert_to_tensor(array) for array in inputs]
    device_rate = images_per_second(lambda: label(on_device), batch, MEASURE_S)
    parts = mask_rcnn_parts(model, KEPT) if model.has_proposals else centernet_parts(model)
    tflop = 2 * sum(part.keras_gmac for part in parts) / 1000
    kind, used = device()
    peak = PEAKS.get(kind, {}).get(precision)
    result = {
        "device": kind,
        "images_s": rate,
        "device_images_s": device_rate,
        "batch_ms": 1000 * batch / rate,
        "compile_s": compile_s,
        "peak_gib": used,
        "share_of_peak": None if peak is None else tflop * device_rate / peak,
        "note": compared(label, model, golden, batch) if precision == "float32" else None,
    }
    return {name: value for name, value in result.items() if value is not None}


def compared(label, model, golden: dict[str, np.ndarray], batch: int) -> str:
    """Whether a photo's detections are those that the published graph gives; how many are, where some aren't."""
    from tests.detectors.keras.support.comparison import assert_same_detections, matched_rows, rows
    from tests.detectors.keras.support.golden_weights import golden_tensors

    from .detectors.keras_on_accelerator import batch_of

    photo = np.asarray(Image.open(Path(os.environ["GPU_FOLDER"], "coffee.png")))
    expected = rows(golden_tensors(golden, "coffee"))
    found = rows(label(batch_of(model, [photo] * batch)))
    try:
        assert_same_detections(found, expected, **TOLERANCES)
    except AssertionError:
        tight, loose = (
            len(matched_rows(found, expected, **{name: factor * value for name, value in TOLERANCES.items()}))
            for factor in (1, 10)
        )
        return f"NOT equal to the golden file: {tight} of {len(expected['detection_scores'])} rows are, {loose} nearly"
    return "equal to the golden file"


def write_weights(name: str, file: str) -> None:
    """A weights file of the golden weights."""
    import h5py
    from labelbeam.detectors.keras import published, weights
    from labelbeam.detectors.keras.networks import build_network

    _, variables = golden_weights(build_network(name))
    with h5py.File(file, "w") as target:
        target.attrs.update(format=weights.FORMAT, detector=name, fingerprint=published.fingerprint(variables))
        for key, array in variables.items():
            target.create_dataset(key, data=array)


def bare_loop(jpegs: Path, detector, batch: int) -> float:
    """Seconds: images are decoded and prepared in threads, batch after batch, and the results dropped."""
    from labelbeam.transforms.decode.decoding import decode
    from labelbeam.transforms.fetch.options import DecodeOptions

    paths = sorted(jpegs.iterdir())
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]

    def prepared(path: Path):
        return detector.prepare(decode(path.read_bytes(), DecodeOptions()))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        detector.detect(list(threads.map(prepared, batches[0])))  # compiles
        began, ahead = time.perf_counter(), threads.map(prepared, batches[0])
        for following in [*batches[1:], []]:
            some, ahead = list(ahead), threads.map(prepared, following)
            detector.detect(some)
        return time.perf_counter() - began


def job(name: str, precision: str, batch: int, count: int) -> dict:
    """A whole job over JPEGs against the bare loop; loading and compiling aside."""
    from labelbeam.detectors.config import load_config
    from labelbeam.detectors.keras.detector import KerasDetector
    from labelbeam.detectors.protocol import DetectOptions
    from labelbeam.pipeline.settings import ExecutionOptions

    from .free_detector import KeptDetectorSpec, job_seconds

    class Counting(KerasDetector):
        """Counts its calls by their number of images: each new number may be a compilation."""

        calls: ClassVar[Counter[int]] = Counter()

        def detect(self, images):
            self.calls[len(images)] += 1
            return super().detect(images)

    count = -(-count // batch) * batch  # no batch is less than a full one
    with tempfile.TemporaryDirectory() as folder:
        jpegs = Path(folder, "jpegs")
        jpegs.mkdir()
        for number, image in enumerate(images(min(count, 16))):
            Image.fromarray(image).save(jpegs / f"{number:06d}.jpg", quality=85)
        for number in range(16, count):
            os.link(jpegs / f"{number % 16:06d}.jpg", jpegs / f"{number:06d}.jpg")
        file = str(Path(folder, "golden.weights.h5"))
        write_weights(name, file)
        detector = Counting(name, file, DetectOptions(), precision=precision, max_batch_size=batch)
        bare_s = bare_loop(jpegs, detector, batch)
        KeptDetectorSpec.kept = detector
        execution = ExecutionOptions(batch_size=batch)
        config = load_config(name)
        few_s, all_s = (job_seconds(config, jpegs, Path(folder, str(n)), n, execution) for n in (batch, count))
    rate, bare_rate = (count - batch) / (all_s - few_s), count / bare_s
    kind, used = device()
    note = f"the bare loop: {bare_rate:.4g} images/s; the job has {rate / bare_rate:.2f} of it"
    if smaller := sum(calls for size, calls in detector.calls.items() if size < batch):
        note += f"; {smaller} calls had fewer than {batch} images"
    result = {"device": kind, "images_s": rate, "peak_gib": used, "note": note}
    return {name: value for name, value in result.items() if value is not None}


def main() -> None:
    _, kind, *arguments = sys.argv[1:]
    steps = {"network": network, "job": job}
    values = [int(argument) if argument.isdecimal() else argument for argument in arguments]
    print(json.dumps(steps[kind](*values)))


if __name__ == "__main__":
    main()
