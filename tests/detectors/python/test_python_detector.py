"""Engine `python` and the conformance test, with classes as somebody else might write them."""

import numpy as np
import pytest
from labelbeam.detectors.protocol import DetectOptions
from labelbeam.detectors.python.detector import find_class, is_class_name
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.storage.errors import UsageError

CLASSES = "tests.fakes.classes"


def test_what_is_a_class_name():
    assert is_class_name("mine:Detector") and is_class_name("a.b_c:D")
    for name in ("demo", "mine.yaml", "s3://bucket/model", "C:\\model", "a:b:c", "mine:", "a/b:C"):
        assert not is_class_name(name)


def test_only_what_is_wanted_is_taken():
    spec = find_detector(f"{CLASSES}:Brightest", options=DetectOptions(min_score=0.2, max_detections=1, masks=False))
    assert (spec.config.name, spec.engine, spec.config.labels) == ("Brightest", "python", {1: "quarter", 2: "image"})
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:, :30] = 200
    [found] = spec.load().detect([image])
    assert found.boxes_yxyx.tolist() == [[0.5, 0.0, 1.0, 0.5]] and found.masks is None
    assert found.num_dropped == 0, "the second is left out by max_detections"
    [best] = find_detector(f"{CLASSES}:Brightest", options=DetectOptions(min_score=0.5)).load().detect([image])
    assert len(best) == 1 and best.num_dropped == 1
    [both] = find_detector(f"{CLASSES}:Brightest", options=DetectOptions(min_score=0.2)).load().detect([image])
    assert len(both) == 2 and both.masks.shape == (2, 8, 8)


@pytest.mark.parametrize(
    "name, named",
    [
        ("no_such_module:Detector", "No module named 'no_such_module'; give the module's file or folder with"),
        (f"{CLASSES}:Missing", "has no class Missing; it has Brightest"),
        (f"{CLASSES}:class_names", "has no class class_names"),
        (f"{CLASSES}:WithoutBatches", "expected a class with batches and detect; it lacks batches"),
    ],
)
def test_what_is_wrong_with_a_class_is_named(name, named):
    with pytest.raises(UsageError, match=named):
        find_class(name)


def test_further_outputs_are_refused():
    with pytest.raises(UsageError, match="--keep anchors: engine python has no further outputs"):
        find_detector(f"{CLASSES}:Brightest", options=DetectOptions(keep=("anchors",))).load()


def test_a_class_that_keeps_to_the_protocol(capsys):
    assert main(["detectors", "--check", f"{CLASSES}:Brightest"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok   ") == 5 and "keeps to the protocol" in printed


def test_a_class_that_doesnt(capsys):
    assert main(["detectors", "--check", f"{CLASSES}:Wrong"]) == 1
    printed = capsys.readouterr().out
    assert "FAILS says whether it batches: batches: expected True or False, got 'no'" in printed
    assert (
        "FAILS takes nothing" in printed
        and "FAILS gives the same alone and together" in printed
        and "4 of these fail" in printed
    )


def test_a_job_with_a_class(image_folder, label):
    code, printed, labels = label(image_folder, detector=f"{CLASSES}:Brightest")
    assert code == 0, printed
    assert set(labels.frame("detections")["class_name"]) == {"quarter"}
    assert len(labels.frame("masks")) == 6
    code, printed, _ = label(image_folder, detector=f"{CLASSES}:WantsArguments", output="other")
    assert code != 0 and "WantsArguments" in printed
