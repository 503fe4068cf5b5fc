"""`--detector` with a model instead of a configuration, and `--labels`."""

import logging
import shutil
from pathlib import Path

import pytest
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.storage.errors import UsageError

from tests.detectors.test_labels import PBTXT
from tests.fakes.saved_models import save_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Path(save_detector(tmp_path_factory.mktemp("models") / "toys"))


@pytest.fixture
def zoo(model, tmp_path):
    shutil.copytree(model, tmp_path / "ssd_toys" / "saved_model")
    resizer = "image_resizer { fixed_shape_resizer { width: 640 height: 320 } }"
    (tmp_path / "ssd_toys" / "pipeline.config").write_text(f"model {{ ssd {{ num_classes: 90\n {resizer} }} }}")
    return tmp_path / "ssd_toys"


def test_a_folder_without_labels(model, caplog):
    with caplog.at_level(logging.WARNING):
        spec = find_detector(str(model))
    assert (spec.config.name, spec.engine, spec.config.labels, spec.has_masks) == ("toys", "saved_model", {}, True)
    assert "classes have no names" in caplog.text and "--labels" in caplog.text


def test_labels_given_beside_and_guessed(model, zoo, tmp_path, caplog):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert find_detector(str(model), labels=str(tmp_path / "names.txt")).config.labels == {1: "cat", 2: "dog"}
    with caplog.at_level(logging.WARNING):
        guessed = find_detector(str(zoo)).config
    assert guessed.labels[90] == "toothbrush" and guessed.input_size_hw == (320, 640)
    assert "taken for COCO's" in caplog.text
    (zoo / "label_map.pbtxt").write_bytes(PBTXT)
    assert find_detector(str(zoo)).config.labels == {1: "cat", 2: "dog's"}


def test_labels_take_the_place_of_a_configurations(tmp_path):
    (tmp_path / "names.json").write_text('["a", "b"]')
    assert find_detector("demo", labels=str(tmp_path / "names.json")).config.labels == {1: "a", 2: "b"}


def test_what_is_neither_is_named(tmp_path):
    with pytest.raises(UsageError, match="detector demmo: not known; did you mean demo"):
        find_detector("demmo")
    (tmp_path / "m.tflite").write_bytes(b"TFL3")
    with pytest.raises(UsageError, match=r"m\.tflite is a TensorFlow Lite model"):
        find_detector(str(tmp_path / "m.tflite"))
    with pytest.raises(UsageError, match=r"labels .*absent\.txt: no such file"):
        find_detector("demo", labels=str(tmp_path / "absent.txt"))
