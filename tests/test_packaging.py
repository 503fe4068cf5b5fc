"""What `setup.py` builds works outside the repository: from the wheel and from the sdist, in an environment of its own."""
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, timeout_s=1200):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
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


@pytest.mark.heavy
def test_the_demo_works_from_wheel_and_sdist_in_an_empty_environment(distributions, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q", "--constraint", ROOT / "requirements.lock")
    for number, distribution in enumerate(distributions):
        again = ("--force-reinstall", "--no-deps") if number else ()  # the dependencies are there by then
        run(*pip, *again, distribution, cwd=tmp_path)
        where = run(python, "-c", "import labelbeam.pipeline.cli as c; print(c.__file__)", cwd=tmp_path)
        assert str(tmp_path) in where
        summary = run(tmp_path / "env" / "bin" / "labelbeam", "demo", "--output", f"out{number}", cwd=tmp_path)
        assert "failed      0" in summary and (tmp_path / f"out{number}" / "contact_sheet.png").is_file()
