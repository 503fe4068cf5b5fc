"""One step of `gpu.py`, in a process of its own; prints its result as a line of JSON.

python -m benchmarks.gpu_steps BACKEND golden NETWORK
python -m benchmarks.gpu_steps BACKEND network NETWORK PRECISION BATCH
python -m benchmarks.gpu_steps BACKEND job NETWORK PRECISION BATCH IMAGES
"""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

MEASURE_S = 3.0
KEPT = 10  # masks an image
IMAGE_WH = (640, 480)
# Dense TFLOP/s of a device whose name begins so, by precision.
PEAKS = {
    "NVIDIA H100": {"float32": 67, "tf32": 494, "bfloat16": 989},
    "NVIDIA H200": {"float32": 67, "tf32": 494, "bfloat16": 989},
}


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


def build(network_name: str, precision: str):
    from labelbeam.detectors.keras.networks import build_network

    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return build_network(network_name, "bfloat16" if precision == "bfloat16" else "float32")


def network(name: str, precision: str, batch: int) -> dict:
    """Images a second of a network, preprocessing aside."""
    from .detectors.keras_on_accelerator import runner
    from .detectors.network_costs import centernet_parts, mask_rcnn_parts

    model = build(name, precision)
    call = runner(model, "bfloat16" if precision == "bfloat16" else "float32", images(batch))
    began = time.perf_counter()
    call()
    compile_s, began, rounds = time.perf_counter() - began, time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - began < MEASURE_S:
        call()
        rounds += 1
    batch_s = (time.perf_counter() - began) / rounds
    parts = mask_rcnn_parts(model, KEPT) if model.has_proposals else centernet_parts(model)
    tflop = 2 * sum(part.keras_gmac for part in parts) / 1000
    kind, used = device()
    peak = next((peaks[precision] for prefix, peaks in PEAKS.items() if kind.startswith(prefix)), None)
    result = {
        "device": kind,
        "images_s": batch / batch_s,
        "batch_ms": 1000 * batch_s,
        "compile_s": compile_s,
        "peak_gib": used,
        "share_of_peak": None if peak is None else tflop * batch / batch_s / peak,
    }
    return {name: value for name, value in result.items() if value is not None}


def golden(name: str) -> dict:
    """Whether the network gives on this device what the golden file says that the published graph gives."""
    from labelbeam.detectors.keras import weights
    from labelbeam.detectors.keras.compiled import compiled, to_numpy

    from tests.detectors.keras.support.comparison import assert_same_detections, rows
    from tests.detectors.keras.support.golden_weights import GOLDEN, golden_tensors, golden_variables

    model = build(name, "float32")
    with np.load(GOLDEN / f"{'mask_rcnn' if model.has_proposals else 'centernet'}.npz") as file:
        stored = dict(file)
    weights.fill(model, golden_variables(stored, weights.needed_variables(model)))
    pixels, size_hw = model.preprocess(np.asarray(Image.open(Path(os.environ["GPU_FOLDER"], "coffee.png"))))
    if model.has_proposals:
        names = ("num_detections", "detection_boxes", "detection_classes", "detection_scores")
        outputs, _ = compiled(lambda pixels: model.detect(pixels, names), model, ("float32",))(pixels[None])
    else:
        outputs = compiled(model, model, ("float32", "int32"))(pixels[None], size_hw[None])
    expected = rows(golden_tensors(stored, "coffee"))
    found = rows({name: to_numpy(value) for name, value in outputs.items()})
    assert_same_detections(found, expected, score_tolerance=2e-4, box_tolerance=2e-5)
    return {"device": device()[0], "note": "equal to the golden file"}


def write_zero_weights(name: str, file: str) -> str:
    """A weights file of zeros, which cost what others do; gives its fingerprint."""
    import h5py
    from labelbeam.detectors.keras import published, weights
    from labelbeam.detectors.keras.networks import build_network

    shapes = weights.needed_variables(build_network(name))
    variables = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    digest = published.fingerprint(variables)
    with h5py.File(file, "w") as target:
        target.attrs.update(format=weights.FORMAT, detector=name, fingerprint=digest)
        for name, array in variables.items():
            target.create_dataset(name, data=array)
    return digest


def bare_loop(jpegs: Path, detector, batch: int) -> float:
    """Seconds: images are decoded in threads, batch after batch, and the results dropped."""
    from labelbeam.transforms.decode.decoding import decode
    from labelbeam.transforms.fetch.options import DecodeOptions

    paths = sorted(jpegs.iterdir())
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def decoded(some):
            return [threads.submit(lambda path: decode(path.read_bytes(), DecodeOptions()), path) for path in some]

        detector.detect([pixels.result() for pixels in decoded(batches[0])])  # compiles
        began, ahead = time.perf_counter(), decoded(batches[0])
        for following in [*batches[1:], []]:
            images, ahead = [pixels.result() for pixels in ahead], decoded(following)
            detector.detect(images)
        return time.perf_counter() - began


def job(name: str, precision: str, batch: int, count: int) -> dict:
    """A whole job over JPEGs with a network of zeros, against the bare loop; loading and compiling aside."""
    from labelbeam.detectors.config import load_config
    from labelbeam.detectors.keras.detector import KerasDetector
    from labelbeam.detectors.protocol import DetectOptions
    from labelbeam.pipeline.settings import ExecutionOptions

    from .free_detector import KeptDetectorSpec, job_seconds

    with tempfile.TemporaryDirectory() as folder:
        jpegs = Path(folder, "jpegs")
        jpegs.mkdir()
        for number, image in enumerate(images(min(count, 16))):
            Image.fromarray(image).save(jpegs / f"{number:06d}.jpg", quality=85)
        for number in range(16, count):
            os.link(jpegs / f"{number % 16:06d}.jpg", jpegs / f"{number:06d}.jpg")
        file = str(Path(folder, "zeros.weights.h5"))
        write_zero_weights(name, file)
        detector = KerasDetector(name, file, DetectOptions(), precision=precision, max_batch_size=batch)
        bare_s = bare_loop(jpegs, detector, batch)
        KeptDetectorSpec.kept = detector
        execution = ExecutionOptions(batch_size=batch)
        config = load_config(name)
        few_s, all_s = (job_seconds(config, jpegs, Path(folder, str(n)), n, execution) for n in (batch, count))
    rate, bare_rate = (count - batch) / (all_s - few_s), count / bare_s
    return {
        "device": device()[0],
        "images_s": rate,
        "note": f"the bare loop: {bare_rate:.4g} images/s; the job has {rate / bare_rate:.2f} of it",
    }


def main() -> None:
    _, kind, *arguments = sys.argv[1:]
    steps = {"network": network, "golden": golden, "job": job}
    values = [int(argument) if argument.isdecimal() else argument for argument in arguments]
    print(json.dumps(steps[kind](*values)))


if __name__ == "__main__":
    main()
