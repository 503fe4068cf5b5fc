"""What tiles give and cost, with the demo detector: python -m benchmarks.detectors.tiles [--scenes 40] [--work FOLDER]

Boxes' and masks' AP of large scenes, whole and with `--tiles auto`, and of the 200 ordinary evaluation scenes, with and
without; all from tables that `labelbeam label` wrote, with up to 500 detections an image. Then the time of an image
of N tiles against N times that of a tile in batches. Peer: the same detector without tiles. Large scenes take half a
minute each to draw and as long to label: what is in FOLDER already isn't made again, so a run may be interrupted.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from labelbeam.detectors.config import load_config
from labelbeam.detectors.demo.dataset import write_scenes
from labelbeam.detectors.demo.large_scenes import write_large_scenes
from labelbeam.detectors.demo.scenes import EVALUATION_SEEDS
from labelbeam.detectors.load import prepare
from labelbeam.detectors.protocol import DetectOptions
from labelbeam.detectors.tiling.detector import TILES_AT_ONCE, TiledDetector
from labelbeam.detectors.tiling.grid import windows
from labelbeam.detectors.tiling.options import TileOptions
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import labelbeam

from ..figures import Figure, arguments, publish

MAX_DETECTIONS = 500  # of an image
_LABEL = ["--detector", "demo", "--min-score", "0.05", "--max-detections", str(MAX_DETECTIONS)]
WAYS = {"whole": [], "tiles": ["--tiles", "auto"]}
_COST_SIZE_HW = (1280, 1920)


def average_precision(annotations: Path, rows: Sequence[Mapping], kind: str) -> float:
    """COCO AP@[.5:.95].

    Args:
      annotations: an `instances.json`.
      rows: COCO results.
      kind: `bbox` or `segm`.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO(str(annotations))
        scorer = COCOeval(truth, truth.loadRes(list(rows)), kind)
        scorer.params.maxDets = [1, 10, MAX_DETECTIONS]
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    return float(precision[precision > -1].mean())


def coco_results(output: Path, annotations: Path) -> list[dict]:
    """The tables of a label set as COCO results, boxes and masks in one."""
    ids = {image["file_name"]: image["id"] for image in json.loads(annotations.read_text())["images"]}
    label_set = labelbeam.open_label_set(str(output))
    images = {row["image_id"]: ids[row["uri"].rpartition("/")[2]] for row in label_set.arrow("images").to_pylist()}
    masks = {row["mask_ref"]: row for row in label_set.arrow("masks").to_pylist()}
    results = []
    for row in label_set.arrow("detections").to_pylist():
        mask = masks[row["mask_ref"]]
        results.append(
            {
                "image_id": images[row["image_id"]],
                "category_id": row["class_id"],
                "score": row["score"],
                "bbox": [row["x"], row["y"], row["w"], row["h"]],
                "segmentation": {"size": [mask["height"], mask["width"]], "counts": mask["counts"]},
            }
        )
    return results


def precisions(what: str, scenes: Path, work: Path) -> list[Figure]:
    """AP of boxes and masks with tiles, against whole images."""
    found: dict[str, dict[str, float]] = {}
    for way, options in WAYS.items():
        output = work / f"{scenes.name}-{way}"
        command = [sys.executable, "-m", "labelbeam.pipeline.cli", "label", f"{scenes}/*.jpg", "-o", str(output)]
        subprocess.run([*command, *_LABEL, *options], check=True)
        results = coco_results(output, scenes / "instances.json")
        found[way] = {kind: average_precision(scenes / "instances.json", results, kind) for kind in ("bbox", "segm")}
    return [
        Figure(f"{name} of {what}", "whole images", "AP", found["tiles"][kind], found["whole"][kind], True)
        for kind, name in (("bbox", "boxes"), ("segm", "masks"))
    ]


def cost(scene: Path, rounds: int) -> Figure:
    """Milliseconds a tile: of an image in tiles, and of as many tiles in batches, by turns."""
    config = load_config("demo")
    detector = prepare(config, options=DetectOptions(min_score=0.05)).load()
    options = TileOptions(config.input_size_hw)
    height, width = _COST_SIZE_HW
    image = np.ascontiguousarray(np.asarray(Image.open(scene))[:height, :width])
    views = windows(image.shape[:2], options)
    side_h, side_w = options.size_hw
    tiles = [np.ascontiguousarray(view.of(image)) for view in views if view.size_hw == (side_h, side_w)]
    tiles = (tiles * len(views))[: len(views)]
    tiled = TiledDetector(detector, options, MAX_DETECTIONS)
    seconds: dict[str, list[float]] = {"image": [], "tiles": []}
    tiled.detect([image])
    for _ in range(rounds):
        started = time.perf_counter()
        tiled.detect([image])
        seconds["image"].append(time.perf_counter() - started)
        started = time.perf_counter()
        for start in range(0, len(tiles), TILES_AT_ONCE):
            detector.detect(tiles[start : start + TILES_AT_ONCE])
        seconds["tiles"].append(time.perf_counter() - started)
    ours, theirs = (min(seconds[side]) * 1000 / len(views) for side in ("image", "tiles"))
    what = f"an image of {width}×{height} pixels, looked at {len(views)} times"
    return Figure(what, "as many tiles in batches", "ms a tile", ours, theirs, False, goal=1 / 1.1)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--scenes", type=int, default=40, help="large scenes")
    parser.add_argument("--ordinary", type=int, default=len(EVALUATION_SEEDS), help="ordinary scenes")
    parser.add_argument("--rounds", type=int, default=3, help="of the timing; the shortest counts")
    parser.add_argument("--work", type=Path, help="folder for scenes and label sets; a temporary one if not given")
    args = parser.parse_args()
    if args.quick:
        args.scenes, args.ordinary, args.rounds = 2, 20, 1
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        large, ordinary = work / f"large-{args.scenes}", work / f"ordinary-{args.ordinary}"
        if not (large / "instances.json").exists():
            write_large_scenes(large, range(args.scenes))
        if not (ordinary / "instances.json").exists():
            write_scenes(ordinary, EVALUATION_SEEDS[: args.ordinary])
        figures = [
            cost(next(large.glob("*.jpg")), args.rounds),
            *precisions(f"{args.ordinary} ordinary scenes", ordinary, work),
            *precisions(f"{args.scenes} large scenes", large, work),
        ]
    publish(figures, args.json)


if __name__ == "__main__":
    main()
