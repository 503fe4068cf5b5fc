"""`--detector` with a model instead of a configuration, and `--labels`."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.settings import LabelConfig
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


@pytest.mark.parametrize(
    "resizer, expected",
    [
        ("fixed_shape_resizer {\n width: 640\n height: 320\n}", ((320, 640), "stretch")),
        (
            "keep_aspect_ratio_resizer { min_dimension: 512 max_dimension: 512 pad_to_max_dimension: true }",
            ((512, 512), "letterbox"),
        ),
        ("keep_aspect_ratio_resizer { min_dimension: 600 max_dimension: 1024 }", (None, None)),
        ("fixed_shape_resizer { width: 640 }", (None, None)),
    ],
)
def test_the_resize_that_lies_beside_a_model(zoo, resizer, expected):
    (zoo / "pipeline.config").write_text(f"model {{ ssd {{ num_classes: 90\n image_resizer {{ {resizer} }} }} }}")
    config = find_detector(str(zoo)).config
    assert (config.input_size_hw, config.resize) == expected


def test_a_model_as_it_is_has_no_keras_network(model):
    with pytest.raises(UsageError, match="toys runs on saved_model; if .* lists it, give its name there"):
        find_detector(str(model), engine="keras")


def test_labels_take_the_place_of_a_configurations(tmp_path):
    (tmp_path / "names.json").write_text('["a", "b"]')
    assert find_detector("demo", labels=str(tmp_path / "names.json")).config.labels == {1: "a", 2: "b"}


@pytest.mark.parametrize("line, setting", [("box_format: xyxy", "box_format"), ("labels: {1: cat}", "labels")])
def test_what_a_configuration_says_of_a_models_outputs_is_the_label_sets(model, tmp_path, line, setting):
    def settings(name, *lines):
        path = tmp_path / f"{name}.yaml"
        lines = {"labels": "labels: {1: dog}", **{text.partition(":")[0]: text for text in lines}}.values()
        path.write_text("\n".join([f"name: toys\nweights: {model}\nengines: [saved_model]\nmasks: true", *lines]))
        return prepare_label_config(LabelConfig(str(path))).settings

    usual, other = settings("usual"), settings("other", line)
    assert [name for name in usual if usual[name] != other[name]] == [setting]


def test_what_a_configuration_says_of_an_onnx_model_is_the_label_sets(tmp_path):
    models = pytest.importorskip("tests.fakes.onnx_models")
    path = models.save_model(tmp_path / "m.onnx", {"logits": np.zeros((5, 2)), "boxes": np.full((5, 4), 0.5)})
    settings = []
    for name, more in (("a", ""), ("b", ", mean: [1, 2, 3]"), ("c", ", providers: [CPUExecutionProvider]")):
        config = tmp_path / f"{name}.yaml"
        config.write_text(
            f"name: m\nweights: {path}\nengines: [onnx]\nmasks: false\nlabels: {{1: a}}\n"
            f"input_size_hw: [64, 64]\nresize: letterbox\nonnx: {{decoder: detr{more}}}"
        )
        settings.append(prepare_label_config(LabelConfig(str(config))).settings)
    assert settings[0] == settings[2] != settings[1]
    assert settings[0]["onnx"]["decoder"] == "detr"


def test_what_is_neither_is_named(tmp_path):
    with pytest.raises(UsageError, match="detector demmo: not known; did you mean demo"):
        find_detector("demmo")
    (tmp_path / "m.tflite").write_bytes(b"TFL3")
    with pytest.raises(UsageError, match=r"m\.tflite is a TensorFlow Lite model"):
        find_detector(str(tmp_path / "m.tflite"))
    with pytest.raises(UsageError, match=r"labels .*absent\.txt: no such file"):
        find_detector("demo", labels=str(tmp_path / "absent.txt"))
