from dataclasses import replace

import pytest
from labelbeam.detectors.config import configuration_text, detector_names, load_config
from labelbeam.detectors.zoo import zoo_models
from labelbeam.storage.errors import ConfigError

GOOD = """
name: mine
description: one line
architecture: a network
weights: model
engines: [saved_model]
input_size_hw: [320, 320]
resize: letterbox
masks: true
labels: {1: cat, 2: dog}
licence: MIT
source: here
intended_use: tests
limits: none
"""


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_published_detectors_have_the_model_cards_figures():
    mask_rcnn = load_config("mask_rcnn_inception_resnet_v2_1024x1024")
    assert (mask_rcnn.reference.box_ap, mask_rcnn.reference.mask_ap) == (39.0, 34.6)
    assert mask_rcnn.input_size_hw == (1024, 1024) and mask_rcnn.masks
    centernet = load_config("centernet_resnet50v2_512x512")
    assert centernet.reference.box_ap == 29.5 and not centernet.masks
    for config in (mask_rcnn, centernet):
        assert len(config.labels) == 80 and min(config.labels) == 1 and max(config.labels) == 90
        assert config.labels[1] == "person" and config.labels[90] == "toothbrush" and 12 not in config.labels
        assert "mission-critical" in config.limits


def test_every_configuration_that_ships_can_be_read():
    assert {"demo", "centernet_resnet50v2_512x512", "efficientdet_d0"} <= set(detector_names())
    for name in detector_names():
        assert load_config(name).name == name
        assert load_config(name).usual_min_score is not None


def test_a_model_of_the_zoo():
    config = load_config("efficientdet_d6")
    assert config.weights.endswith("/tf2/20200711/efficientdet_d6_coco17_tpu-32.tar.gz")
    assert (config.input_size_hw, config.resize, config.masks) == ((1408, 1408), "letterbox", False)
    assert config.reference is not None
    assert (config.reference.box_ap, config.reference.speed_ms) == (50.5, 268)
    archives = [load_config(name).weights for name in zoo_models()]
    assert len(set(archives)) == len(archives) == 38


@pytest.mark.parametrize("name", ["efficientdet_d0", "demo"])
def test_a_configuration_as_text_is_one_to_begin_with(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(configuration_text(name))
    assert replace(load_config(str(path)), weights="") == replace(load_config(name), weights="")


def test_own_file_with_a_relative_folder_of_weights(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    assert config.weights == str(tmp_path / "model")
    assert config.labels == {1: "cat", 2: "dog"} and config.reference is None


@pytest.mark.parametrize(
    "old, new, named",
    [
        ("masks: true", "mask: true", r"unknown key 'mask', did you mean 'masks'\?; allowed: name, weights"),
        ("masks: true", "masks: maybe", "masks: expected true or false, got 'maybe'"),
        ("masks: true", "masks: 1", "masks: expected true or false, got 1"),
        ("[320, 320]", "[320]", r"input_size_hw: expected a list of 2 × a whole number, got \[320\]"),
        ("[320, 320]", "320", "input_size_hw: expected a list"),
        ("resize: letterbox", "resize: crop", "resize: expected one of stretch, letterbox, got 'crop'"),
        ("[saved_model]", "[tflite]", "engines: expected one of saved_model, keras, .*got 'tflite'"),
        ("{1: cat, 2: dog}", "{cat: 1}", "labels: expected a whole number, got 'cat'"),
        ("{1: cat, 2: dog}", "imagenet", "label map imagenet: not known. Known: coco"),
        ("masks: true\n", "", "missing key 'masks'"),
        ("licence: MIT\n", "licence: MIT\nlicence: GPL\n", "line 12: not valid YAML: key 'licence' stands twice"),
        (
            "limits: none",
            "limits: none\nreference: {dataset: d, box_ap: high, source: s}",
            "box_ap: expected a number, got 'high'",
        ),
        ("limits: none", "limits: [", "not valid YAML"),
        ("limits: none", "usual_min_score: [0.4, 0.2]", "usual_min_score: expected two scores from 0 to 1, the lower"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, named):
    assert old in GOOD
    with pytest.raises(ConfigError, match=named):
        load_config(write(tmp_path, GOOD.replace(old, new)))


def test_unknown_names(tmp_path):
    with pytest.raises(ConfigError, match="did you mean centernet_resnet50v2_512x512"):
        load_config("centernet_resnet50_512x512")
    with pytest.raises(ConfigError, match="no such file"):
        load_config(str(tmp_path / "absent.yaml"))


def test_an_input_size_may_be_unknown_but_not_half_known(tmp_path):
    unknown = GOOD.replace("input_size_hw: [320, 320]\n", "").replace("resize: letterbox\n", "")
    assert load_config(write(tmp_path, unknown)).input_size_hw is None
    with pytest.raises(ConfigError, match="input_size_hw and resize go together"):
        load_config(write(tmp_path, GOOD.replace("resize: letterbox\n", "")))
    with pytest.raises(ConfigError, match="expected numbers of pixels"):
        load_config(write(tmp_path, GOOD.replace("[320, 320]", "[0, 320]")))
