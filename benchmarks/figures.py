"""What each benchmark reports: ratios against a named peer, both sides of one run on one machine, memory beside time.

A script measures each side with `in_own_process`, makes one `Figure` a comparison, and ends with `publish`. `--quick`
asks a script for its shortest run that still means something (a minute or two); `--json FILE` is for `python -m
benchmarks.run_all`, which puts all scripts' figures in one table and one plot. Not for tests: they assert no times.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One comparison.

    Attributes:
      what: what was measured, with its size, such as "masks, 100 detections at 12 MP".
      peer: the other side, such as "crop_and_resize + pycocotools".
      unit: of `ours` and `theirs`, such as "images/s" or "ms an image".
      higher_is_better: True for rates, False for durations.
      ours_mib, theirs_mib: peak memory of a process that did nothing else, in MiB; None where it says nothing.
      goal: the least `times_as_good` that is aimed at; None without one.
    """

    what: str
    peer: str
    unit: str
    ours: float
    theirs: float
    higher_is_better: bool
    ours_mib: float | None = None
    theirs_mib: float | None = None
    goal: float | None = None

    @property
    def times_as_good(self) -> float:
        """Above 1 where labelbeam is better than the peer."""
        return self.ours / self.theirs if self.higher_is_better else self.theirs / self.ours


def arguments(description: str) -> argparse.ArgumentParser:
    """A script's parser: `--quick` and `--json`; the script adds its own."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the shortest run that still means something")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    return parser


def in_own_process(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Calls a module's function in a fresh process.

    Returns:
      What it returned, and the process's peak resident memory in MiB (Linux), imports included.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_with_peak, function, args).result()


def _with_peak(function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, float]:
    return function(*args), peak_mib()


def peak_mib() -> float:
    """Of this process since it began. Not `ru_maxrss`: a new process inherits that of the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: benchmarks run on Linux")


def processor_name() -> str | None:
    """As /proc/cpuinfo has it; None if it has none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def publish(figures: Sequence[Figure], json_file: Path | None) -> None:
    """Prints the figures as a Markdown table; writes them to `json_file` if there is one."""
    print(figures_table([(None, figure) for figure in figures]))
    if json_file is not None:
        json_file.write_text(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=1) + "\n")


def figures_table(named: Sequence[tuple[str | None, Figure]]) -> str:
    """A Markdown table of figures, each with the name of what measured it; no column for the names where all are
    None.
    """
    titles = ["what", "peer", "labelbeam", "peer's", "times as good", "goal", "peak memory, MiB"]
    with_names = any(name is not None for name, _ in named)
    rows = [
        [*["measured by"] * with_names, *titles],
        ["---"] * (len(titles) + with_names),
        *([*[name or ""] * with_names, *_cells(figure)] for name, figure in named),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(figure: Figure) -> list[str]:
    memory = [f"{mib:,.0f}" for mib in (figure.ours_mib, figure.theirs_mib) if mib is not None]
    return [
        figure.what,
        figure.peer,
        f"{_number(figure.ours)} {figure.unit}",
        f"{_number(figure.theirs)} {figure.unit}",
        f"{figure.times_as_good:.2f}×",
        "" if figure.goal is None else f"≥ {figure.goal:g}×",
        " against ".join(memory),
    ]


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
