"""Draws large scenes, 3000×2000 to 6000×4000 pixels, with many small toys: what tiles are for.

    python -m labelbeam.detectors.demo.large_scenes --seeds 0:40 --out /tmp/large

A scene is a function of its seed alone, as in `scenes`, and has one background throughout. Masks are kept as the
patches in which they lie: 150 masks of such an image would be gigabytes.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import jpeg_bytes
from .shapes import CLASS_NAMES
from .toys import overlap, paint_scene, place, tight_box, visible_part

SIZES = (16, 300)
"""Longer side of the smallest and of the largest object, in pixels."""
_SEED_OF_SCENES = 7_000_000  # apart from those of `scenes`: nothing here was trained on


@dataclass(frozen=True, eq=False)
class LargeScene:
    """An image and what is in it. N objects, ordered from the hindmost to the foremost.

    Attributes:
        seed: what it was drawn from.
        image: uint8 [H, W, 3], RGB.
        boxes_yxyx: int64 [N, 4], pixels: edges of the visible region.
        class_ids: int32 [N], 1 is `CLASS_NAMES[0]`.
        masks: N pairs of the first pixel (y, x) of a patch, and its visible region, bool [h, w].
    """

    seed: int
    image: np.ndarray
    boxes_yxyx: np.ndarray
    class_ids: np.ndarray
    masks: list[tuple[tuple[int, int], np.ndarray]]


def draw_large_scene(seed: int, *, size_hw: tuple[int, int] | None = None) -> LargeScene:
    """Draws the large scene of a seed: 40 to 150 toys, but for those that end up mostly hidden.

    Args:
        seed: non-negative integer; the same seed and options give the same scene.
        size_hw: size of the image in pixels; by default drawn, with sides of 3:2.
    """
    rng = np.random.default_rng(_SEED_OF_SCENES + seed)
    if size_hw is None:
        height = int(rng.integers(2000, 4001))
        size_hw = (height, height * 3 // 2)
    toys = [place(rng, size_hw, SIZES) for _ in range(int(rng.integers(40, 151)))]
    toys.sort(key=lambda toy: -toy.size * rng.uniform(0.6, 1.7))
    covered = np.zeros(size_hw, bool)
    kept, boxes, masks = [], [], []
    for toy in reversed(toys):
        visible = visible_part(toy, covered)
        if visible is None:
            continue
        (rows, columns), _ = overlap(toy.origin_yx, toy.distance.shape, size_hw)
        kept.append(toy)
        boxes.append(np.array(tight_box(visible)) + np.array([rows.start, columns.start] * 2))
        masks.append(((rows.start, columns.start), visible))
    kept, boxes, masks = kept[::-1], boxes[::-1], masks[::-1]
    image = paint_scene(rng, kept, size_hw)
    class_ids = np.array([CLASS_NAMES.index(toy.class_name) + 1 for toy in kept], np.int32)
    return LargeScene(seed, image, np.array(boxes).reshape(-1, 4), class_ids, masks)


def patch_run_lengths(origin_yx: tuple[int, int], patch: np.ndarray, size_hw: tuple[int, int]) -> dict:
    """COCO's uncompressed run-length encoding of a mask that is False outside of a patch, bool [h, w]."""
    x, y = np.nonzero(patch.T)
    cells = (x + origin_yx[1]) * size_hw[0] + y + origin_yx[0]  # down the columns
    breaks = np.flatnonzero(np.diff(cells) > 1)
    starts = cells[[0, *(breaks + 1)]]
    ends = cells[[*breaks, -1]] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    return {"size": list(size_hw), "counts": np.diff([0, *edges, size_hw[0] * size_hw[1]]).tolist()}


def file_name(seed: int) -> str:
    return f"large-{seed:04d}.jpg"


def write_large_scenes(folder: Path, seeds: Iterable[int], *, quality: int = 92) -> list[Path]:
    """Writes a JPEG file a seed, and `instances.json` beside them with the ground truth in COCO's format.

    Returns:
        The paths of the images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, images, annotations = [], [], []
    for seed in seeds:
        scene = draw_large_scene(seed)
        size_hw = scene.image.shape[:2]
        paths.append(folder / file_name(seed))
        paths[-1].write_bytes(jpeg_bytes(scene.image, quality))
        images.append({"id": seed, "file_name": file_name(seed), "height": size_hw[0], "width": size_hw[1]})
        for box, class_id, (origin_yx, mask) in zip(
            scene.boxes_yxyx.tolist(), scene.class_ids, scene.masks, strict=True
        ):
            ymin, xmin, ymax, xmax = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": seed,
                    "category_id": int(class_id),
                    "iscrowd": 0,
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                    "area": int(mask.sum()),
                    "segmentation": patch_run_lengths(origin_yx, mask, size_hw),
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(truth, separators=(",", ":")), encoding="utf-8")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes large scenes as JPEG files with COCO ground truth.")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--seeds", default="0:40", help="FIRST:END (default: %(default)s)")
    options = parser.parse_args()
    first, end = map(int, options.seeds.split(":"))
    print(f"{len(write_large_scenes(options.out, range(first, end)))} images in {options.out}")


if __name__ == "__main__":
    main()
