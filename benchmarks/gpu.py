"""What does one GPU give?  One command, under 8 minutes, that can be run again and goes on where it was.

    python -m benchmarks.gpu --prepare build/gpu     # where there's a network: wheels for Python 3.12
    python benchmarks/gpu.py --wheels build/gpu      # on the machine with the GPU, in the repository's folder

The second needs Python 3.12 with JAX or PyTorch, NumPy, Pillow and pyarrow, and nothing else. Each step is a process of
its own (`gpu_steps.py`): both networks in each precision and batch, their equality with the golden files, and a whole
job over JPEGs against the bare loop. Each step's result is a line of `gpu.jsonl` and a row of the table at once; what
it wrote to standard error goes to `gpu.log`. What is in `--results` stays there for the next start, and where `$OUT`
names a folder, both files are put there as well. What failed or took longer than `--step-minutes` is tried again last.
"""

import argparse
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CENTERNET, MASK_RCNN = "centernet_resnet50v2_512x512", "mask_rcnn_inception_resnet_v2_1024x1024"
PROVIDED = {"jax", "jaxlib", "ml-dtypes", "numpy", "pillow", "pyarrow", "torch"}  # by the machine
LEFT_OUT = {"setuptools", "tensorflow", "tensorflow-hub"}  # a job of engine keras never imports them
PACKED = "site.tar.xz"
MAX_MIB = 54  # of wheels: they travel with the repository, 64 in all
COLUMNS = {
    "images_s": "images/s",
    "device_images_s": "inputs on the device",
    "batch_ms": "ms a batch",
    "compile_s": "compile s",
    "peak_gib": "peak GiB",
    "share_of_peak": "of peak",
    "device": "device",
    "note": "note",
}
FAILED, TIMED_OUT = "failed: ", {"note": "timed out"}


def steps(args: argparse.Namespace) -> list[list[str]]:
    """The steps, those that matter most first; each is the arguments of `gpu_steps.py`."""
    batches = {CENTERNET: sorted(args.batches), MASK_RCNN: sorted(b for b in args.batches if b <= 16)}

    def network(backend: str, name: str, precision: str, some: list[int]) -> list[list[str]]:
        return [[backend, "network", name, precision, str(batch)] for batch in some]

    first, rest = [], []
    for backend in args.backends:
        first += network(backend, CENTERNET, "float32", batches[CENTERNET][:1])
        first += network(backend, CENTERNET, "bfloat16", batches[CENTERNET][-1:])
        first += [[backend, "job", CENTERNET, "bfloat16", str(batches[CENTERNET][-1]), str(args.images)]]
    for backend in reversed(args.backends):  # PyTorch, which compiles nothing, before minutes of JAX's compiling
        first += network(backend, MASK_RCNN, "float32", batches[MASK_RCNN][:1])
        first += network(backend, MASK_RCNN, "bfloat16", batches[MASK_RCNN][-1:])
    for name in batches:
        for backend in args.backends:
            rest += network(backend, name, "tf32", batches[name][-1:])
            rest += network(backend, name, "bfloat16", batches[name][:-1])
    return first + rest


def prepare(folder: Path) -> None:
    """Downloads what the machine lacks as wheels, and makes one of labelbeam."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    names = sorted(_requirements("labelbeam", set()) - {"labelbeam"})
    target = ["--python-version", "3.12", "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64"]
    target += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"]
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    subprocess.run([*pip, "download", "-q", "--no-deps", *target, "-d", str(folder), *versions], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    pack(folder)
    from skimage import data

    Image.fromarray(data.coffee()).save(folder / "coffee.png")  # what the golden file is about
    mib = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"{folder}: {mib:.1f} MiB (at most {MAX_MIB})")


def pack(folder: Path) -> None:
    """Makes one archive of all wheels in a folder: a quarter smaller, without the packages' own tests."""
    with tarfile.open(folder / PACKED, "w:xz", preset=2) as packed:
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if not name.endswith(("/", "_test.py")):
                        content = archive.read(name)
                        member = tarfile.TarInfo(name)
                        member.size = len(content)
                        packed.addfile(member, io.BytesIO(content))
            wheel.unlink()


def _requirements(name: str, seen: set[str]) -> set[str]:
    """A distribution and what it requires without extras, recursively, as they are installed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        needed = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": "", "python_version": "3.12"}):
            continue
        if needed not in PROVIDED | LEFT_OUT | seen:
            seen.add(needed)
            _requirements(needed, seen)
    return seen | {canonicalize_name(name)}


def unpack(wheels: Path, site: Path) -> None:
    """Makes what `pack` made importable from a folder."""
    if not site.exists():
        part = site.with_suffix(".part")  # a start that was cut off leaves no half
        with tarfile.open(wheels / PACKED) as packed:
            packed.extractall(part, filter="data")
        part.rename(site)


def run(step: list[str], folder: Path, site: Path, log: Path, seconds: float) -> dict:
    """A step's result, or why there's none; what it writes to standard error is added to a log."""
    jax_precision = {"float32": "highest", "tf32": "tensorfloat32"}.get(step[3], "default")
    environment = {
        **os.environ,
        "KERAS_BACKEND": step[0],
        "GPU_FOLDER": str(folder.absolute()),
        "JAX_DEFAULT_MATMUL_PRECISION": jax_precision,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(site.absolute())]),
    }
    command = [sys.executable, "-m", "benchmarks.gpu_steps", *step]
    with log.open("a") as errors:
        print(f"## {' '.join(step)}", file=errors, flush=True)
        start = errors.tell()
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return TIMED_OUT
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
        return {"note": FAILED + (said or ["no word"])[-1][:200]}
    return json.loads(lines[-1])


def row(step: list[str], result: dict) -> str:
    """A line of the table."""
    values = [result.get(name, "") for name in COLUMNS]
    cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    return f"| {' | '.join([' '.join(step), *cells])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="make the folder of wheels, and end")
    parser.add_argument("--wheels", type=Path, default=Path("build/gpu"), help="made with --prepare (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build/gpu-results"), help="a folder (%(default)s)")
    parser.add_argument("--minutes", type=float, default=7.5, help="then no step begins or goes on (%(default)s)")
    parser.add_argument("--backends", nargs="+", default=["jax", "torch"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--step-minutes", type=float, default=3.5, help="of a step at most (%(default)s)")
    parser.add_argument("--images", type=int, default=10_000, help="of the job: some seconds' worth (%(default)s)")
    args = parser.parse_args()
    if args.prepare:
        prepare(args.prepare)
        return
    end = time.monotonic() + 60 * args.minutes
    args.results.mkdir(parents=True, exist_ok=True)
    site = args.results / "site"
    unpack(args.wheels, site)
    results, log = args.results / "gpu.jsonl", args.results / "gpu.log"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    tried = {tuple(entry["step"]): entry for entry in known}
    again = (FAILED, TIMED_OUT["note"])
    done = {step: entry for step, entry in tried.items() if not entry.get("note", "").startswith(again)}
    print(f"| step | {' | '.join(COLUMNS.values())} |\n|{'---|' * (1 + len(COLUMNS))}")
    for step in sorted(steps(args), key=lambda step: tuple(step) in tried.keys() - done.keys()):
        result = done.get(tuple(step))
        if result is None:
            left_s, limit_s = end - time.monotonic(), 60 * args.step_minutes
            found = run(step, args.wheels, site, log, min(left_s, limit_s)) if left_s > 0 else TIMED_OUT
            if found is TIMED_OUT and left_s < limit_s:  # which says nothing of the step
                print(row(step, {"note": "no time left: run it again"}), flush=True)
                continue
            result = {"step": step, **found}
            with results.open("a") as file:
                file.write(json.dumps(result) + "\n")
        print(row(step, result), flush=True)
        for file in (results, log):
            if "OUT" in os.environ and file.exists():
                shutil.copy(file, os.environ["OUT"])
    print(f"\n{results}")


if __name__ == "__main__":
    main()
