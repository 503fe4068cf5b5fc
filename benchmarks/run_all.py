"""All benchmarks, one after the other, each in a process of its own: `make bench`, or python -m benchmarks.run_all
[--quick]

Writes into build/bench (or --output FOLDER): `figures.md`, one table with a line about the machine; `figures.json`,
the same for programs; `figures.png` and `.svg`, a plot of the ratios; and what each script printed. A script that
lacks something (SavedModels of the published detectors, a GPU) is left out, and named with the reason. One that fails
is named, the others' figures are kept, and the exit code is 1. --quick takes less than 20 minutes on 2 cores.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from .figures import Figure, figures_table, processor_name
from .plot import plot_ratios

PACKAGES = ("apache-beam", "tensorflow", "keras", "numpy", "pillow", "pyarrow", "pycurl", "obstore")
CENTERNET = "centernet_resnet50v2_512x512"
QUICK_LIMIT_S, LIMIT_S = 240, 3_600  # of one script
QUICK_TOTAL_S = 19.5 * 60


@dataclass(frozen=True)
class Script:
    """A benchmark.

    Attributes:
      name: of the module below `benchmarks`, as `jobs.estimate`.
      arguments: besides `--quick` and `--json`; `{saved_models}` and `{img2dataset}` stand for what `run_all`
        was given.
      needs: what it can't do without, a key of `MISSING`; None if nothing.
      wants: what it can do more with, a key of `MISSING`, and the arguments that say so; None if nothing.
      variant: tells several runs of one script apart.
    """

    name: str
    arguments: tuple[str, ...] = ()
    needs: str | None = None
    wants: tuple[str, tuple[str, ...]] | None = None
    variant: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name


MISSING = {
    "saved_models": "needs SavedModels of the published detectors: --saved-models FOLDER, or LABELBEAM_STANDINS",
    "accelerator": "needs a GPU: --accelerator where there is one",
    "img2dataset": "against img2dataset: --img2dataset-python PYTHON",
}

SCRIPTS = (
    Script("jobs.pipeline_overhead"),
    Script("jobs.pipeline_vs_bare_loop"),
    Script("jobs.pipeline_vs_bare_loop", ("--onnx",), variant="onnx"),
    Script(
        "jobs.pipeline_vs_bare_loop",
        ("{saved_models}/centernet", "--detector", CENTERNET),
        needs="saved_models",
        variant="centernet",
    ),
    Script("jobs.busy_device"),
    Script("jobs.preparing"),
    Script("jobs.beams_own_way"),
    Script("jobs.beams_own_way", ("--free",), variant="free"),
    Script("jobs.multi_process", ("{saved_models}/centernet",), needs="saved_models"),
    Script("reading.fetching", wants=("img2dataset", ("--img2dataset-python", "{img2dataset}"))),
    Script("reading.store_reads"),
    Script("reading.http_faults"),
    Script("labels.reading_at_scale"),
    Script("labels.evaluating_at_scale"),
    Script("labels.request_budgets"),
    Script("jobs.listing_at_scale"),
    Script("reading.decoding"),
    Script("labels.masks"),
    Script("labels.tables"),
    Script("jobs.many_small_images"),
    Script("jobs.memory_against_images"),
    Script("jobs.estimate"),
    Script("detectors.keras_costs"),
    Script("detectors.resizing"),
    Script("detectors.tiles"),
    Script("detectors.saved_model_on_cpus", ("{saved_models}/centernet",), needs="saved_models"),
    Script(
        "detectors.keras_vs_saved_model", ("{saved_models}/centernet", "--detector", CENTERNET), needs="saved_models"
    ),
    Script("detectors.keras_precision", ("{saved_models}/centernet", "--detector", CENTERNET), needs="saved_models"),
    Script("detectors.keras_on_accelerator", (CENTERNET,), needs="accelerator"),
)


@dataclass(frozen=True)
class Outcome:
    """Of one script: its figures, how it failed, what of it was left out and why."""

    script: Script
    figures: tuple[Figure, ...] = ()
    problem: str | None = None
    left_out: str | None = None
    seconds: float = 0.0


def run_script(script: Script, quick: bool, given: dict[str, str], folder: Path, limit_s: float) -> Outcome:
    """Runs one script in a process of its own, within a limit of time; its output goes to a file in `folder`."""
    if script.needs is not None and not given.get(script.needs):
        return Outcome(script, left_out=MISSING[script.needs])
    arguments, left_out = [*script.arguments], None
    if script.wants is not None:
        wanted, more = script.wants
        if given.get(wanted):
            arguments += more
        else:
            left_out = MISSING[wanted]
    figures_file, log_file = folder / f"{script.title}.json", folder / f"{script.title}.log"
    figures_file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        f"benchmarks.{script.name}",
        *(argument.format(**given) for argument in arguments),
        "--json",
        str(figures_file),
        *["--quick"] * quick,
    ]
    environment = dict(os.environ)
    if given.get("saved_models"):
        environment["LABELBEAM_STANDINS"] = given["saved_models"]
    started = time.monotonic()
    with log_file.open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            problem = f"exit code {code}, see {log_file}" if code else None
        except subprocess.TimeoutExpired:
            problem = f"took longer than {limit_s:.0f} s, see {log_file}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the servers and sides that it has started
                process.wait()
    figures = (
        tuple(Figure(**figure) for figure in json.loads(figures_file.read_text())) if figures_file.exists() else ()
    )
    return Outcome(
        script,
        figures,
        problem or (None if figures else f"gave no figures, see {log_file}"),
        left_out,
        time.monotonic() - started,
    )


def machine_line() -> str:
    """Processor, cores, system and versions, and the date."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{processor_name() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {platform.system()}, Python "
        f"{platform.python_version()}; {versions}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def report(outcomes: Sequence[Outcome], machine: str, quick: bool) -> str:
    """The page: the machine, the table, what is missing."""
    lines = [
        "# Figures",
        "",
        f"{machine}{'; shortest runs (--quick)' if quick else ''}",
        "",
        figures_table([(f"`{outcome.script.title}`", figure) for outcome in outcomes for figure in outcome.figures]),
    ]
    for title, attribute in (("Left out", "left_out"), ("Failed", "problem")):
        named = [f"- `{outcome.script.title}`: {why}" for outcome in outcomes if (why := getattr(outcome, attribute))]
        lines += ["", f"{title}:", "", *named] if named else []
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the shortest runs that still mean something")
    parser.add_argument(
        "--output", type=Path, default=Path("build/bench"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted({script.name for script in SCRIPTS}),
        metavar="NAME",
        help="only these scripts",
    )
    parser.add_argument(
        "--saved-models",
        default=os.environ.get("LABELBEAM_STANDINS", ""),
        metavar="FOLDER",
        help="SavedModels of the published detectors, in centernet/ and mask_rcnn/ (default: $LABELBEAM_STANDINS)",
    )
    parser.add_argument("--img2dataset-python", default="", metavar="PYTHON", help="of an environment with img2dataset")
    parser.add_argument("--accelerator", action="store_true", help="there is a GPU, and Keras has a backend for it")
    args = parser.parse_args()
    given = {
        "saved_models": args.saved_models and os.path.abspath(args.saved_models),
        "img2dataset": args.img2dataset_python,
        "accelerator": "yes" if args.accelerator else "",
    }
    args.output.mkdir(parents=True, exist_ok=True)
    outcomes, machine, started = [], machine_line(), time.monotonic()
    for script in SCRIPTS:
        if args.only and script.name not in args.only:
            continue
        left_s = QUICK_TOTAL_S - (time.monotonic() - started)
        limit_s = max(1.0, min(QUICK_LIMIT_S, left_s)) if args.quick else LIMIT_S
        outcome = run_script(script, args.quick, given, args.output.resolve(), limit_s)
        outcomes.append(outcome)
        print(
            f"{script.title}: {len(outcome.figures)} figures in {outcome.seconds:.0f} s"
            + "".join(f"; {what}" for what in (outcome.problem, outcome.left_out) if what),
            flush=True,
        )
    figures = [figure for outcome in outcomes for figure in outcome.figures]
    content = {
        "machine": machine,
        "quick": args.quick,
        "scripts": [
            {
                "name": outcome.script.title,
                "problem": outcome.problem,
                "left_out": outcome.left_out,
                "seconds": round(outcome.seconds, 1),
                "figures": [vars(figure) | {"times_as_good": figure.times_as_good} for figure in outcome.figures],
            }
            for outcome in outcomes
        ],
    }
    (args.output / "figures.json").write_text(json.dumps(content, indent=1) + "\n")
    (args.output / "figures.md").write_text(report(outcomes, machine, args.quick))
    plot_ratios(figures, [args.output / "figures.png", args.output / "figures.svg"])
    print(
        f"\n{report(outcomes, machine, args.quick)}\n"
        f"Written to {args.output}/figures.md, figures.json, figures.png, figures.svg"
    )
    return 1 if any(outcome.problem for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
