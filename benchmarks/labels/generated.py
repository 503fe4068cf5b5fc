"""Label sets of any size, another detector's labels of the same images, and COCO annotations that both nearly find.

What real data has is there: crowds, objects of all three of COCO's sizes, outlines of 16 points, some objects that
nobody finds, and detections of nothing.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from labelbeam.labelset.compact import compact_parts, plan_compaction
from labelbeam.labelset.parts import count_part, delete_parts, list_parts
from labelbeam.results.reader import LabelSet, open_label_set

from tests.fakes.generated_label_sets import SIZE_HW, generate_label_set

PART_IMAGES = 20_000
BOXES_A_IMAGE = 7
NUM_CLASSES = 80
_SHAPES = 20_000
_SHIFTED = 0.004  # of the image's sides
_CORNERS = 16
_DETECTED, _CROWDS = 0.85, 0.02  # shares of the objects


def generate(folder: Path, num_images: int, num_annotated: int) -> None:
    """Writes the label sets `folder/out` and `folder/b`, images, and `folder/instances.json` for the first images."""
    for name, shifted in (("out", 0.0), ("b", _SHIFTED)):
        generate_label_set(
            folder,
            num_images,
            num_classes=NUM_CLASSES,
            mean_detections=BOXES_A_IMAGE,
            part_images=PART_IMAGES,
            num_shapes=_SHAPES,
            name=name,
            shifted=shifted,
        )
        compact(str(folder / name))
    write_annotations(open_label_set(str(folder / "out")), folder / "instances.json", num_annotated)


def compact(output: str) -> None:
    """Makes of a label set's parts what they are after a job: few, with row groups in the order of image ids."""
    parts = {stem: count_part(output, stem, sizes) for stem, sizes in list_parts(output).items()}
    for group in plan_compaction(parts, min_parts=2):
        compact_parts(output, "job", group)
        delete_parts(output, {part.stem: part.rows for part in group})


def write_annotations(label_set: LabelSet, path: Path, num_images: int) -> None:
    """Objects near the detections of images whose files are called by their numbers, in COCO's format."""
    rng, (height, width) = np.random.default_rng(1), SIZE_HW
    numbers = range(num_images)
    with path.open("w") as file:
        images = (
            json.dumps({"id": number, "file_name": f"{number:07d}.jpg", "height": height, "width": width})
            for number in numbers
        )
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, NUM_CLASSES + 1)]
        file.write(f'{{"categories": {json.dumps(categories)}, "images": [')
        _write_items(file, images)
        file.write('], "annotations": [')
        _write_items(file, _objects(rng, label_set, num_images))
        file.write("]}")


def _write_items(file: TextIO, items: Iterable[str]) -> None:
    for number, item in enumerate(items):
        file.write(f"{',' if number else ''}\n{item}")


def _objects(rng: np.random.Generator, label_set: LabelSet, num_images: int) -> Iterator[str]:
    (height, width), ids = SIZE_HW, itertools.count(1)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2.8 + 0.5  # in boxes, as the detections' masks
    for batch in label_set.batches("detections", ["uri", "class_id", "x", "y", "w", "h"]):
        images = np.array([int(uri[-11:-4]) for uri in batch["uri"].to_pylist()])
        boxes = np.stack([batch[name].to_numpy() for name in "xywh"], axis=1).astype(np.float64)
        kept = (images < num_images) & (rng.random(len(boxes)) < _DETECTED)
        boxes, classes = boxes[kept], batch["class_id"].to_numpy()[kept]
        boxes += rng.normal(0, 0.04, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        boxes[:, :2] = np.clip(boxes[:, :2], 0, None)
        boxes[:, 2:] = np.clip(boxes[:, 2:], 1, [width, height] - boxes[:, :2])
        boxes = np.round(boxes, 2)
        outlines = np.round(boxes[:, np.newaxis, :2] + circle * boxes[:, np.newaxis, 2:], 2).reshape(-1, 2 * _CORNERS)
        areas = np.round(boxes[:, 2] * boxes[:, 3] * np.pi / 4, 2)
        crowds = rng.random(len(boxes)) < _CROWDS
        columns = (images[kept], classes, boxes, areas, crowds, outlines)
        for image, category, box, area, crowd, outline in zip(*(column.tolist() for column in columns)):
            yield json.dumps(
                {
                    "id": next(ids),
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                    "segmentation": _as_crowd(box) if crowd else [outline],
                }
            )


def _as_crowd(box: list[float]) -> dict[str, Any]:
    """Uncompressed run lengths of a box's pixels, as COCO has crowds."""
    height, width = SIZE_HW
    left, top = round(box[0]), round(box[1])
    right, bottom = min(round(box[0] + box[2]), width), min(round(box[1] + box[3]), height)
    if right <= left or bottom <= top:
        return {"size": [height, width], "counts": [height * width]}
    inside, between = bottom - top, height - (bottom - top)
    counts = [left * height + top, *([inside, between] * (right - left))]
    counts[-1] = height * width - sum(counts[:-1])
    return {"size": [height, width], "counts": counts}
