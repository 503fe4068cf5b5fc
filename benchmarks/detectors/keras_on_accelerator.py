"""How much do batches and bfloat16 win on an accelerator? Engine keras's network under JAX or PyTorch, jitted.

    KERAS_BACKEND=jax python -m benchmarks.detectors.keras_on_accelerator mask_rcnn_inception_resnet_v2_1024x1024 \\
        [--weights FILE.weights.h5] [--batch 1 2 4 8 16 32] [--precision float32 bfloat16] [--seconds 5]

Prints images/s of each batch size and precision, the ratio to batch 1 in float32 (as the published graph is bound to
run), and the device's peak memory where the backend tells it. Needs no TensorFlow. Without --weights the network has
zeros for weights, which a GPU multiplies somewhat faster than others. Preprocessing isn't included: the images' pixels
lie ready.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from labelbeam.detectors.keras.compiled import compiled, device_name, to_numpy
from labelbeam.detectors.keras.networks import NETWORKS, build_network

from ..figures import Figure, arguments, publish
from ..photos import photos

KEPT = 10  # masks an image


def device_memory_gib() -> float | None:
    """Peak of the accelerator's memory that this process has used, in GiB; None where the backend doesn't tell."""
    if keras.backend.backend() == "jax":
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        return statistics["peak_bytes_in_use"] / 2**30 if "peak_bytes_in_use" in statistics else None
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    return None


def runner(network, precision: str) -> Callable[[Sequence[Any]], dict[str, np.ndarray]]:
    """A function that labels a batch, an array of each of the network's inputs, and waits for the results: outputs by
    name and, of networks that have them, `masks` of `KEPT` detections an image."""
    outputs = ("num_detections", "detection_boxes", "detection_classes", "detection_scores")
    if not network.has_proposals:
        call = compiled(lambda *args: network(*args, outputs=outputs), network, ("float32", "int32"))
        return lambda inputs: {name: to_numpy(value) for name, value in call(*inputs).items()}
    detect = compiled(lambda pixels: network.detect(pixels, outputs), network, ("float32",))
    masks = compiled(network.masks, network, (precision, "float32", "int32", "int32"))

    def run(inputs):
        on_device, croppable = detect(inputs[0])
        found = {name: to_numpy(value) for name, value in on_device.items()}
        boxes = found["detection_boxes"][:, :KEPT].reshape(-1, 4)
        classes = np.maximum(found["detection_classes"][:, :KEPT].reshape(-1).astype(np.int32) - 1, 0)
        image = np.repeat(np.arange(len(boxes) // KEPT, dtype=np.int32), KEPT)
        return {**found, "masks": to_numpy(masks(croppable, boxes, image, classes))}

    return run


def batch_of(network, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Images as the network's inputs, an array each."""
    return [np.stack(arrays) for arrays in zip(*(network.preprocess(image) for image in images), strict=True)]


def images_per_second(run: Callable[[], Any], batch: int, seconds: float) -> float:
    """Of a function that labels a batch and waits for the results; called for so long, and once at least."""
    began, rounds = time.perf_counter(), 0
    while not rounds or time.perf_counter() - began < seconds:
        run()
        rounds += 1
    return rounds * batch / (time.perf_counter() - began)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--weights", help="file of `labelbeam weights import`")
    parser.add_argument("--batch", nargs="+", type=int, help="default: 1 2 4 8 16 32, with --quick 1 8")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seconds", type=float, help="to measure each (default: 5, with --quick 1)")
    args = parser.parse_args()
    seconds = args.seconds or (1.0 if args.quick else 5.0)
    print(f"{args.network} on {device_name()} ({keras.backend.backend()})")
    print("| precision | batch | images/s | against batch 1, float32 | peak GiB |\n|---|---|---|---|---|")
    first, figures = None, []
    for precision in args.precision:
        network = build_network(args.network, precision)
        if args.weights:
            from labelbeam.detectors.keras.weights import load_weights

            load_weights(network, args.weights)
        for batch in args.batch or ([1, 8] if args.quick else [1, 2, 4, 8, 16, 32]):
            label, inputs = runner(network, precision), batch_of(network, photos(batch))
            label(inputs)  # compiles
            rate = images_per_second(lambda label=label, inputs=inputs: label(inputs), batch, seconds)
            first = first or rate
            memory = device_memory_gib()
            print(
                f"| {precision} | {batch} | {rate:.1f} | {rate / first:.2f} "
                f"| {'–' if memory is None else f'{memory:.1f}'} |",
                flush=True,
            )
            figures.append(
                Figure(
                    f"{args.network}, {precision}, batch {batch}",
                    "float32, one image a call",
                    "images/s",
                    rate,
                    first,
                    higher_is_better=True,
                )
            )
    print()
    publish(figures, args.json)


if __name__ == "__main__":
    main()
