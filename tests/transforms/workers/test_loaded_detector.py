"""A detector in the process that fetches its images: what it does there ahead, and when it is loaded."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.detectors.protocol import Detections
from labelbeam.transforms.detect import Detect, DetectorHandler
from labelbeam.transforms.elements import FailedImage, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import MIB, ExecutionOptions
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.fetch_images import FetchImages, ImageFetcher
from labelbeam.transforms.workers.loaded_detector import LoadedDetector
from PIL import Image

from tests.fakes.detectors import FakeDetector, FakeLoader

POISON, SIZE_HW = 66, (8, 10)


@dataclass(frozen=True)
class Corner:
    """The first pixel, which is all that a `FakeDetector` looks at."""

    pixels: np.ndarray
    thread: str
    nbytes: int = 5 * MIB


class PreparingFake(FakeDetector):
    """Takes nothing but `Corner`s, but of poisoned images, of which it makes none."""

    def prepare(self, image: np.ndarray) -> Corner:
        if image[0, 0, 0] == POISON:
            raise ValueError("can't be prepared")
        return Corner(image[:1, :1].copy(), threading.current_thread().name)

    def detect(self, images: Sequence) -> list[Detections]:
        assert all(one.thread.startswith("labelbeam-fetch") for one in images if isinstance(one, Corner))
        corners = [one.pixels for one in images if isinstance(one, Corner)]
        return super().detect([*corners, *(one for one in images if isinstance(one, np.ndarray))])


@dataclass(frozen=True)
class PreparingLoader(FakeLoader):
    """Loads a `PreparingFake`."""

    def load(self) -> PreparingFake:
        super().load()
        return PreparingFake(self.poison, None)


def run(uris, loader, check=lambda found: None, share=False):
    handler = DetectorHandler(loader, 1, share_across_processes=share)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = (
            pipeline
            | beam.Create([ImageReference(str(uri)) for uri in uris])
            | FetchImages(detector=handler.key)
            | Detect(handler)
            | beam.FlatMap(lambda batch: batch)
        )
        assert_that(found, check)


@pytest.fixture
def uris(tmp_path):
    reds = (10, POISON, 200)
    for red in reds:
        Image.fromarray(np.full((*SIZE_HW, 3), (red, 0, 0), np.uint8)).save(tmp_path / f"{red}.png")
    return [tmp_path / f"{red}.png" for red in reds]


def test_images_are_prepared_by_the_threads_that_decode(uris, tmp_path):
    def check(found):
        by_name = {Path(image.reference.uri).stem: image for image in found}
        for red in (10, 200):
            assert isinstance(by_name[str(red)], LabelledImage) and by_name[str(red)].size_hw == SIZE_HW
            assert by_name[str(red)].detections.scores == np.float32(red / 255)
        failed = by_name[str(POISON)]
        assert isinstance(failed, FailedImage) and failed.message == "ValueError: poisoned image", "detect says why"

    log = tmp_path / "log"
    run(uris, PreparingLoader(poison=POISON, load_log=str(log)), check)
    assert log.read_text() == "loaded\n"


def test_a_job_none_of_whose_images_can_be_read_loads_nothing(tmp_path):
    log = tmp_path / "log"
    run([tmp_path / "absent.png"], PreparingLoader(load_log=str(log)))
    assert not log.exists()


def test_a_detector_that_cant_be_loaded_ends_the_job_after_one_try(uris, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(Exception, match="the detector can't be loaded: no weights"):
        run(uris, PreparingLoader(load_log=str(log), load_error="no weights"))
    assert log.read_text() == "loaded\n"


def test_one_that_processes_share_gets_images(uris):
    def check(found):
        assert sorted(float(image.detections.scores[0]) for image in found) == [
            float(np.float32(red / 255)) for red in (10, POISON, 200)
        ]

    assert DetectorHandler(FakeLoader(), 1, share_across_processes=True).key is None
    run(uris, PreparingLoader(), check, share=True)


def test_room_is_reserved_for_what_is_made_of_an_image(uris):
    detector = LoadedDetector(PreparingLoader(), key="test_room")
    fetcher, reserved = ImageFetcher(ExecutionOptions(), DecodeOptions(), detector="test_room"), []
    for _ in range(2):
        fetcher.fetch(ImageReference(str(uris[0])), reserved.append)
    assert reserved[1] == detector.prepare(np.zeros((1, 1, 3), np.uint8), "id").nbytes > reserved[0]
