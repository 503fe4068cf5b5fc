"""What does one GPU give?  One command, under 8 minutes, that can be run again and goes on where it was.

    python -m benchmarks.gpu --prepare build/gpu     # where there's a network: wheels for Python 3.12, under 64 MiB
    python benchmarks/gpu.py --wheels build/gpu      # on the machine with the GPU, in the repository's folder

The second needs Python 3.12 with JAX or PyTorch, NumPy, Pillow and pyarrow, and nothing else. Each step is a process of
its own (`gpu_steps.py`): both networks in each precision and batch, their equality with the golden files, and a whole
job over JPEGs against the bare loop. Each step's result is a line of `gpu.jsonl` and a row of the table at once. What
is in `--results` stays there for the next start; where `$OUT` names a folder, `gpu.jsonl` is put there as well.
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
MAX_MIB = 64
TITLES = ("step", "images/s", "ms a batch", "compile s", "peak GiB", "of peak", "note")


def steps(args: argparse.Namespace) -> list[list[str]]:
    """The steps, those that matter most first; each is the arguments of `gpu_steps.py`."""
    found = []
    for backend in args.backends:
        found += [[backend, "golden", network] for network in (CENTERNET, MASK_RCNN)]
        for network, batches in ((CENTERNET, args.batches), (MASK_RCNN, [b for b in args.batches if b <= 16])):
            first, *others = sorted(batches)
            largest = others[-1:] or [first]
            chosen = [("bfloat16", largest), ("float32", [first]), ("bfloat16", [first, *others[:-1]])]
            chosen += [("tf32", largest)]
            found += [[backend, "network", network, precision, str(b)] for precision, some in chosen for b in some]
    backend, largest = args.backends[0], str(max(args.batches))
    job = [backend, "job", CENTERNET, "bfloat16", largest, str(args.images)]
    rest = [step for step in found if step[0] == backend]
    return [*rest, job, *(step for step in found if step[0] != backend)]


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


def run(step: list[str], folder: Path, site: Path, seconds: float) -> dict:
    """A step's result, or why there's none."""
    precision = step[3] if len(step) > 3 else "float32"
    jax_precision = {"float32": "highest", "tf32": "tensorfloat32"}.get(precision, "default")
    environment = {
        **os.environ,
        "KERAS_BACKEND": step[0],
        "GPU_FOLDER": str(folder.absolute()),
        "JAX_DEFAULT_MATMUL_PRECISION": jax_precision,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(site.absolute())]),
    }
    command = [sys.executable, "-m", "benchmarks.gpu_steps", *step]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return {"note": "no time left"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"note": f"failed: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}"}
    return json.loads(lines[-1])


def row(step: list[str], result: dict) -> str:
    """A line of the table."""
    names = ("images_s", "batch_ms", "compile_s", "peak_gib", "share_of_peak")
    cells = [f"{result[name]:.4g}" if isinstance(result.get(name), float) else "" for name in names]
    return f"| {' '.join(step)} | {' | '.join(cells)} | {result.get('note', '')} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="make the folder of wheels, and end")
    parser.add_argument("--wheels", type=Path, default=Path("build/gpu"), help="made with --prepare (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build/gpu-results"), help="a folder (%(default)s)")
    parser.add_argument("--minutes", type=float, default=7.5, help="then no step begins or goes on (%(default)s)")
    parser.add_argument("--backends", nargs="+", default=["jax", "torch"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--images", type=int, default=2000, help="of the job (%(default)s)")
    args = parser.parse_args()
    if args.prepare:
        prepare(args.prepare)
        return
    end = time.monotonic() + 60 * args.minutes
    args.results.mkdir(parents=True, exist_ok=True)
    site = args.results / "site"
    unpack(args.wheels, site)
    results = args.results / "gpu.jsonl"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {
        tuple(entry["step"]): entry for entry in known if not entry.get("note", "").startswith(("failed", "no time"))
    }
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for step in steps(args):
        result = done.get(tuple(step))
        if result is None:
            if time.monotonic() > end:
                print(f"| {' '.join(step)} | no time left: run it again |")
                continue
            result = {"step": step, **run(step, args.wheels, site, end - time.monotonic())}
            with results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            if "OUT" in os.environ:
                shutil.copy(results, os.environ["OUT"])
        print(row(step, result), flush=True)
    print(f"\n{results}")


if __name__ == "__main__":
    main()
