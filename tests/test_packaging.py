"""What `setup.py` builds works outside the repository: from the wheel and from the sdist, in an environment of its
own; and on workers, which have Beam alone and install the sdist, as they do with `--setup_file`.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.fakes.processes import worker_pool
from tests.same_tables import read_tables

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, timeout_s=1200, **variables):
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(wheel, sdist), built from a copy of the checkout's files, so that nothing lying about here gets in."""
    copy = tmp_path_factory.mktemp("source") / "labelbeam"
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, files):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    run(sys.executable, "setup.py", "-q", "sdist", "-d", "dist", "bdist_wheel", "-d", "dist", cwd=copy)
    [wheel], [sdist] = (copy / "dist").glob("*.whl"), (copy / "dist").glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def worker_environment(distributions, tmp_path_factory):
    """Python of an environment that had nothing but Beam, as workers have it, before the sdist was installed."""
    folder = tmp_path_factory.mktemp("worker")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q", "--constraint", ROOT / "requirements.lock")
    run(*pip, "apache-beam", cwd=folder)
    run(*pip, distributions[1], cwd=folder)
    return python


@pytest.mark.heavy
def test_the_demo_works_from_sdist_and_wheel_in_an_empty_environment(distributions, worker_environment, tmp_path):
    wheel, _ = distributions
    for number, installs in enumerate(((), (wheel,))):
        if installs:
            run(
                worker_environment,
                "-m",
                "pip",
                "install",
                "-q",
                "--force-reinstall",
                "--no-deps",
                *installs,
                cwd=tmp_path,
            )
        where = run(
            worker_environment,
            "-c",
            "import labelbeam.pipeline.cli as c; print(c.__file__)",
            cwd=tmp_path,
            PYTHONPATH="",
        )
        assert str(worker_environment.parents[1]) in where
        summary = run(
            worker_environment.parent / "labelbeam", "demo", "--output", f"out{number}", cwd=tmp_path, PYTHONPATH=""
        )
        assert "failed      0" in summary and (tmp_path / f"out{number}" / "contact_sheet.png").is_file()


@pytest.mark.heavy
def test_a_job_on_workers_that_installed_the_sdist(worker_environment, tmp_path):
    if not (Path(sys.executable).parent / "prism").is_file():
        pytest.skip("there's no Prism beside python: make prism")
    job = (
        sys.executable,
        "-m",
        "labelbeam.pipeline.cli",
        "label",
        "--input",
        ROOT / "pipeline" / "demo_images",
        "--detector",
        "demo",
    )
    run(*job, "--output", "here", cwd=tmp_path)
    with worker_pool(tmp_path / "pool.log", python=str(worker_environment), PYTHONPATH="") as pool:
        summary = run(*job, "--output", tmp_path / "there", "--runner-config", "prism", *pool.options, cwd=tmp_path)
    assert "loaded 1×" in summary and "Starting worker" in (tmp_path / "pool.log").read_text()
    tables = read_tables(tmp_path / "there")
    assert len(tables["images"]) == 12 and tables == read_tables(tmp_path / "here")
