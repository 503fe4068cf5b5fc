import numpy as np
import pytest
from labelbeam.detectors.protocol import DetectOptions, InvalidDetections
from labelbeam.detectors.saved_model import SavedModelDetector, _detections
from labelbeam.detectors.signature import check_outputs, read_signature
from labelbeam.storage.errors import WeightsError

from tests.fakes.saved_models import expected_outputs, save_detector

ALL = DetectOptions(min_score=0.0)


def batch(*sizes_hw):
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes_hw]


@pytest.fixture(scope="module")
def one_a_call(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("models") / "one")


@pytest.fixture(scope="module")
def free_batch(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("models") / "free", batch=None)


@pytest.mark.parametrize("model", ["one_a_call", "free_batch"])
def test_each_image_gets_its_own_detections(model, request):
    detector = SavedModelDetector(request.getfixturevalue(model), ALL, max_batch_size=2)
    images = batch((40, 60), (30, 20), (40, 60), (40, 60), (1, 1))
    found = detector.detect(images)
    assert detector.batches == (model == "free_batch")
    for image, detections in zip(images, found, strict=True):
        expected = expected_outputs(image)
        np.testing.assert_allclose(detections.boxes_yxyx, expected["boxes"], atol=1e-6)
        np.testing.assert_allclose(detections.scores, expected["scores"], atol=1e-6)
        assert detections.class_ids.tolist() == [1, 2, 3, 1, 2]
        assert detections.masks.shape == (5, 33, 33)


def test_only_what_is_asked_for_comes_back(one_a_call):
    options = DetectOptions(
        min_score=0.5, max_detections=2, masks=False, keep=("anchors", "detection_multiclass_scores")
    )
    [detections] = SavedModelDetector(one_a_call, options).detect(batch((8, 8)))
    assert len(detections) == 2 and detections.masks is None
    assert detections.extras["anchors"].shape == (7, 4)
    assert detections.extras["detection_multiclass_scores"].shape == (5, 3)


def test_min_score_keeps_equal_scores(one_a_call):
    options = DetectOptions(min_score=float(np.float32(0.95) - np.float32(0.2)))
    [detections] = SavedModelDetector(one_a_call, options).detect(batch((8, 8)))
    assert len(detections) == 2


def test_no_images(one_a_call):
    assert SavedModelDetector(one_a_call, ALL).detect([]) == []


def outputs(**changes):
    rows = {
        "num_detections": np.float32(2),
        "detection_boxes": np.zeros((3, 4), np.float32),
        "detection_classes": np.ones(3, np.float32),
        "detection_scores": np.array([0.4, 0.8, 0.9], np.float32),
    }
    return {**rows, **changes}


def test_rows_past_num_detections_are_padding_and_the_best_comes_first():
    detections = _detections(outputs(), DetectOptions(min_score=0))
    assert detections.scores.tolist() == pytest.approx([0.8, 0.4])


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"num_detections": np.float32(np.nan)}, "num_detections"),
        ({"detection_scores": np.array([np.nan, 0.8, 0.9], np.float32)}, "detection_scores"),
        ({"detection_boxes": np.full((3, 4), np.inf, np.float32)}, "boxes_yxyx"),
        ({"detection_scores": np.array([7, 0.8, 0.9], np.float32)}, "scores"),
    ],
)
def test_malformed_outputs_are_an_error_of_the_image(changes, named):
    with pytest.raises(InvalidDetections, match=named):
        _detections(outputs(**changes), DetectOptions(min_score=0))


def test_poison_raises(tmp_path):
    detector = SavedModelDetector(save_detector(tmp_path / "m", poison=66), ALL)
    with pytest.raises(Exception, match="poisoned"):
        detector.detect([np.full((4, 4, 3), 66, np.uint8)])


@pytest.mark.parametrize(
    "change, named",
    [
        ({"leave_out": ("detection_scores", "num_detections")}, "lacks num_detections, detection_scores"),
        ({"signature": "predict"}, "predict"),
        ({"batch": 4}, r"input_tensor: uint8 \[4, -1, -1, 3\]"),
        ({"dtype": "float32"}, "input_tensor: float32"),
    ],
)
def test_a_model_that_is_no_such_detector_is_refused_naming_what_it_has(tmp_path, change, named):
    folder = save_detector(tmp_path / "m", **change)
    with pytest.raises(WeightsError, match=named):
        read_signature(folder)


def test_a_damaged_graph_is_refused(tmp_path, one_a_call):
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xff\xff" + b"nonsense")
    with pytest.raises(WeightsError, match="can't be read"):
        read_signature(str(tmp_path))


def test_outputs_that_the_model_lacks_are_named(tmp_path, one_a_call):
    signature = read_signature(one_a_call)
    with pytest.raises(WeightsError, match=r"--keep mask_predictions.*it has anchors, detection_boxes"):
        check_outputs(signature, DetectOptions(keep=("mask_predictions",)), False, where="the model")
    boxes_only = read_signature(save_detector(tmp_path / "m", masks=False))
    check_outputs(boxes_only, DetectOptions(masks=False), True, where="the model")
    with pytest.raises(WeightsError, match="promises masks"):
        check_outputs(boxes_only, DetectOptions(), True, where="the model")
