"""Weights of which a part is missing or damaged are found before a job starts."""

import shutil
from pathlib import Path

import pytest
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import prepare
from labelbeam.detectors.weights.whole import check_whole
from labelbeam.storage.errors import WeightsError

from tests.fakes.saved_models import save_detector


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Path(save_detector(tmp_path_factory.mktemp("models") / "m"))


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def refused(folder, named):
    with pytest.raises(WeightsError, match=named) as caught:
        prepare(load_config("mask_rcnn_inception_resnet_v2_1024x1024"), weights=str(folder))
    assert "\n" not in str(caught.value)


def test_a_whole_one_passes(whole):
    check_whole(str(whole), "weights")


def test_without_its_values(copy):
    (data,) = (copy / "variables").glob("variables.data*")
    data.unlink()
    refused(copy, r"isn't whole: variables/variables\.data-00000-of-00001 is missing; copy or fetch it again")


def test_without_its_index(copy):
    (copy / "variables" / "variables.index").unlink()
    refused(copy, r"variables/variables\.index is missing")
    shutil.rmtree(copy / "variables")
    refused(copy, r"variables/variables\.index is missing")


def test_cut_short_or_changed(copy):
    (data,) = (copy / "variables").glob("variables.data*")
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    refused(copy, r"variables\.\* can't be read")
    data.write_bytes(bytes(byte ^ 1 for byte in content))
    refused(copy, r"variables\.\* can't be read")


def test_names_with_brackets_are_names(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "models [2]" / "m*"
    shutil.copytree(whole, folder)
    spec = prepare(load_config("mask_rcnn_inception_resnet_v2_1024x1024"), weights=str(folder))
    assert spec.load().detect([]) == []
