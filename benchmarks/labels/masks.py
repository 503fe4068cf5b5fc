"""What do masks cost, from the detector's grid to a run-length encoding of the image?

    python -m benchmarks.labels.masks

Pastes and encodes 10 and 100 masks of 33 × 33 in images of 0.3, 2 and 12 megapixels: boxes of all sizes as photos
have them, and the worst case, boxes that cover the whole image. Each side in a process of its own, warm; the runs
must be equal, byte for byte. Memory is what a process's peak grew by while it worked. Peer: TensorFlow's
`crop_and_resize` to the image's size, as the Object Detection API pastes, then `encode` of pycocotools; at most 256
MB of pasted masks at once, or 100 would need 4.8 GB at 12 megapixels.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from labelbeam.labelset.masks import MIN_EXTENT, encode_box_masks
from labelbeam.transforms.workers.malloc import keep_large_blocks

from ..figures import Figure, arguments, in_own_process, peak_mib, publish

SIZES_HW = {"0.3 MP": (480, 640), "2 MP": (1200, 1600), "12 MP": (3000, 4000)}
GOALS = {"0.3 MP": 5, "12 MP": 10}
PEER = "crop_and_resize + pycocotools"
PASTED_AT_ONCE_BYTES = 256 << 20


class Measured(NamedTuple):
    """Of one side: the best of some rounds in ms an image, MiB by which the process's peak grew, the masks' counts."""

    ms: float
    grown_mib: float
    counts: list[str]


def detections(count: int, whole_image: bool) -> tuple[np.ndarray, np.ndarray]:
    """Masks `[N, 33, 33]`: ellipses with uncertain outlines. Boxes `[N, 4]`: sides from 3 % to 70 % of the image's."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1:1:33j, -1:1:33j]
    ellipse = 1 / (1 + np.exp(8 * (y**2 + x**2 - 0.7)))
    masks = np.clip(ellipse + rng.normal(0, 0.05, (count, 33, 33)), 0, 1).astype(np.float32)
    if whole_image:
        return masks, np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    sides, centres = np.exp(rng.uniform(np.log(0.03), np.log(0.7), (count, 2))), rng.random((count, 2))
    return masks, np.clip(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1), 0, 1).astype(np.float32)


def ours(size_hw: tuple[int, int], count: int, whole_image: bool, rounds: int) -> Measured:
    keep_large_blocks()  # as in a job
    masks, boxes = detections(count, whole_image)
    return _measure(lambda: [mask.counts for mask in encode_box_masks(masks, boxes, *size_hw)], rounds)


def theirs(size_hw: tuple[int, int], count: int, whole_image: bool, rounds: int) -> Measured:
    import tensorflow as tf
    from pycocotools import mask as coco

    masks, boxes = detections(count, whole_image)
    extents = np.tile(np.maximum(boxes[:, 2:] - boxes[:, :2], MIN_EXTENT), 2)
    image_in_box = (np.float32([0, 0, 1, 1]) - np.tile(boxes[:, :2], 2)) / extents
    at_once = max(1, PASTED_AT_ONCE_BYTES // (4 * size_hw[0] * size_hw[1]))

    def paste_and_encode() -> list[str]:
        counts = []
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            grids = masks[some, :, :, np.newaxis]
            pasted = (
                tf.image.crop_and_resize(grids, image_in_box[some], np.arange(len(grids)), size_hw).numpy()[..., 0]
                > 0.5
            )
            counts += [coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() for mask in pasted]
        return counts

    return _measure(paste_and_encode, rounds)


def _measure(work: Callable[[], list[str]], rounds: int) -> Measured:
    before_mib, seconds = peak_mib(), []
    for _ in range(rounds + 1):  # the first one warms up
        started = time.perf_counter()
        counts = work()
        seconds.append(time.perf_counter() - started)
    return Measured(1000 * min(seconds[1:]), peak_mib() - before_mib, counts)


def main() -> None:
    args = arguments(__doc__).parse_args()
    figures = []
    for size, size_hw in SIZES_HW.items():
        for count in (10, 100):
            for whole_image in (False, True):
                if args.quick and size == "12 MP" and whole_image:
                    continue  # the peer takes half a minute
                mine, _ = in_own_process(ours, size_hw, count, whole_image, 5)
                peer, _ = in_own_process(theirs, size_hw, count, whole_image, 1 if args.quick or size == "12 MP" else 3)
                assert mine.counts == peer.counts, f"{size}, {count} detections: the masks differ"
                what = f"masks, {count} detections at {size}{', each the whole image' * whole_image}"
                figures.append(
                    Figure(
                        what,
                        PEER,
                        "ms an image",
                        mine.ms,
                        peer.ms,
                        higher_is_better=False,
                        ours_mib=mine.grown_mib,
                        theirs_mib=peer.grown_mib,
                        goal=GOALS.get(size),
                    )
                )
    publish(figures, args.json)


if __name__ == "__main__":
    main()
