"""Writes scenes as a data set: JPEG files and their ground truth in COCO's format.

    python -m labelbeam.detectors.demo.dataset --seeds evaluation --out /tmp/scenes
    python -m labelbeam.detectors.demo.dataset --seeds demo --quality 88 --images-only --out pipeline/demo_images

The first line makes the 200 images that the detector's scores are quoted for, with `instances.json`; the second one
the images that come with the project. For training use `examples`, which keeps the scenes as arrays.
"""

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .scenes import EVALUATION_SEEDS, Scene, draw_scene
from .shapes import CLASS_NAMES

DEMO_SEEDS = (1000, 1005, 1006, 1007, 1011, 1013, 1014, 1017, 1019, 1023, 1028, 1035)
"""Scenes for people to look at: some crowded, some sparse, upright, flat and square."""


def jpeg_bytes(image: np.ndarray, quality: int = 90) -> bytes:
    """The image, uint8 [H, W, 3], as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def file_name(seed: int) -> str:
    return f"scene-{seed:07d}.jpg"


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length encoding of a bool [H, W] mask: down the columns, starting with a run of False."""
    cells = mask.ravel(order="F")
    changes = np.flatnonzero(cells[1:] != cells[:-1]) + 1
    counts = np.diff([0, *changes, cells.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if cells[0] else counts}


def coco_instances(scenes: Iterable[Scene]) -> dict:
    """The ground truth of the scenes as the content of an `instances.json`. The id of an image is its seed."""
    images, annotations = [], []
    for scene in scenes:
        height, width = scene.image.shape[:2]
        images.append({"id": scene.seed, "file_name": file_name(scene.seed), "width": width, "height": height})
        for box, class_id, mask in zip(scene.boxes_yxyx.tolist(), scene.class_ids.tolist(), scene.masks, strict=True):
            ymin, xmin, ymax, xmax = box
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": scene.seed, "category_id": class_id, "iscrowd": 0,
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "area": int(mask.sum()),
                    "segmentation": run_lengths(mask),
                }
            )  # fmt: skip
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(CLASS_NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_scenes(folder: Path, seeds: Iterable[int], *, quality: int = 90, with_truth: bool = True) -> list[Path]:
    """Writes one JPEG file per seed and, unless told not to, `instances.json` beside them.

    Args:
        folder: is made if it isn't there; files of the same names are overwritten.
        seeds: of the scenes.
        quality: of the JPEG files, 1 to 95.
        with_truth: whether to write `instances.json`.

    Returns:
        The paths of the images.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []

    def written() -> Iterator[Scene]:
        for seed in seeds:
            scene = draw_scene(seed)
            paths.append(folder / file_name(seed))
            paths[-1].write_bytes(jpeg_bytes(scene.image, quality))
            yield scene

    truth = coco_instances(written())
    if with_truth:
        (folder / "instances.json").write_text(json.dumps(truth, separators=(",", ":")), encoding="utf-8")
    return paths


def _seeds(text: str) -> Iterable[int]:
    if text in ("demo", "evaluation"):
        return DEMO_SEEDS if text == "demo" else EVALUATION_SEEDS
    first, _, end = text.partition(":")
    return range(int(first), int(end) if end else int(first) + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes scenes as JPEG files with COCO ground truth.")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--seeds", type=_seeds, default=EVALUATION_SEEDS, help="demo, evaluation, SEED or FIRST:END")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality")
    parser.add_argument("--images-only", action="store_true", help="without instances.json")
    options = parser.parse_args()
    paths = write_scenes(options.out, options.seeds, quality=options.quality, with_truth=not options.images_only)
    print(f"{len(paths)} images in {options.out}")


if __name__ == "__main__":
    main()
