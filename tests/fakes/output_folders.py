"""Output folders made by hand, for tests of what reads them: real files, detections as the test wants them."""

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.label_set_file import LABEL_SET_FILE, METADATA_KEY
from labelbeam.labelset.schemas import build_table
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.to_rows import RowOptions, image_rows

NAMES = {1: "ball", 2: "box"}


def detections(scores, class_ids=None, boxes_yxyx=None, mask_size=9):
    """Round masks in boxes side by side, from left to right."""
    n = len(scores)
    y, x = np.ogrid[-1 : 1 : mask_size * 1j, -1 : 1 : mask_size * 1j]
    lefts = np.linspace(0, 1, n, endpoint=False) if n else np.zeros(0)
    if boxes_yxyx is None:
        boxes_yxyx = np.stack([np.full(n, 0.25), lefts, np.full(n, 0.75), lefts + 1 / max(n, 1)], axis=1)
    return Detections(
        np.float32(boxes_yxyx).reshape(n, 4),
        np.int32(class_ids or [1] * n),
        np.float32(scores),
        np.tile(np.float32(np.clip(1.5 - x**2 - y**2, 0, 1)), (n, 1, 1)),
    )


def labelled(uri, size_hw, found):
    return LabelledImage(ImageReference(str(uri)), ImageFacts(1, width=size_hw[1], height=size_hw[0]), found)


def failed(uri, message="cut short"):
    return FailedImage(ImageReference(str(uri)), ImageFacts(1), "truncated", message)


def write_part(
    output: Path, images, mask_format="rle", stem="part-a", tables=("detections", "masks", "images"), **settings
):
    rows = [image_rows(image, RowOptions(NAMES, mask_format), datetime.now(timezone.utc)) for image in images]
    for table in tables:
        (output / table).mkdir(parents=True, exist_ok=True)
        pq.write_table(
            build_table(table, rows, {METADATA_KEY: json.dumps({"detector": "demo", **settings})}),
            output / table / f"{stem}.parquet",
        )
    if not (output / LABEL_SET_FILE).exists():
        labels = {str(class_id): name for class_id, name in NAMES.items()}
        content = {"settings": {"detector": "demo", "labels": labels, "mask_format": mask_format, **settings}}
        (output / LABEL_SET_FILE).write_text(json.dumps(content))
    for path, data in [item for image in rows for item in image.files.items()]:
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(data)
