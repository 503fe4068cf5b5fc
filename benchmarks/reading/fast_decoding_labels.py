"""What does `--decode fast` change in the labels?  python -m benchmarks.reading.fast_decoding_labels [--images 120]

Draws scenes of 2 to 12 megapixels with the demo detector's own script, some of them stored turned, labels them twice
with the demo detector, and has `labelbeam compare` match their detections. Peer: exact decoding of the same files.
`--detector` and `--weights` take another detector, for which the scenes mean little, but whose labels can be compared
as well.
"""

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from labelbeam.detectors.demo.scenes import draw_scene
from PIL import Image

SIZES_HW = ((1201, 1601), (1707, 1280), (1440, 1919), (2001, 1501), (1920, 2560), (3000, 4000))  # 2 to 12 megapixels
SHARES = (6, 6, 4, 2, 1, 1)  # of 20 images: large ones take seconds to draw
FIRST_SEED = 5_000
MIN_IOU, MIN_SCORE = (
    0.75,
    0.5,
)  # matched detections overlap so much; detections that are counted score so much in one of the label sets


def draw(folder: Path, number: int) -> None:
    """Image `number` of the collection, unless it is there."""
    path = folder / f"{number:05d}.jpg"
    if path.exists():
        return
    place = number % sum(SHARES)
    size_hw = next(size for i, size in enumerate(SIZES_HW) if place < sum(SHARES[: i + 1]))
    orientation = (1, 6, 8, 3)[number % 4]
    upright = Image.fromarray(draw_scene(FIRST_SEED + number, size_hw=size_hw, num_objects=10).image)
    stored = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}[
        orientation
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (upright if stored is None else upright.transpose(stored)).save(path, quality=90, exif=exif)


def run_labelbeam(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "labelbeam.pipeline.cli", *arguments], check=True)


def compare(images: Path, detector: list[str], overlaps: list[str], work: Path) -> None:
    """Labels both ways and has boxes and masks compared, which prints the figures."""
    for way in ("exact", "fast"):
        run_labelbeam("label", "--input", str(images), "--output", str(work / way), *detector, "--decode", way)
    for overlap in overlaps:
        run_labelbeam(
            "compare",
            str(work / "exact"),
            str(work / "fast"),
            "--iou",
            overlap,
            "--min-iou",
            str(MIN_IOU),
            "--min-score",
            str(MIN_SCORE),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--folder", type=Path, help="where the images are drawn, or lie already")
    parser.add_argument("--detector", default="demo")
    parser.add_argument("--weights")
    parser.add_argument("--overlaps", nargs="+", choices=["bbox", "segm"], default=["bbox", "segm"])
    args = parser.parse_args()
    detector = ["--detector", args.detector, *(["--weights", args.weights] if args.weights else [])]
    with tempfile.TemporaryDirectory() as work:
        folder = args.folder or Path(work) / "images"
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
            list(processes.map(draw, [folder] * args.images, range(args.images)))
        compare(folder, detector, args.overlaps, Path(work))


if __name__ == "__main__":
    main()
