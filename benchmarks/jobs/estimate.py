"""Is `labelbeam estimate` right?  python -m benchmarks.jobs.estimate [--saved-models FOLDER]

Estimates a job, then runs it, through the command line, in processes of their own, over crops of photos: 2,000 with
the demo detector and, where there are SavedModels of the published detectors, 100 with CenterNet. Prints what was
forecast and what it really took, and forecast / real; the figure is what part of the time is forecast rightly, in the
round that is furthest off. Peer: the job itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..figures import Figure, arguments, publish
from ..photos import write_crops

CENTERNET = "centernet_resnet50v2_512x512"


class Round(NamedTuple):
    """Seconds: forecast with its uncertainty, and real."""

    forecast_s: float
    uncertainty_s: float
    real_s: float

    @property
    def ratio(self) -> float:
        return self.forecast_s / self.real_s


def run_round(images: Path, work: Path, options: list[str], seed: int) -> Round:
    """Estimates and labels; each in a fresh process."""
    same = ["--input", str(images), *options]
    file, output = work / f"estimate-{seed}.json", work / f"labels-{seed}"
    _run("estimate", *same, "--seed", str(seed), "--workers", "1", "--json", str(file))
    _run("label", *same, "--output", str(output))
    [forecast] = json.loads(file.read_text())["forecasts"]
    [record] = [json.loads(path.read_text()) for path in (output / "_jobs").glob("*.json")]
    began, ended = (datetime.fromisoformat(record[name]) for name in ("started_at", "finished_at"))
    return Round(forecast["seconds"], forecast["uncertainty_s"], (ended - began).total_seconds())


def _run(*command: str) -> None:
    subprocess.run([sys.executable, "-m", "labelbeam.pipeline.cli", *command], check=True, stdout=subprocess.DEVNULL)


def measure(what: str, count: int, options: list[str], rounds: int) -> Figure:
    """Prints the rounds of one job."""
    with tempfile.TemporaryDirectory() as name:
        images = write_crops(Path(name, "images"), count, quality=85)
        measured = [run_round(images, Path(name), options, seed) for seed in range(rounds)]
    for one in measured:
        print(
            f"{what}: forecast {one.forecast_s:.1f} s ± {one.uncertainty_s:.1f}, real {one.real_s:.1f} s, "
            f"forecast / real {one.ratio:.2f}",
            flush=True,
        )
    worst = min(min(one.ratio, 1 / one.ratio) for one in measured)
    return Figure(
        f"forecast of a job, {what}, worst of {rounds}", "the job itself", "of the time", worst, 1.0, True, goal=0.87
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--images", type=int, default=2_000, help="for the demo detector (default: %(default)s)")
    parser.add_argument(
        "--saved-models",
        type=Path,
        default=os.environ.get("LABELBEAM_STANDINS"),
        metavar="FOLDER",
        help="with the SavedModel of CenterNet in centernet/ (default: $LABELBEAM_STANDINS)",
    )
    parser.add_argument("--only", choices=["demo", "centernet"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    rounds = args.rounds or (1 if args.quick else 3)
    images = 600 if args.quick else args.images
    figures = []
    if args.only != "centernet":
        figures.append(measure(f"demo, {images:,} images", images, ["--detector", "demo"], rounds))
    if args.saved_models and args.only != "demo":
        figures.append(
            measure(
                "CenterNet, 100 images",
                100,
                ["--detector", CENTERNET, "--weights", str(args.saved_models / "centernet")],
                rounds,
            )
        )
    publish(figures, args.json)


if __name__ == "__main__":
    main()
