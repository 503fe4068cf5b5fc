"""What does decoding JPEGs cost?  python -m benchmarks.reading.decoding

Photos at 0.3, 2 and 12 megapixels (enlarged, with grain, so that they take as many bytes as a camera's), quality 90,
one thread, each side in a process of its own.

Exact: labelbeam's decoder, with its setting of malloc, against plain Pillow,
`np.asarray(Image.open(…).convert("RGB"))`, without.
The pixels must be equal. `--decode fast`: decoding and the detector's resize, as the published graphs have it
(TensorFlow's float cast and legacy bilinear resize of the image) and as engine keras has it
(`legacy_bilinear_resize`), against exact decoding and the same resize; beside it, against plain Pillow and that
resize.
"""

import hashlib
import io
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from labelbeam.detectors.keras.resize import legacy_bilinear_resize
from labelbeam.transforms.decode.decoding import open_image
from labelbeam.transforms.fetch.options import DecodeOptions, ModelInput
from labelbeam.transforms.workers.malloc import keep_large_blocks
from PIL import Image

from ..figures import Figure, arguments, in_own_process, publish
from ..photos import photos

SIZES_HW = {"0.3 MP": (480, 640), "2 MP": (1200, 1600), "12 MP": (3000, 4000)}
DETECTORS = {
    "512, letterbox": (ModelInput((512, 512), "letterbox"), (384, 512)),
    "1024, stretch": (ModelInput((1024, 1024), "stretch"), (1024, 1024)),
}  # the size of a 4:3 image there
GOALS = {"512, letterbox": 3, "1024, stretch": 2}
IMAGES = 4

Way = Literal["exact", "fast", "plain Pillow"]
Resize = Literal["none", "published graph's", "keras"]


class Measured(NamedTuple):
    """Of one side: ms an image (the best of some rounds over all images), SHA-256 of the results."""

    ms: float
    sha256: str


def draw(size_hw: tuple[int, int]) -> list[bytes]:
    """JPEG files."""
    files = []
    for seed, photo in enumerate(photos(IMAGES)):
        enlarged = Image.fromarray(photo).resize(size_hw[::-1], Image.Resampling.BICUBIC)
        grain = np.random.default_rng(seed).integers(-8, 9, (*size_hw, 1), dtype=np.int16)
        file = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(enlarged, np.int16) + grain, 0, 255).astype(np.uint8)).save(
            file, "JPEG", quality=90
        )
        files.append(file.getvalue())
    return files


def decoder(way: Way, model_input: ModelInput | None) -> Callable[[bytes], np.ndarray]:
    if way == "plain Pillow":
        return lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    keep_large_blocks()
    options = DecodeOptions(reduce_for=model_input if way == "fast" else None)
    return lambda data: open_image(data, options).decode().pixels


def resizer(resize: Resize, size_hw: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    if resize == "none":
        return lambda pixels: pixels
    if resize == "keras":
        return lambda pixels: legacy_bilinear_resize(pixels, size_hw)
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def preprocess(pixels):
        return tf.compat.v1.image.resize_bilinear(tf.cast(pixels, tf.float32), size_hw)

    return lambda pixels: preprocess(tf.constant(pixels[np.newaxis])).numpy()


def measure(files: list[bytes], way: Way, detector: str | None, resize: Resize, rounds: int) -> Measured:
    """Decodes and resizes all images, some times over; to be called in a fresh process."""
    model_input, resized_hw = DETECTORS[detector] if detector else (None, (0, 0))
    decode, shrink = decoder(way, model_input), resizer(resize, resized_hw)
    seconds = []
    for _ in range(rounds + 1):  # the first one warms up
        started = time.perf_counter()
        for data in files:
            shrink(decode(data))
        seconds.append(time.perf_counter() - started)
    digest = hashlib.sha256()
    for data in files:
        digest.update(shrink(decode(data)).tobytes())
    return Measured(1000 * min(seconds[1:]) / len(files), digest.hexdigest())


def compare(
    what: str, files: list[bytes], ours: tuple, theirs: tuple, peer: str, rounds: int, goal: float | None
) -> Figure:
    mine, mine_mib = in_own_process(measure, files, *ours, rounds)
    other, other_mib = in_own_process(measure, files, *theirs, rounds)
    if ours[0] == "exact":
        assert mine.sha256 == other.sha256, f"{what}: the pixels differ"
    return Figure(
        what,
        peer,
        "ms an image",
        mine.ms,
        other.ms,
        higher_is_better=False,
        ours_mib=mine_mib,
        theirs_mib=other_mib,
        goal=goal,
    )


def main() -> None:
    args = arguments(__doc__).parse_args()
    figures = []
    for size, size_hw in SIZES_HW.items():
        files = draw(size_hw)
        rounds = 3 if args.quick else {"0.3 MP": 40, "2 MP": 15, "12 MP": 6}[size]
        print(f"{size}: {sum(map(len, files)) / len(files) / 1e6:.2f} MB a file", flush=True)
        figures.append(
            compare(
                f"exact decoding, {size}",
                files,
                ("exact", None, "none"),
                ("plain Pillow", None, "none"),
                "plain Pillow",
                rounds,
                goal=1.5,
            )
        )
    for detector, goal in GOALS.items():  # with the last size's files, 12 megapixels
        for resize, whose in (("published graph's", "the published graph's"), ("keras", "engine keras's")):
            what = f"--decode fast and {whose} resize to {detector}, 12 MP"
            for way in ("exact", "plain Pillow"):
                figures.append(
                    compare(
                        what,
                        files,
                        ("fast", detector, resize),
                        (way, detector, resize),
                        f"{'exact decoding' if way == 'exact' else way}, the same resize",
                        rounds,
                        goal=goal if way == "exact" else None,
                    )
                )
    publish(figures, args.json)


if __name__ == "__main__":
    main()
