"""The golden tests once more on Keras' JAX backend, in a process of their own: a process has one backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PARTS = ("mask_rcnn", "centernet", "test_layers.py")


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize(
    "tests, marked",
    [
        (("test_golden.py",), "not heavy"),
        pytest.param((*PARTS, "test_golden.py"), "heavy or not heavy", marks=pytest.mark.heavy),
    ],
)
def test_on_jax(tests, marked):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        marked,
        "-p",
        "no:cacheprovider",
        *(str(FOLDER / test) for test in tests),
    ]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
