"""Whole models through engine onnx: alone and in batches, from a file or a configuration, and faulty ones."""

import numpy as np
import pytest
from labelbeam.detectors.conformance import check
from labelbeam.detectors.onnx.model import fingerprint
from labelbeam.detectors.protocol import DetectOptions, InvalidDetections
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.storage.errors import UsageError

from tests.fakes.images import save_image

pytest.importorskip("onnxruntime")
onnx_models = pytest.importorskip("tests.fakes.onnx_models")

BOXES = np.float32([[8, 16, 40, 48], [0, 0, 64, 64], [10, 10, 20, 20]])  # xyxy in pixels of 64×64
ROWS = {"boxes": BOXES, "scores": np.float32([0.5, 0.3, 0.1]), "labels": np.array([1, 0, 2])}
NAMES = {"names": "{0: 'cat', 1: 'dog', 2: 'cow'}", "stride": "32", "task": "detect"}
YAML = """
name: mine
weights: m.onnx
engines: [onnx]
masks: false
labels: {{1: cat, 2: dog, 3: cow}}
input_size_hw: [64, 64]
resize: {resize}
onnx: {{decoder: {decoder}, first_id: 1{more}}}
"""


def save(tmp_path, outputs=ROWS, **options) -> str:
    return onnx_models.save_model(tmp_path / "m.onnx", outputs, **options)


def configured(tmp_path, decoder, resize="stretch", more="") -> str:
    (tmp_path / "mine.yaml").write_text(YAML.format(decoder=decoder, resize=resize, more=more))
    return str(tmp_path / "mine.yaml")


def images():
    return [np.full((h, w, 3), level, np.uint8) for h, w, level in ((64, 64, 10), (128, 256, 200), (90, 30, 90))]


@pytest.mark.parametrize("batch", [1, None])
def test_alone_and_in_batches(tmp_path, batch):
    save(tmp_path, batch=batch, shares={"scores": 0.4})
    spec = find_detector(
        configured(tmp_path, "boxes_scores_labels"), options=DetectOptions(min_score=0.2), max_batch_size=2
    )
    detector = spec.load()
    assert spec.engine == "onnx" and detector.batches is (batch is None)
    for image, found in zip(images(), detector.detect(images()), strict=True):
        added = 0.4 * image.mean() / 255
        scores = [s + added for s in (0.5, 0.3, 0.1) if s + added >= 0.2]
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)
        assert found.class_ids.tolist() == [2, 1, 3][: len(scores)]
        assert found.num_dropped == 3 - len(scores)
        np.testing.assert_allclose(found.boxes_yxyx, BOXES[: len(scores), [1, 0, 3, 2]] / 64, atol=1e-6)
    assert not [error for _, error in check(detector) if error]


def test_a_letterbox_is_taken_away(tmp_path):
    save(tmp_path)
    detector = find_detector(configured(tmp_path, "boxes_scores_labels", "letterbox")).load()
    [found] = detector.detect([np.zeros((50, 100, 3), np.uint8)])  # 32 of 64 rows, from the 16th on
    np.testing.assert_allclose(found.boxes_yxyx, [[0, 8 / 64, 1, 40 / 64], [0, 0, 1, 1]], atol=1e-6)


def test_yolo_with_names_inside_needs_nothing_else(tmp_path):
    table = np.zeros((7, 30), np.float32)  # 4 + 3 classes, 30 places
    table[:4, 0], table[4:, 0] = [24, 32, 32, 32], [0.1, 0.9, 0.2]
    table[:4, 1], table[4:, 1] = [25, 32, 32, 32], [0.1, 0.8, 0.2]  # the same object
    table[:4, 2], table[4:, 2] = [50, 50, 10, 10], [0.6, 0.1, 0.2]
    spec = find_detector(save(tmp_path, {"output0": table}, metadata=NAMES))
    assert spec.config.labels == {0: "cat", 1: "dog", 2: "cow"} and spec.config.name == "m"
    [found] = spec.load().detect([np.zeros((64, 64, 3), np.uint8)])
    assert found.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(
        found.boxes_yxyx, [[16 / 64, 8 / 64, 48 / 64, 40 / 64], [45 / 64, 45 / 64, 55 / 64, 55 / 64]]
    )


def test_detr_of_any_size(tmp_path):
    logits = np.float32([[3, -3], [-4, -5]])
    save(tmp_path, {"logits": logits, "pred_boxes": np.float32([[0.5, 0.5, 0.2, 0.4]] * 2)}, sides=(None, None))
    options = DetectOptions(min_score=0.5, keep=("logits",))
    [found] = find_detector(configured(tmp_path, "detr"), options=options).load().detect(images()[:1])
    assert found.class_ids.tolist() == [1]
    np.testing.assert_allclose(found.boxes_yxyx, [[0.3, 0.4, 0.7, 0.6]], atol=1e-6)
    np.testing.assert_array_equal(found.extras["logits"], logits)


def test_a_job(tmp_path, label):
    for i in range(3):
        save_image(tmp_path / "images" / f"{i}.jpg", i, (40, 60))
    code, printed, labels = label(tmp_path / "images", detector=save(tmp_path), options=["--min-score", "0.2"])
    assert code == 0, printed
    assert labels.frame("detections")["class_name"].tolist() == ["class_1", "class_0"] * 3


def test_the_fingerprint_is_the_files(tmp_path):
    one = fingerprint(save(tmp_path))
    assert one == fingerprint(save(tmp_path)) != fingerprint(save(tmp_path, shares={"scores": 0.1}))


@pytest.mark.parametrize(
    "outputs, options, named",
    [
        ({"a": BOXES, "b": ROWS["scores"]}, {}, r"what its outputs a, b mean can't be told; .*onnx: {decoder:"),
        (ROWS, {"sides": (None, None)}, "the model takes any size; say which with input_size_hw"),
        (ROWS, {"layout": "nhwc"}, r"expected one input, float \[N, 3, H, W\]; the model takes images"),
    ],
)
def test_what_is_wrong_with_a_model_is_named(tmp_path, outputs, options, named):
    with pytest.raises(UsageError, match=named):
        find_detector(save(tmp_path, outputs, **options)).load()


def test_what_is_no_model(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(UsageError, match="can't be opened as an ONNX model"):
        find_detector(str(tmp_path / "m.onnx"))
    with pytest.raises(
        UsageError, match="engine saved_model can't run this; an ONNX model is given as --detector FILE.onnx"
    ):
        find_detector("demo", weights=str(tmp_path / "m.onnx"))
    with pytest.raises(UsageError, match="engine onnx and the key onnx go together"):
        (tmp_path / "mine.yaml").write_text(
            YAML.format(decoder="yolo", resize="stretch", more="").replace("[onnx]", "[saved_model]")
        )
        find_detector(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("class_id", [np.nan, 1e12, -np.inf])
def test_classes_that_are_none_are_an_images_failure(tmp_path, class_id):
    save(tmp_path, {**ROWS, "labels": np.float32([1, class_id, 2])})
    with pytest.raises(InvalidDetections, match="numbers that are no class ids"):
        find_detector(configured(tmp_path, "boxes_scores_labels"), options=DetectOptions(0)).load().detect(images()[:1])


def test_scores_beyond_1_are_an_images_failure(tmp_path):
    save(tmp_path, {**ROWS, "scores": np.float32([7.5, 0.3, 0.1])})
    with pytest.raises(ValueError, match="expected values from 0 to 1, got .* to 7.5; is the decoder the right one"):
        find_detector(configured(tmp_path, "boxes_scores_labels")).load().detect(images()[:1])
