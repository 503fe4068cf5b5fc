"""A process that runs out of files, memory or disk blames no image, wherever that is: the job ends with a sentence."""

import errno
import io
import os
import resource
import threading

import apache_beam as beam
import numpy as np
import pytest
from labelbeam.storage.errors import ResourcesError
from labelbeam.transforms import fetch_images, to_rows
from labelbeam.transforms.decode import decoding
from labelbeam.transforms.detect import DetectorHandler
from labelbeam.transforms.elements import FetchedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch import read_bytes
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.to_rows import RowOptions, ToRows
from labelbeam.transforms.workers.loaded_detector import LoadedDetector
from PIL import Image

from tests.fakes.detectors import FakeDetector, FakeLoader

OF_THE_PROCESS = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC]


def failing(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def fetch(read=lambda *_: encoded()):
    return fetch_images.ImageFetcher(ExecutionOptions(), DecodeOptions(), read).fetch(ImageReference("a"))


def encoded(format="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("number", OF_THE_PROCESS)
@pytest.mark.parametrize("place", ["reading", "decoding", "the decoder's library", "the model", "rows"])
def test_no_image_is_to_blame(monkeypatch, number, place):
    with pytest.raises(Exception, match="run out|as many files") as raised:
        if place == "reading":
            fetch(failing(number))
        elif place == "decoding":
            monkeypatch.setattr(decoding.OpenedImage, "decode", failing(number))
            fetch()
        elif place == "the decoder's library":
            monkeypatch.setattr(Image.Image, "load", failing(number))
            fetch(lambda *_: encoded("GIF"))
        elif place == "the model":
            monkeypatch.setattr(FakeDetector, "detect", failing(number))
            image = FetchedImage(ImageReference("a"), ImageFacts(1), np.zeros((4, 6, 3), np.uint8))
            [call] = DetectorHandler(FakeLoader(), 4).run_inference([image] * 3, LoadedDetector(FakeLoader()))
            call.run()
        else:
            monkeypatch.setattr(to_rows, "rows_of_images", failing(number))
            found = FakeDetector(None, None).detect([np.zeros((4, 6, 3), np.uint8)])[0]
            with beam.Pipeline(runner="FnApiRunner") as pipeline:
                image = LabelledImage(ImageReference("a"), ImageFacts(1, width=6, height=4), found)
                _ = pipeline | beam.Create([[image]]) | ToRows(RowOptions({1: "ball"}))
    assert place == "rows" or isinstance(raised.value, ResourcesError)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_reading_waits_until_others_have_given_back_what_it_needs(monkeypatch, tmp_path, error):
    """Many files are read at once: each for itself would do."""
    (tmp_path / "a.png").write_bytes(encoded())
    tries, stat = [], os.stat

    def twice(path, **kwargs):
        if str(path).endswith("a.png"):
            tries.append(path)
            if len(tries) < 3:
                raise error
        return stat(path, **kwargs)

    monkeypatch.setattr(os, "stat", twice)
    fetcher = fetch_images.ImageFetcher(ExecutionOptions(), DecodeOptions(), read_bytes.read_bytes)
    assert isinstance(fetcher.fetch(ImageReference(str(tmp_path / "a.png"))), FetchedImage) and len(tries) == 3


def test_as_many_images_are_read_at_once_as_files_may_be_open(caplog):
    reading, most, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    def read(*_):
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
            if reading == 7:
                enough.set()
        enough.wait(0.2)
        with lock:
            reading -= 1
        return encoded()

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (156, before[1]))
    try:
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            references = pipeline | beam.Create([ImageReference(str(i)) for i in range(60)], reshuffle=False)
            _ = references | fetch_images.FetchImages(read=Read(read))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert most == 7
    assert "7 images are read at once instead of 64" in caplog.text and "ulimit -n" in caplog.text


class Read:
    """Keeps a function of this process from being pickled."""

    functions: dict = {}

    def __init__(self, function):
        self.key = id(function)
        self.functions[self.key] = function

    def __call__(self, *args):
        return self.functions[self.key](*args)
