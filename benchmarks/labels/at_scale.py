"""What benchmarks of large label sets share: where their data lies, and one of labelbeam's commands, timed."""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from labelbeam.pipeline.cli import main as labelbeam

from ..figures import in_own_process
from .generated import generate


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data`, for `generated_data`."""
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="where to generate, or what was generated there before; it stays"
    )


@contextlib.contextmanager
def generated_data(data: Path | None, num_images: int, num_annotated: int) -> Iterator[Path]:
    """A folder with what `generate` writes, generated unless it is there: `data`, or one that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = data or Path(temporary)
        if not (folder / "instances.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            in_own_process(generate, folder, num_images, num_annotated)
        yield folder


def run(*command: str) -> tuple[float, float]:
    """One of labelbeam's commands: seconds by the clock, and of processors."""
    started, cpu_started = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = labelbeam(command)
    assert code == 0, command
    return time.perf_counter() - started, time.process_time() - cpu_started
