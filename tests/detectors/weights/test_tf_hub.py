"""tensorflow_hub is imported with any setuptools: with one that has `pkg_resources`, and with those that lack it."""

import os
import subprocess
import sys

import pytest

WITHOUT_PKG_RESOURCES = """
import sys

class Lacks:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pkg_resources":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Lacks())
"""
IMPORT = """
from labelbeam.detectors.weights.tf_hub import import_tensorflow_hub
assert callable(import_tensorflow_hub().resolve)
"""


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.heavy
def test_without_pkg_resources_and_nobody_else_sees_the_substitute():
    stderr = run(f"{WITHOUT_PKG_RESOURCES}{IMPORT}\nassert 'pkg_resources' not in sys.modules")
    assert "pkg_resources" not in stderr  # no word of deprecation either


@pytest.mark.heavy
def test_the_real_pkg_resources_stays():
    pytest.importorskip("pkg_resources")
    run(f"import pkg_resources, sys\n{IMPORT}\nassert sys.modules['pkg_resources'] is pkg_resources")


@pytest.mark.heavy
def test_with_the_newest_setuptools(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(tmp_path), "--no-deps", "setuptools>=82"]
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip("setuptools can't be downloaded")
    assert not (tmp_path / "pkg_resources").exists()
    newest = f"import setuptools\nassert setuptools.__file__.startswith({str(tmp_path)!r})\n"
    run(f"{newest}{WITHOUT_PKG_RESOURCES}{IMPORT}", PYTHONPATH=str(tmp_path))
