import threading
import time

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.transforms import detect
from labelbeam.transforms.detect import Detect, DetectorHandler
from labelbeam.transforms.elements import (
    METRICS_NAMESPACE,
    FailedImage,
    FetchedImage,
    FetchOutcome,
    ImageFacts,
    ImageReference,
)
from labelbeam.transforms.workers.driver_link import DriverLink
from labelbeam.transforms.workers.loaded_detector import DetectorLostError, LoadedDetector

from tests.fakes.detectors import FakeLoader


def fetched(index: int, red: int | None, size_hw=(4, 6), green=0) -> FetchedImage | FailedImage:
    """An image all of one colour, or a failed one."""
    reference, facts = ImageReference(f"/images/{index}.jpg"), ImageFacts(attempts=1)
    if red is None:
        return FailedImage(reference, facts, "not_found", "gone")
    return FetchedImage(reference, facts, np.full((*size_hw, 3), (red, green, 0), np.uint8))


def run(images, loader=FakeLoader(), batch_size=4, check=lambda labelled: None):
    """Runs Detect over batches of `images`; `check` gets the list of LabelledImages. Returns the labelbeam metrics."""
    pipeline = beam.Pipeline(runner="FnApiRunner")
    given = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    labelled = pipeline | beam.Create(given, reshuffle=False) | Detect(DetectorHandler(loader, batch_size))
    assert_that(labelled | beam.FlatMap(lambda batch: batch), check)
    result = pipeline.run()
    found = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))
    return {m.key.metric.name: m.result for m in found["counters"]}


def test_one_labelled_image_for_each_whatever_happened_to_it(tmp_path):
    reds = [10, None, 20, 66, 30, 40, None, 66, 50]

    def check(labelled):
        by_uri = {image.reference.uri: image for image in labelled}
        assert len(labelled) == len(by_uri) == len(reds)
        for index, red in enumerate(reds):
            image = by_uri[f"/images/{index}.jpg"]
            if red is None:
                assert isinstance(image, FailedImage) and image.kind == "not_found"
            elif red == 66:
                assert image.kind == "inference" and "ValueError: poisoned" in image.message
            else:
                assert image.detections.scores[0] == np.float32(red / 255)

    metrics = run(
        [fetched(i, red) for i, red in enumerate(reds)],
        FakeLoader(poison=66, load_log=str(tmp_path / "log")),
        check=check,
    )
    assert metrics["model_loads"] == 1
    assert (tmp_path / "log").read_text() == "loaded\n"


def test_nothing_to_do_loads_nothing(tmp_path):
    metrics = run([], FakeLoader(load_log=str(tmp_path / "log")))
    assert metrics.get("model_loads", 0) == 0
    assert not (tmp_path / "log").exists()


class KeepingLoader(FakeLoader):
    """Loads a `FakeDetector` and keeps it, so that a test sees what it was given."""

    def load(self):
        global loaded
        loaded = super().load()
        return loaded


def outcomes(handler, images, model):
    """Runs a batch by hand."""
    [call] = handler.run_inference(images, model)
    return call.run() or []


def calls(handler, model, *images):
    """Runs a batch by hand; returns (sizes of the model's calls, scores or kinds of failure)."""
    model.detect([], [])
    before = len(loaded.batch_sizes)
    labelled = outcomes(handler, images, model)
    return loaded.batch_sizes[before:], [
        image.kind if isinstance(image, FailedImage) else round(255 * float(image.detections.scores[0]))
        for image in labelled
    ]


def test_a_batch_that_does_not_fit_is_halved_and_the_next_ones_are_no_larger_than_what_fits():
    handler = DetectorHandler(KeepingLoader(memory_error_above=3), batch_size=8)
    model = handler.load_model()
    numbers = list(range(8))
    assert calls(handler, model, *(fetched(i, i) for i in numbers)) == ([8, 4, 2, 2, 2, 2], numbers)
    assert calls(handler, model, *(fetched(i, i) for i in numbers)) == ([2, 2, 2, 2], numbers)


def test_an_image_that_does_not_fit_alone_fails_alone_and_says_nothing_of_batches():
    handler = DetectorHandler(KeepingLoader(memory_error_pixels=100), batch_size=4)
    model = handler.load_model()
    batch = [fetched(0, 0), fetched(1, 1), fetched(2, 2, size_hw=(20, 20)), fetched(3, 3)]
    assert calls(handler, model, *batch) == ([4, 2, 2, 1, 1], [0, 1, "out_of_memory", 3])
    assert calls(handler, model, *(fetched(i, i) for i in range(4))) == ([4], [0, 1, 2, 3])


def test_malformed_results_are_a_failure_of_their_image():
    def check(labelled):
        failures = {image.reference.uri: image for image in labelled if isinstance(image, FailedImage)}
        assert len(labelled) == 7 and set(failures) == {"/images/2.jpg", "/images/5.jpg"}
        assert all(failure.kind == "inference" for failure in failures.values())
        assert "NaN" in failures["/images/2.jpg"].message
        assert "0 results for 1 images" in failures["/images/5.jpg"].message

    run([fetched(i, i, green={2: 1, 5: 2}.get(i, 0)) for i in range(7)], check=check)


def test_images_that_run_alone_are_given_to_the_model_alone():
    handler = DetectorHandler(KeepingLoader(), batch_size=4)
    images = [fetched(i, i) for i in range(5)]
    images[1].runs_alone = images[3].runs_alone = True
    sizes, scores = calls(handler, handler.load_model(), *images)
    assert sizes == [1, 1, 3] and scores == [0, 1, 2, 3, 4]


def test_a_job_that_is_to_stop_gives_the_model_nothing_more(tmp_path):
    link = DriverLink(str(tmp_path))
    handler = DetectorHandler(KeepingLoader(), batch_size=4, link=link)
    model = handler.load_model()
    assert calls(handler, model, fetched(0, 0), fetched(1, 1))[0] == [2]
    link.ask_to_stop()
    handler = DetectorHandler(KeepingLoader(), batch_size=4, link=link)
    assert calls(handler, model, fetched(2, 2), fetched(3, None)) == ([], [])


@pytest.mark.parametrize("error", [EOFError(), ConnectionRefusedError("gone")])
def test_images_are_not_to_blame_if_the_process_of_a_shared_detector_ends(error):
    class LostModel(LoadedDetector):
        def detect(self, *_):
            raise error

    handler = DetectorHandler(FakeLoader(), batch_size=4, share_across_processes=True)
    with pytest.raises(DetectorLostError):
        outcomes(handler, [fetched(0, 0)], LostModel(FakeLoader()))
    [labelled] = outcomes(DetectorHandler(FakeLoader(), batch_size=4), [fetched(0, 0)], LostModel(FakeLoader()))
    assert labelled.kind == "inference", "one in this process can't be lost"


def test_a_detector_that_cannot_be_loaded_fails_the_job_not_the_image():
    with pytest.raises(Exception, match="the detector can't be loaded: no weights"):
        run([fetched(0, 1)], FakeLoader(load_error="no weights"))


def test_each_load_is_reported_once():
    model = LoadedDetector(FakeLoader())
    assert model.take_load() is None
    model.detect([], [])
    cost = model.take_load()
    assert cost.seconds >= 0 and cost.resident_bytes >= 0
    assert model.take_load() is None


def test_the_size_of_a_batch_is_that_of_its_pixels():
    handler = DetectorHandler(FakeLoader(), 4)
    images = [fetched(0, 1), fetched(1, None)]
    assert handler.get_num_bytes(images) == 4 * 6 * 3


class NotingLoader(FakeLoader):
    """Its detector notes what happens, and ends its calls only when told to."""

    def load(self):
        detector = super().load()
        detect, detector.detect = detector.detect, lambda images: noted_call(detect, images)
        return detector


def noted_call(detect, images):
    happened.append("begins")
    if may_end is not None:
        happened.append("in time" if may_end.wait(20) else "too late")
    else:
        time.sleep(0.2)
    found = detect(images)
    happened.append("ends")
    return found


def noted_batch(batch):
    if may_end is not None and "given" in happened:
        may_end.set()
    happened.append("given")
    return batch


def run_noted(num_batches):
    with beam.Pipeline(runner="FnApiRunner") as p:
        batches = p | beam.Create([[fetched(i, i)] for i in range(num_batches)], reshuffle=False)
        batches |= beam.Map(noted_batch).with_output_types(list[FetchOutcome])
        labelled = batches | Detect(DetectorHandler(NotingLoader(), batch_size=1))
        found = labelled | beam.FlatMap(lambda batch: [image.reference.uri for image in batch])
        assert_that(found, equal_to([f"/images/{i}.jpg" for i in range(num_batches)]))


def test_the_next_batch_is_brought_together_while_the_model_has_one():
    global happened, may_end
    happened, may_end = [], threading.Event()
    run_noted(3)
    assert "too late" not in happened and happened.count("ends") == 3
    calls_under_way = 0
    for what in happened:  # one call at a time
        calls_under_way += {"begins": 1, "ends": -1}.get(what, 0)
        assert calls_under_way in (0, 1)


def test_a_batch_of_many_bytes_is_waited_for(monkeypatch):
    global happened, may_end
    happened, may_end = [], None
    monkeypatch.setattr(detect, "MAX_BYTES_AHEAD", 4 * 6 * 3 - 1)
    run_noted(2)
    assert happened == ["given", "begins", "ends"] * 2
