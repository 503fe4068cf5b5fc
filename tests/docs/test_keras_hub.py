"""The KerasHub detector of docs/own-detector.md, word by word: it keeps to the protocol and labels images."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.docs.test_recipes import block
from tests.fakes.images import save_image

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="pip install keras-hub, which is missing"),
]


def labelbeam(*arguments) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "labelbeam", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_keeps_to_the_protocol_and_labels_images(tmp_path):
    text = block("own-detector.md", "import keras_hub")
    assert len(text.strip().splitlines()) < 40
    (tmp_path / "mine.py").write_text(text)
    detector = ["mine:RetinaNet", "--detector-package", tmp_path / "mine.py"]
    assert "mine:RetinaNet: keeps to the protocol" in labelbeam("detectors", "--check", *detector)
    for i in range(3):
        save_image(tmp_path / "images" / f"{i}.jpg", i, (60, 90))
    job = ["label", tmp_path / "images", "-o", tmp_path / "out", "--min-score", 0, "--detector", *detector]
    assert "Labelled 3 of 3 images" in labelbeam(*job)
