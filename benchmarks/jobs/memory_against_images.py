"""Does memory grow with the number of images?  python -m benchmarks.jobs.memory_against_images

Labels 200 and then 2,000 generated JPEGs of 12 megapixels with the demo detector, each in a process of its own, and
prints the peak memory of both and their ratio, with the time beside it. Peer: the smaller job of the same run.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..figures import Figure, arguments, publish

SIZE_HW = (3000, 4000)
DISTINCT = 10  # images really drawn; the rest are links to them under names of their own


class Peak(NamedTuple):
    """One job's cost: images labelled, peak resident memory in MiB, wall time in seconds."""

    images: int
    peak_mib: float
    seconds: float


def draw_images(folder: Path) -> list[Path]:
    """Photographic-looking JPEGs: smooth colour with grain, which compress to about 2 MB each."""
    paths = []
    for seed in range(DISTINCT):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize(SIZE_HW[::-1], Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.integers(-12, 13, (*SIZE_HW, 1), dtype=np.int16)
        paths.append(folder / f"drawn-{seed}.jpg")
        Image.fromarray(np.clip(image + grain, 0, 255).astype(np.uint8)).save(paths[-1], quality=85)
    return paths


def label(drawn: list[Path], images: int, work: Path) -> Peak:
    """Labels `images` images in a child process and returns what that took."""
    image_folder, out = work / f"images-{images}", work / f"out-{images}"
    image_folder.mkdir()
    for number in range(images):
        os.link(drawn[number % len(drawn)], image_folder / f"{number:06d}.jpg")
    started = time.monotonic()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "labelbeam.pipeline.cli",
            "label",
            "--input",
            str(image_folder),
            "--output",
            str(out),
            "--detector",
            "demo",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # The largest child so far: call with growing numbers of images.
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Peak(images, peak_kib / 1024, time.monotonic() - started)


def measure(few: int, many: int) -> tuple[Peak, Peak]:
    """Runs both jobs in a temporary folder, the smaller one first."""
    with tempfile.TemporaryDirectory() as work:
        drawn = draw_images(Path(work))
        return label(drawn, few, Path(work)), label(drawn, many, Path(work))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, help="default: 200, with --quick 150")
    parser.add_argument("--many", type=int, help="default: 2,000, with --quick 450")
    args = parser.parse_args()
    few, many = measure(args.few or (150 if args.quick else 200), args.many or (450 if args.quick else 2_000))
    print("| images | peak MiB | seconds | images/s |\n|---|---|---|---|")
    for peak in (few, many):
        print(f"| {peak.images:,} | {peak.peak_mib:,.0f} | {peak.seconds:.1f} | {peak.images / peak.seconds:.1f} |")
    print(f"\nPeak memory, {many.images:,} against {few.images:,} images: {many.peak_mib / few.peak_mib:.2f}×\n")
    publish(
        [
            Figure(
                f"peak memory, {many.images:,} images of 12 megapixels",
                f"{few.images:,} of them",
                "MiB",
                many.peak_mib,
                few.peak_mib,
                False,
                goal=0.83,
            )
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
