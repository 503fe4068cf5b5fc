"""The networks on Keras' PyTorch backend as on a GPU, in a process of their own: a process has one backend."""

import importlib.util
import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.heavy
def test_nothing_is_left_on_the_host_where_there_is_a_gpu():
    command = [sys.executable, "-m", "tests.detectors.keras.support.imagined_gpu"]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cuda"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("outputs on the GPU")
