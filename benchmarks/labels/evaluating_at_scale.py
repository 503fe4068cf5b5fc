"""Does `evaluate` keep up with a million annotated images, and `compare` with two label sets of them?

    python -m benchmarks.labels.evaluating_at_scale [--images N] [--data FOLDER] [--only COMMAND …]

Generates annotations of all images of a label set, 7 detections each, and another detector's labels; runs each command
in a process of its own: seconds, seconds of processors, peak memory. Peer: pycocotools on a JSON file of the same
detections, whose figures must be the same to the last digit; it is left out above 20,000 images, for want of memory.
"""

import contextlib
import json
import os
import time
from pathlib import Path

from labelbeam.results.evaluate.scoring import FIGURES
from labelbeam.results.reader import open_label_set

from ..figures import Figure, arguments, in_own_process, publish
from .at_scale import add_data, generated_data, run

PEER_IMAGES = 20_000
COMMANDS = ("evaluate-bbox", "evaluate-segm", "compare-bbox", "compare-segm")


def write_results(folder: Path) -> None:
    """All detections as COCO's tools take them, boxes in one file, masks in the other."""
    label_set = open_label_set(str(folder / "out"))
    columns = ["uri", "class_id", "score", "x", "y", "w", "h", "mask_ref"]
    boxes, masks = [], []
    for stem in label_set.parts:
        counts = label_set.part(stem, "masks", ["mask_ref", "counts", "height", "width"]).to_pylist()
        rles = {row["mask_ref"]: {"size": [row["height"], row["width"]], "counts": row["counts"]} for row in counts}
        for row in label_set.part(stem, "detections", columns).to_pylist():
            found = {
                "image_id": int(row["uri"][-11:-4]),
                "category_id": row["class_id"],
                "score": row["score"],
            }
            boxes.append({**found, "bbox": [row[name] for name in "xywh"]})
            masks.append({**found, "segmentation": rles[row["mask_ref"]]})
    (folder / "bbox.json").write_text(json.dumps(boxes))
    (folder / "segm.json").write_text(json.dumps(masks))


def pycocotools(folder: Path, iou: str) -> tuple[float, list[float]]:
    """Seconds, and the twelve figures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    started = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        truth = COCO(folder / "instances.json")
        scorer = COCOeval(truth, truth.loadRes(str(folder / f"{iou}.json")), iou)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return time.perf_counter() - started, scorer.stats.tolist()


def measure(folder: Path, num_images: int, name: str) -> Figure | None:
    """One command; beside pycocotools if it evaluates and there aren't too many images."""
    what, iou = name.split("-")
    result = folder / f"{name}.json"
    others = {
        "evaluate": ("--annotations", str(folder / "instances.json")),
        "compare": (str(folder / "b"),),
    }
    command = (what, str(folder / "out"), *others[what], "--iou", iou, "--json", str(result))
    (seconds, cpu_seconds), mib = in_own_process(run, *command)
    found = json.loads(result.read_text())
    told = found["figures"] if what == "evaluate" else found["detections"]
    print(
        f"{name}, {num_images:,} images: {seconds:.1f} s, {cpu_seconds:.1f} s of processors, {mib:,.0f} MiB", flush=True
    )
    print(f"  {told}", flush=True)
    if what != "evaluate" or num_images > PEER_IMAGES:
        return None
    (peer_s, stats), peer_mib = in_own_process(pycocotools, folder, iou)
    ours = [found["figures"][figure] for figure in FIGURES]
    if ours != stats:
        raise AssertionError(f"the figures differ from pycocotools': {ours} against {stats}")
    return Figure(
        f"evaluate --iou {iou}, {num_images:,} annotated images, {found['detections']:,} detections",
        "pycocotools",
        "s",
        seconds,
        peer_s,
        higher_is_better=False,
        ours_mib=mib,
        theirs_mib=peer_mib,
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, metavar="N", help="default: 20,000; with --quick 2,000")
    add_data(parser)
    parser.add_argument(
        "--only", nargs="+", choices=COMMANDS, default=COMMANDS, metavar="COMMAND", help="measure these"
    )
    args = parser.parse_args()
    num_images = args.images or (2_000 if args.quick else 20_000)
    with generated_data(args.data, num_images, num_images) as folder:
        if num_images <= PEER_IMAGES and not (folder / "segm.json").exists():
            in_own_process(write_results, folder)
        figures = [measure(folder, num_images, name) for name in args.only]
    publish([figure for figure in figures if figure], args.json)


if __name__ == "__main__":
    main()
