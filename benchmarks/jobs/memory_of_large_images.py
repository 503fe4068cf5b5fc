"""What one image of 200 megapixels takes, in tiles: python -m benchmarks.jobs.memory_of_large_images

Labels a JPEG and a tiled TIFF of 20,000 × 10,000 pixels, the limit of `--max-pixels`, with the demo detector and
`--tiles`, each in a job of its own, and prints the peak of its process, with the time beside it. Peer: an image of
one tile, labelled in the same way, which is what the process takes for itself; the goal is 1.5 GB in all.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from ..figures import Figure, arguments, in_own_process, publish

SIZE_HW = (10_000, 20_000)
TILE = 768
GOAL_MIB = 1.5e9 / 2**20


def write_images(folder: Path, size_hw: tuple[int, int]) -> dict[str, Path]:
    """Smooth colours with coarse grain, a block of it again and again: files of about a tenth of their pixels."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((1000, 1000))
    grain = np.kron(rng.integers(-9, 10, (250, 250, 1)), np.ones((4, 4, 1), np.int16))
    block = np.clip(np.asarray(coarse, np.int16) // 16 * 16 + grain, 0, 255).astype(np.uint8)
    pixels = np.tile(block, (size_hw[0] // 1000, size_hw[1] // 1000, 1))
    paths = {"one tile": folder / "small.jpg", "JPEG": folder / "large.jpg", "tiled TIFF": folder / "large.tif"}
    Image.fromarray(block[:TILE, :TILE]).save(paths["one tile"])
    Image.fromarray(pixels).save(paths["JPEG"], quality=85)
    tifffile.imwrite(paths["tiled TIFF"], pixels, tile=(512, 512), photometric="rgb", compression="zlib")
    return paths


def label(path: Path, output: Path, tile: int) -> tuple[float, float]:
    """Peak resident memory in MiB and wall time in seconds of a job."""
    command = [sys.executable, "-m", "labelbeam.pipeline.cli", "label", str(path), "-o", str(output)]
    started = time.monotonic()
    process = subprocess.Popen([*command, "--detector", "demo", "--tiles", str(tile)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{path.name}: labelling failed")
    return used.ru_maxrss / 1024, time.monotonic() - started


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tile", type=int, default=TILE, help="side in pixels (default: %(default)s)")
    args = parser.parse_args()
    size_hw = (5_000, 10_000) if args.quick else SIZE_HW
    with tempfile.TemporaryDirectory() as folder:
        # Elsewhere: a process that is started counts the memory of the one that starts it, as Linux tells its peak.
        paths, _ = in_own_process(write_images, Path(folder), size_hw)
        pixels_mib = size_hw[0] * size_hw[1] * 3 / 2**20
        print(f"Pixels: {pixels_mib:,.0f} MiB. Goal: {GOAL_MIB:,.0f} MiB.\n")
        print("| | file, MiB | peak MiB | seconds |\n|---|---|---|---|")
        peaks = {}
        for what, path in paths.items():
            mib, seconds = peaks[what] = label(path, Path(folder) / f"out-{path.name}", args.tile)
            print(f"| {what} | {path.stat().st_size / 2**20:,.1f} | {mib:,.0f} | {seconds:.0f} |", flush=True)
    (alone_mib, _) = peaks.pop("one tile")
    what = f"peak memory, {size_hw[1]:,} × {size_hw[0]:,} pixels as "
    publish(
        [Figure(what + kind, "an image of one tile", "MiB", mib, alone_mib, False) for kind, (mib, _) in peaks.items()],
        args.json,
    )


if __name__ == "__main__":
    main()
