"""What do two processes cost, or gain, against one process with the same processors?

    python -m benchmarks.jobs.multi_process SAVED_MODEL_FOLDER [--detector centernet_resnet50v2_512x512] [--few 32]
    [--many 160]

Labels photos with `--runner-config multi_process --direct_num_workers 2` and with the in-process runner, by the
command line, in turns. A rate is the slope between the two sizes of job, so that starting, loading and the model's
first call, which two processes do twice, are out of it; the whole times of the larger job stand beside it. Both sides
may use all processors. Images are dealt to workers sixteen at a time (`transforms/group_by_chunk.py`), so the sizes
are multiples of 32: else one process has more to do.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..figures import Figure, arguments, publish
from ..photos import write_crops

SIDES = {"two processes": ("--runner-config", "multi_process", "--direct_num_workers", "2"), "one process": ()}


def label(images: Path, output: Path, args, options) -> float:
    """Seconds that the whole command took."""
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "labelbeam.pipeline.cli",
            "label",
            "--input",
            str(images),
            "--output",
            str(output),
            "--detector",
            args.detector,
            "--weights",
            args.saved_model,
            *options,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    loads = int(re.search(r"loaded (\d+)×", done.stdout)[1])
    assert loads == (2 if options else 1), done.stdout
    [record] = [json.loads(path.read_text()) for path in (output / "_jobs").glob("*.json")]
    assert record["written"] == len(list(images.iterdir())) and not record["failures"]
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", help="folder of the SavedModel")
    parser.add_argument("--detector", default="centernet_resnet50v2_512x512")
    parser.add_argument("--few", type=int, default=32)
    parser.add_argument("--many", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    seconds = {side: {args.few: [], args.many: []} for side in SIDES}
    with tempfile.TemporaryDirectory() as work:
        images = {count: write_crops(Path(work, f"photos-{count}"), count) for count in (args.few, args.many)}
        for turn in range(rounds):
            for count, folder in images.items():
                for side, options in SIDES.items():
                    seconds[side][count].append(label(folder, Path(work, f"{side}-{count}-{turn}"), args, options))
    medians = {
        side: {count: statistics.median(times) for count, times in sizes.items()} for side, sizes in seconds.items()
    }
    rates = {side: (args.many - args.few) / (sizes[args.many] - sizes[args.few]) for side, sizes in medians.items()}
    what = f"{args.detector}, 2 processes"
    publish(
        [
            Figure(
                f"{what}, without the start",
                "one process",
                "images/s",
                rates["two processes"],
                rates["one process"],
                higher_is_better=True,
                goal=0.95,
            ),
            Figure(
                f"{what}, the whole job of {args.many}",
                "one process",
                "s",
                medians["two processes"][args.many],
                medians["one process"][args.many],
                higher_is_better=False,
            ),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
