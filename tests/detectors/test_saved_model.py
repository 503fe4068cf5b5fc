import numpy as np
import pytest
import tensorflow as tf
from labelbeam.detectors.protocol import DetectOptions, InvalidDetections
from labelbeam.detectors.saved_model import SavedModelDetector, detections_of_outputs
from labelbeam.detectors.signature import check_outputs, read_signature
from labelbeam.labelset.masks import decode_rle, encode_box_masks
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


def test_what_the_threshold_drops_is_counted():
    given = outputs(num_detections=np.float32(3))
    for min_score, dropped in ((0, 0), (0.5, 1), (1, 3)):
        found = detections_of_outputs(given, DetectOptions(min_score, max_detections=1))
        assert found.num_dropped == dropped


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
    detections = detections_of_outputs(outputs(), DetectOptions(min_score=0))
    assert detections.scores.tolist() == pytest.approx([0.8, 0.4])


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"num_detections": np.float32(np.nan)}, "num_detections"),
        ({"num_detections": np.float32(-1)}, "num_detections"),
        ({"detection_classes": np.array([1, np.nan, 1], np.float32)}, "detection_classes"),
        ({"detection_classes": np.array([1, 3e9, 1], np.float32)}, "detection_classes"),
        ({"detection_classes": np.array([1, -np.inf, 1], np.float32)}, "detection_classes"),
        ({"detection_classes": np.ones((3, 1), np.float32)}, "detection_classes"),
        ({"detection_scores": np.array([np.nan, 0.8, 0.9], np.float32)}, "detection_scores"),
        ({"detection_boxes": np.full((3, 4), np.inf, np.float32)}, "boxes_yxyx"),
        ({"detection_scores": np.array([7, 0.8, 0.9], np.float32)}, "scores"),
        ({"detection_boxes": np.full((3, 4), 3e38, np.float32)}, "expected edges of about 0 to 1"),
        ({"detection_boxes": np.zeros((2, 4), np.float32)}, "detection_boxes: 2 rows for 3 scores"),
        ({"detection_classes": np.array(["cat", "dog", "cow"])}, "detection_classes: expected numbers"),
        ({"detection_masks": np.full((3, 9, 9), 4.0, np.float32)}, r"masks: expected values in \[0, 1\]"),
        ({"detection_masks": np.full((3, 9, 9), -4.0, np.float32)}, r"masks: expected values in \[0, 1\]"),
    ],
)
def test_malformed_outputs_are_an_error_of_the_image(changes, named):
    with pytest.raises(InvalidDetections, match=named):
        detections_of_outputs(outputs(**changes), DetectOptions(min_score=0))


def test_poison_raises(tmp_path):
    detector = SavedModelDetector(save_detector(tmp_path / "m", poison=66), ALL)
    with pytest.raises(Exception, match="poisoned"):
        detector.detect([np.full((4, 4, 3), 66, np.uint8)])


@pytest.mark.parametrize(
    "change, named",
    [
        ({"leave_out": ("detection_scores", "detection_boxes")}, "lacks detection_boxes, detection_scores"),
        ({"signature": "predict"}, "predict"),
        ({"batch": 4}, r"input_tensor: uint8 \[4, -1, -1, 3\]"),
        ({"dtype": "int32"}, "input_tensor: int32"),
    ],
)
def test_a_model_that_is_no_such_detector_is_refused_naming_what_it_has(tmp_path, change, named):
    folder = save_detector(tmp_path / "m", **change)
    with pytest.raises(WeightsError, match=named):
        read_signature(folder)


def scores_without_order(outputs, images):
    return {**outputs, "detection_scores": outputs["detection_scores"][:, ::-1]}


def classes_as_int64(outputs, images):
    return {**outputs, "detection_classes": tf.cast(outputs["detection_classes"], tf.int64)}


@pytest.mark.parametrize("batch_size", [1, None])
@pytest.mark.parametrize("input_kind", ["pixels", "float_pixels", "encoded_image", "example"])
def test_the_inputs_that_the_object_detection_apis_exporter_gives_a_model(tmp_path, input_kind, batch_size):
    folder = save_detector(tmp_path / "m", batch=batch_size, input_kind=input_kind)
    assert read_signature(folder).input_kind == input_kind
    images = batch((40, 60), (30, 20), (40, 60))
    for image, detections in zip(images, SavedModelDetector(folder, ALL).detect(images), strict=True):
        expected = expected_outputs(image)
        np.testing.assert_allclose(detections.boxes_yxyx, expected["boxes"], atol=1e-6)
        np.testing.assert_allclose(detections.scores, expected["scores"], atol=1e-6)


@pytest.mark.parametrize(
    "made", [{"leave_out": ("num_detections",)}, {"change": scores_without_order}, {"change": classes_as_int64}]
)
def test_outputs_as_exporters_differ_in_them(tmp_path, made):
    [detections] = SavedModelDetector(save_detector(tmp_path / "m", **made), ALL).detect(batch((8, 9)))
    assert detections.scores.tolist() == pytest.approx([0.95, 0.75, 0.55, 0.35, 0.15])
    assert sorted(detections.class_ids.tolist()) == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xyxy_normalised", "yxyx_normalised"])
def test_boxes_of_each_format(tmp_path, box_format):
    def change(outputs, images):
        boxes = outputs["detection_boxes"]
        if not box_format.endswith("_normalised"):
            boxes *= tf.constant([8.0, 16.0, 8.0, 16.0])
        return {**outputs, "detection_boxes": tf.gather(boxes, [1, 0, 3, 2], axis=2) if "xyxy" in box_format else boxes}

    [image] = batch((8, 16))
    folder = save_detector(tmp_path / "m", change=change)
    [detections] = SavedModelDetector(folder, ALL, box_format).detect([image])
    np.testing.assert_allclose(detections.boxes_yxyx, expected_outputs(image)["boxes"], atol=1e-6)


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


def without_batch_axis(outputs, images):
    return {name: value if name == "anchors" else value[0] for name, value in outputs.items()}


@pytest.mark.parametrize("rows", [5, 1])
@pytest.mark.parametrize("free", [True, False])
def test_outputs_without_a_batch_axis(tmp_path, rows, free):
    def change(outputs, images):
        few = {
            name: value if name in ("num_detections", "anchors") else value[:, :rows] for name, value in outputs.items()
        }
        return without_batch_axis(few, images)

    options = DetectOptions(min_score=0, keep=("anchors",))
    detector = SavedModelDetector(save_detector(tmp_path / "m", batch=None if free else 1, change=change), options)
    assert not detector.batches
    for image, detections in zip(images := batch((8, 8), (8, 8)), detector.detect(images), strict=True):
        np.testing.assert_allclose(detections.boxes_yxyx, expected_outputs(image)["boxes"][:rows], atol=1e-6)
        assert detections.masks.shape == (rows, 33, 33) and detections.extras["anchors"].shape == (7, 4)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_kept_output_does_not_depend_on_the_batch(tmp_path, size):
    def change(outputs, images):
        unknown = tf.shape(images)[2] * 0
        return {
            **outputs,
            "seven": outputs["anchors"] + tf.cast(unknown, tf.float32),
            "rows_of_unknown_number": tf.zeros([7 + unknown, 4]),
            "of_each_image": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2]),
        }

    keep = ("seven", "rows_of_unknown_number", "of_each_image")
    folder = save_detector(tmp_path / "m", batch=None, change=change)
    detector = SavedModelDetector(folder, DetectOptions(min_score=0, keep=keep), max_batch_size=8)
    images = batch(*[(8, 8)] * size)
    for image, detections in zip(images, detector.detect(images), strict=True):
        assert detections.extras["seven"].shape == detections.extras["rows_of_unknown_number"].shape == (7, 4)
        np.testing.assert_allclose(detections.extras["of_each_image"], image.reshape(-1, 3).mean(axis=0), rtol=1e-5)


def test_a_score_that_rounding_takes_above_one_is_one():
    almost = outputs(detection_scores=np.array([0.5, 1.0000001, 1.0000002], np.float32))
    assert detections_of_outputs(almost, DetectOptions(min_score=0)).scores.tolist() == [1, 0.5]
    with pytest.raises(InvalidDetections, match="scores"):
        detections_of_outputs(
            outputs(detection_scores=np.array([0.5, 1.00001, 0], np.float32)), DetectOptions(min_score=0)
        )


def test_masks_of_the_image_are_taken_as_they_are(tmp_path):
    def change(outputs, images):
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        left_half = tf.cast(tf.range(width) < width // 2, tf.float32)
        return {**outputs, "detection_masks": tf.tile(left_half[None, None, None], [1, 5, height, 1])}

    detector = SavedModelDetector(save_detector(tmp_path / "m", change=change), ALL)
    [detections] = detector.detect(batch((40, 60)))
    assert detections.mask_boxes_yxyx.tolist() == [[0, 0, 1, 1]] * 5
    for mask in encode_box_masks(detections.masks, detections.mask_boxes_yxyx, 40, 60):
        expected = np.zeros((40, 60), bool)
        expected[:, :30] = True
        assert (decode_rle(mask.counts, 40, 60) == expected).all()


def test_masks_of_a_known_size_are_relative_to_their_boxes_in_any_image(one_a_call):
    [detections] = SavedModelDetector(one_a_call, ALL).detect(batch((33, 33)))
    assert detections.mask_boxes_yxyx is None
