"""Output folders for the tests of exports: real tables with known labels, some odd masks, and their images."""

import json

import numpy as np
import pyarrow.parquet as pq
from labelbeam.labelset.label_set_file import LABEL_SET_FILE
from labelbeam.labelset.masks import encode_rle
from labelbeam.pipeline.cli import main
from labelbeam.results.reader import open_label_set
from labelbeam.results.stored_labels import iter_labels
from PIL import Image

from tests.fakes.output_folders import NAMES, detections, failed, labelled, write_part


def ring_and_pieces(height, width):
    """A mask in two pieces that touch at a corner, one with a hole that has an island, some at the image's edges."""
    mask = np.zeros((height, width), bool)
    mask[2:12, 3:20] = True
    mask[4:10, 6:16] = False
    mask[6:8, 9:12] = True
    mask[12:15, 20:25] = True
    mask[height - 1, width - 1] = mask[0, width - 4 :] = True
    return mask


def replace_mask(output, mask, stem="part-a", row=0):
    """Puts a mask into a row of the table masks."""
    path = output / "masks" / f"{stem}.parquet"
    table = pq.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["counts"][row] = encode_rle(mask)
    columns["area"][row] = int(mask.sum())
    pq.write_table(type(table).from_pydict(columns, table.schema), path)


def save_label_set(output, **settings):
    output.mkdir(parents=True, exist_ok=True)
    settings = {"detector": "demo", "labels": {str(id): name for id, name in NAMES.items()}, **settings}
    (output / LABEL_SET_FILE).write_text(json.dumps({"fingerprint": "0", "settings": settings}))


def make_output(folder, mask_format="rle", second="a/1.jpg"):
    """Five images in two parts: `a/1.png` with three detections, `b/1.png` with one of a class without a name,
    `b/2.png` with none, `a/1.jpg` (or another, called `second`) with one, and one that failed."""
    output, image_folder = folder / "out", folder / "images"
    sizes_hw = {"a/1.png": (30, 40), second: (33, 41), "b/1.png": (51, 27), "b/2.png": (20, 20)}
    for seed, (name, (height, width)) in enumerate(sizes_hw.items()):
        (image_folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image_folder / name)
    boxes = [[0.1234567, 0.2, 0.7777, 0.9], [0, 0, 1, 1], [0.5, 0.25, 0.75, 1]]
    found = {
        "a/1.png": detections([0.9, 0.6, 0.31234567], [2, 1, 2], boxes),
        "b/1.png": detections([0.5], [7]),
        "b/2.png": detections([]),
        second: detections([0.7], [1]),
    }
    images = [labelled(image_folder / name, size_hw, found[name]) for name, size_hw in sizes_hw.items()]
    tables = ("detections", "images") if mask_format == "none" else ("detections", "masks", "images")
    write_part(output, [*images[:2], failed(image_folder / "c.png")], mask_format, tables=tables)
    write_part(output, images[2:], mask_format, stem="part-b", tables=tables)
    if mask_format == "rle":
        index = pq.read_table(output / "masks" / "part-a.parquet")["height"].to_pylist().index(30)
        replace_mask(output, ring_and_pieces(30, 40), row=index)
    save_label_set(output, mask_format=mask_format)
    return output


def run_export(output, format, target, *options):
    """Exit code of `labelbeam export`."""
    return main(["export", str(output), "--format", format, "--to", str(target), *options])


def labels_by_name(output, min_score=0.0):
    """What was labelled, by the name that images have in exports with folders: `a/1.png`, …"""
    return {
        "/".join(image.uri.split("/")[-2:]): image.select(image.scores >= min_score)
        for image in iter_labels(open_label_set(str(output)))
        if image.failure is None
    }
