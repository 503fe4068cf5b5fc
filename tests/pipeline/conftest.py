import json
import shutil

import numpy as np
import pyarrow.dataset as ds
import pytest
from labelbeam.pipeline.cli import main
from PIL import Image

from tests.fakes.saved_models import save_detector

CONFIG = """
name: fake
description: finds five boxes in every image
architecture: none
weights: {weights}
engines: [saved_model]
input_size_hw: [64, 64]
resize: stretch
masks: true
labels: {{1: ball, 2: box}}
licence: none
source: here
intended_use: tests
limits: none
"""


IMAGES, BAD = 300, 10  # of `save_images_some_bad`


@pytest.fixture(scope="session")
def fake_detector(tmp_path_factory):
    """A configuration file of a fake SavedModel with masks; its class 3 has no name."""
    return configured(tmp_path_factory.mktemp("detector"))


def configured(folder, **options):
    path = folder / "fake.yaml"
    path.write_text(CONFIG.format(weights=save_detector(folder / "model", **options)))
    return str(path)


@pytest.fixture(scope="session")
def slow_detector(tmp_path_factory):
    """The same, which takes its time: some 10 ms an image."""
    return configured(tmp_path_factory.mktemp("detector"), slow_steps=20)


@pytest.fixture
def counting_detector(tmp_path):
    """The same, and a function that tells how often the model was called, in whatever process."""
    log = tmp_path / "calls.log"
    log.touch()
    return configured(tmp_path, call_log=str(log), slow_steps=5), lambda: len(log.read_text().splitlines())


def save_image(path, seed, size_hw=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)).save(path, quality=90)
    return path


def save_images_some_bad(folder):
    """290 small images, and 10 that aren't or are cut short; returns the folder."""
    for number in range(IMAGES):
        path = save_image(folder / f"{number:04}.jpg", number, (24 + number % 7, 20 + number % 11))
        if number % (IMAGES // BAD) == 0:
            path.write_bytes(path.read_bytes()[:60] if number % 60 else b"no image")
    return folder


@pytest.fixture
def image_folder(tmp_path):
    """A folder of six JPEGs of different sizes."""
    folder = tmp_path / "images"
    for i in range(6):
        save_image(folder / f"{i}.jpg", i, (30 + 7 * i, 90 - 11 * i))
    return folder


class Labels:
    """The tables of an output folder, as a data engineer would read them."""

    def __init__(self, folder):
        self.folder = folder

    def table(self, name):
        return ds.dataset(self.folder / name, format="parquet").to_table()

    def frame(self, name):
        return self.table(name).to_pandas()

    def parts(self, name="images"):
        return sorted((self.folder / name).glob("part-*.parquet"))

    def records(self):
        return [json.loads(p.read_text()) for p in sorted((self.folder / "_jobs").glob("*.json"))]


@pytest.fixture
def label(tmp_path, fake_detector, capsys):
    """Runs `labelbeam label` with the fake detector; returns (exit code, what it printed, its tables)."""

    def run(*inputs, options=(), output="out", detector=fake_detector):
        folder = tmp_path / output
        code = main(["label", "--input", *map(str, inputs), "--output", str(folder), "--detector", detector, *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err, Labels(folder)

    return run


@pytest.fixture
def chromium():
    """A real browser."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )  # as root, there's no other way
        yield browser
        browser.close()
