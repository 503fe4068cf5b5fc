"""What does engine keras's resize cost?  python -m benchmarks.detectors.resizing [--quick]

Noise at 0.3, 2 and 12 megapixels to the inputs of both published networks, one thread, each side in a process of its
own; processor time. Peers: the same arithmetic over whole arrays, as one writes it first, and TensorFlow's kernel (cast
to float32, `resize_bilinear`) on one thread. All three must give the same bits.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from labelbeam.detectors.keras.resize import legacy_bilinear_resize, sample_positions
from labelbeam.transforms.workers.malloc import keep_large_blocks

from ..figures import Figure, arguments, in_own_process, publish

SIZES_HW = {"0.3 MP": (480, 640), "2 MP": (1224, 1632), "12 MP": (3000, 4000)}
INPUTS_HW = {"CenterNet": (384, 512), "Mask R-CNN": (1024, 1024)}  # of a 4:3 image

Way = Literal["labelbeam", "whole arrays", "TensorFlow's kernel"]


class Measured(NamedTuple):
    """Of one side: milliseconds of a processor an image, SHA-256 of the result."""

    ms: float
    sha256: str


def whole_arrays(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    low_y, high_y, t_y = sample_positions(image.shape[0], size_hw[0])
    low_x, high_x, t_x = sample_positions(image.shape[1], size_hw[1])
    pixels, t_x, t_y = image.astype(np.float32), t_x[:, np.newaxis], t_y[:, np.newaxis, np.newaxis]
    top, bottom = (
        left + (right - left) * t_x
        for left, right in ((pixels[y][:, low_x], pixels[y][:, high_x]) for y in (low_y, high_y))
    )
    return top + (bottom - top) * t_y


def resizer(way: Way, size_hw: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    if way != "TensorFlow's kernel":
        resize = legacy_bilinear_resize if way == "labelbeam" else whole_arrays
        return lambda image: resize(image, size_hw)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kernel = tf.function(lambda image: tf.compat.v1.image.resize_bilinear(tf.cast(image, tf.float32), size_hw)[0])
    return lambda image: kernel(tf.constant(image[np.newaxis])).numpy()


def measure(image: np.ndarray, way: Way, size_hw: tuple[int, int], seconds: float) -> Measured:
    """The fastest call of as many as fit in so many seconds; to be called in a fresh process."""
    keep_large_blocks()
    resize = resizer(way, size_hw)
    digest = hashlib.sha256(resize(image).tobytes()).hexdigest()
    taken, end = [], time.monotonic() + seconds
    while len(taken) < 3 or time.monotonic() < end:
        began = time.process_time()
        resize(image)
        taken.append(time.process_time() - began)
    return Measured(1000 * min(taken), digest)


def main() -> None:
    args = arguments(__doc__).parse_args()
    figures = []
    for size, size_hw in SIZES_HW.items():
        image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
        for network, input_hw in INPUTS_HW.items():
            ways: tuple[Way, ...] = ("labelbeam", "whole arrays", "TensorFlow's kernel")
            (ours, ours_mib), *peers = (
                in_own_process(measure, image, way, input_hw, 0.5 if args.quick else 3.0) for way in ways
            )
            for way, (theirs, theirs_mib) in zip(ways[1:], peers, strict=True):
                assert theirs.sha256 == ours.sha256, f"{size} for {network}: {way} gives other bits"
                what = f"resize of {size} for {network}"
                figures.append(Figure(what, way, "ms an image", ours.ms, theirs.ms, False, ours_mib, theirs_mib))
    publish(figures, args.json)


if __name__ == "__main__":
    main()
