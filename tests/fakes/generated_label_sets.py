"""Generated label sets of any size: tables as the writer makes them, random detections, images at their URIs."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from labelbeam.labelset.compact import sorted_by_image
from labelbeam.labelset.masks import EncodedMask, encode_box_masks
from labelbeam.labelset.parts import new_stem, write_part
from labelbeam.labelset.rows import image_id
from labelbeam.labelset.schemas import TABLES
from PIL import Image

SIZE_HW = (480, 640)
START_US = 1_767_225_600_000_000  # 2026-01-01
ERROR_KINDS = ("timeout", "not_found", "truncated")
MASK = np.clip(1.5 - np.hypot(*np.meshgrid(*[np.linspace(-1.4, 1.4, 33)] * 2)), 0, 1).astype(np.float32)


def generate_label_set(
    folder: Path,
    num_images: int,
    *,
    num_classes: int = 80,
    mean_detections: float = 10,
    failed: float = 0.02,
    part_images: int = 1000,
    images_per_s: float = 25,
    num_shapes: int = 200,
    seed: int = 0,
    name: str = "out",
    shifted: float = 0.0,
) -> Path:
    """Writes a label set to `folder / name` and its images, noise that no codec makes small, beside it.

    Args:
      num_shapes: different boxes and masks; with thousands, masks take as many bytes as those of a real detector.
      shifted: what else would be the same labels has boxes moved and scores changed by about so much, as another
        detector's are.
    """
    rng, output, images = np.random.default_rng(seed), folder / name, folder / "images"
    images.mkdir(exist_ok=True)
    drawn = [images / f"drawn-{number}.jpg" for number in range(20)]
    for path in drawn:
        pixels = rng.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
        if not path.exists():
            Image.fromarray(pixels).save(path, quality=90)
    boxes = rng.uniform(0, 0.7, (num_shapes, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(0.02, 0.3, (num_shapes, 2))], axis=1)
    boxes = (boxes + shifted * np.random.default_rng(seed + 1).normal(size=boxes.shape)).astype(np.float32)
    masks = encode_box_masks(np.broadcast_to(MASK, (num_shapes, *MASK.shape)), boxes, *SIZE_HW)
    encoded = pa.table({name: [getattr(mask, name) for mask in masks] for name in EncodedMask._fields})
    for first in range(0, num_images, part_images):
        uris = [str(images / f"{number:07d}.jpg") for number in range(first, min(first + part_images, num_images))]
        for number, uri in enumerate(uris):
            if not os.path.exists(uri):
                os.link(drawn[number % len(drawn)], uri)
        write_part(
            str(output),
            new_stem("job"),
            _tables(rng, uris, first, boxes, encoded, num_classes, mean_detections, failed, images_per_s, shifted),
        )
    settings = {
        "detector": "generated",
        "engine": "keras",
        "precision": "float32",
        "min_score": 0.3,
        "mask_format": "rle",
        "labels": {str(number): f"class {number}" for number in range(1, num_classes + 1)},
    }
    (output / "_label_set.json").write_text(json.dumps({"settings": settings}))
    return output


def _tables(rng, uris, first, boxes, encoded, num_classes, mean_detections, failed, images_per_s, shifted):
    n, (height, width) = len(uris), SIZE_HW
    ids = np.array([image_id(uri) for uri in uris])
    fails = rng.random(n) < failed
    counts = np.where(fails, 0, rng.poisson(mean_detections, n))
    kinds = [ERROR_KINDS[kind] if fail else None for kind, fail in zip(rng.integers(0, len(ERROR_KINDS), n), fails)]
    images = {
        "image_id": ids,
        "uri": uris,
        "listed_as": [None] * n,
        "status": np.where(fails, "failed", "ok"),
        "error_kind": kinds,
        "error_message": [kind and f"it was {kind}" for kind in kinds],
        "attempts": np.ones(n),
        "width": [width] * n,
        "height": [height] * n,
        "num_bytes": [90_000] * n,
        "sha256": [None] * n,
        "num_detections": pa.array(counts, mask=fails),
        "fetch_ms": rng.random(n),
        "decode_ms": rng.random(n),
        "time_s": [None] * n,
        "captured_at": [None] * n,
        "camera": [None] * n,
        "latitude": [None] * n,
        "longitude": [None] * n,
        "labelled_at": START_US + ((first + np.arange(n)) / images_per_s * 1e6).astype(np.int64),
        "modified_at": [None] * n,
        "etag": [None] * n,
    }
    owner = np.repeat(np.arange(n), counts)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    detection_ids = [f"{ids[image]}-{place}" for image, place in zip(owner, rank)]
    which = rng.integers(0, len(boxes), len(owner))
    classes = np.minimum(rng.geometric(0.06, len(owner)), num_classes)
    ymin, xmin, ymax, xmax = boxes[which].T
    scores = rng.uniform(0.3, 1, len(owner))
    if shifted:
        scores = np.clip(scores + shifted * np.random.default_rng(first).normal(size=len(scores)), 0, 1)
    detections = {
        "detection_id": detection_ids,
        "image_id": ids[owner],
        "uri": np.array(uris)[owner],
        "rank": rank,
        "class_id": classes,
        "class_name": np.array([f"class {number}" for number in range(num_classes + 1)])[classes],
        "score": scores,
        "ymin": ymin,
        "xmin": xmin,
        "ymax": ymax,
        "xmax": xmax,
        "x": xmin * width,
        "y": ymin * height,
        "w": (xmax - xmin) * width,
        "h": (ymax - ymin) * height,
        "mask_ref": detection_ids,
    }
    found = encoded.take(which)
    pasted = {
        "mask_ref": detection_ids,
        "detection_id": detection_ids,
        "image_id": ids[owner],
        "height": [height] * len(owner),
        "width": [width] * len(owner),
        **{name: found[name].combine_chunks() for name in found.column_names},
    }
    tables = {"images": images, "detections": detections, "masks": pasted}
    return {
        name: sorted_by_image(
            pa.table([pa.array(columns[field.name]).cast(field.type) for field in TABLES[name]], schema=TABLES[name])
        )
        for name, columns in tables.items()
    }
