"""The golden tests once more on Keras' JAX backend, in a process of their own: a process has one backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PARTS = ("mask_rcnn", "centernet", "test_layers.py", "test_golden.py")


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.heavy
def test_on_jax():
    options = ("-q", "-m", "heavy or not heavy", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *(str(FOLDER / part) for part in PARTS)]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
