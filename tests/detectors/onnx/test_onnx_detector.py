"""Whole models through engine onnx: alone and in batches, from a file or a configuration, and faulty ones."""

import math

import numpy as np
import pytest
from labelbeam.detectors.onnx.model import fingerprint
from labelbeam.detectors.protocol import DetectOptions, InvalidDetections, PreparingDetector
from labelbeam.detectors.python.conformance import check
from labelbeam.labelset.masks import decode_rle
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.storage.errors import UsageError

from tests.fakes.images import save_image

onnxruntime = pytest.importorskip("onnxruntime")
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


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_images_that_were_prepared_before_give_the_same(tmp_path, resize):
    save(tmp_path, shares={"scores": 0.4})
    detector = find_detector(configured(tmp_path, "boxes_scores_labels", resize)).load()
    assert isinstance(detector, PreparingDetector)
    some = [detector.prepare(image) if i % 2 else image for i, image in enumerate(images())]
    for found, expected in zip(detector.detect(some), detector.detect(images()), strict=True):
        np.testing.assert_array_equal(found.boxes_yxyx, expected.boxes_yxyx)
        np.testing.assert_array_equal(found.scores, expected.scores)


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


SEGMENTS = np.float32(
    # centre x and y, width, height in pixels of 64×64; two classes; coefficients of three prototypes
    [
        [24, 32, 32, 32, 0.9, 0.1, 2.0, -1.0, 0.5],
        [25, 32, 32, 32, 0.8, 0.1, 9.0, 9.0, 9.0],  # suppressed
        [50, 50, 40, 20, 0.1, 0.7, -3.0, 1.5, 1.0],  # beyond the edge
        [32, 30, 63, 55, 0.6, 0.2, 0.1, 0.2, -4.0],
        *[[0, 0, 0, 0, 0.0, 0.0, 1, 1, 1]] * 20,
    ]
)
PROTOTYPES = np.random.default_rng(3).normal(0, 0.7, (3, 16, 16)).astype(np.float32)


def mask_at(logits, y, x) -> float:
    """A map of 16×16 cells over 64×64 pixels at a point in pixels, bilinearly between the cells' centres."""
    y, x = (min(max(place / 4 - 0.5, 0), 15) for place in (y, x))
    total = 0.0
    for row, share_y in ((int(y), 1 - y % 1), (min(int(y) + 1, 15), y % 1)):
        for column, share_x in ((int(x), 1 - x % 1), (min(int(x) + 1, 15), x % 1)):
            total += share_y * share_x * logits[row][column]
    return 1 / (1 + math.exp(-total))


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_masks_of_yolo_by_a_plain_loop(tmp_path, batch_size, resize):
    save(tmp_path, {"output0": SEGMENTS.T, "output1": PROTOTYPES}, shares={"output1": 0.5})
    config = configured(tmp_path, "yolo", resize)
    spec = find_detector(config, options=DetectOptions(0.3, 100), max_batch_size=batch_size)
    assert spec.has_masks
    some = [np.full((48, 64 + 8 * i, 3), 30 * i, np.uint8) for i in range(batch_size)]
    for image, found in zip(some, spec.load().detect(some), strict=True):
        assert found.class_ids.tolist() == [1, 2, 1] and found.masks.shape == (3, 64, 64)
        height, width = image.shape[:2]
        inner_h, inner_w = (64, 64) if resize == "stretch" else (round(height * 64 / width), 64)
        level = (int(image[0, 0, 0]) * inner_h * inner_w + 114 * (64 * 64 - inner_h * inner_w)) / 255 / 64 / 64
        for row, box, mask in zip(SEGMENTS[[0, 2, 3]].tolist(), found.boxes_yxyx.tolist(), found.masks, strict=True):
            logits = [
                [sum(row[6 + m] * (PROTOTYPES[m, y, x] + level / 2) for m in range(3)) for x in range(16)]
                for y in range(16)
            ]
            ys = [(box[0] + (box[2] - box[0]) * i / 63) * inner_h + (64 - inner_h) // 2 for i in range(64)]
            xs = [(box[1] + (box[3] - box[1]) * i / 63) * inner_w for i in range(64)]
            for i in range(0, 64, 7):
                expected = [mask_at(logits, ys[i], x) for x in xs]
                np.testing.assert_allclose(mask[i], expected, atol=1e-5)


@pytest.mark.heavy
def test_a_segmentation_model_needs_no_configuration_and_fills_the_table_of_masks(tmp_path, label):
    disc = np.where(np.hypot(*(np.mgrid[:16, :16] - 7.5)) < 4, 9, -9).astype(np.float32)[np.newaxis]
    rows = np.zeros((30, 4 + 2 + 1), np.float32)
    rows[0] = [32, 32, 40, 40, 0.9, 0, 1]
    metadata = {"names": "['disc', 'box']", "stride": "32", "task": "segment"}
    model = save(tmp_path, {"output0": rows.T, "output1": disc}, metadata=metadata)
    save_image(tmp_path / "images" / "0.jpg", 0, (64, 64))
    code, printed, labels = label(tmp_path / "images", detector=model)
    assert code == 0, printed
    [mask] = labels.table("masks").to_pylist()
    pixels = decode_rle(mask["counts"], 64, 64)
    round_one = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 16
    assert (pixels & round_one).sum() / (pixels | round_one).sum() > 0.95
    code, printed, labels = label(tmp_path / "images", detector=model, output="bare", options=["--mask-format", "none"])
    assert code == 0 and labels.table("detections").num_rows == 1 and not (labels.folder / "masks").exists()


def test_masks_that_a_configuration_promises_and_the_model_lacks(tmp_path):
    save(tmp_path)
    config = configured(tmp_path, "boxes_scores_labels")
    (tmp_path / "mine.yaml").write_text((tmp_path / "mine.yaml").read_text().replace("masks: false", "masks: true"))
    with pytest.raises(UsageError, match=r"promises masks, .* gives boxes \[N, 3, 4\], .*Write `masks: false`"):
        find_detector(config)


def test_bytes_of_any_size_as_the_object_detection_api_takes_them(tmp_path):
    boxes = np.float32([[0.1, 0.2, 0.5, 0.9], [0.3, 0.3, 0.4, 0.4]])
    outputs = {
        "detection_boxes": boxes,
        "detection_boxes_strided": 64 * boxes,
        "detection_classes": np.float32([2, 1]),
        "detection_scores": np.float32([0.4, 0.2]),
        "num_detections": np.float32(2),
    }
    for batch in (1, None):
        shares = {"detection_scores": 0.5 / 255}
        save(tmp_path, outputs, batch=batch, sides=(None, None), layout="nhwc", as_bytes=True, shares=shares)
        path = configured(tmp_path, "boxes_scores_labels", more=", layout: nhwc, box_format: yxyx_normalised")
        text = (tmp_path / "mine.yaml").read_text().replace("first_id: 1", "first_id: 0")
        (tmp_path / "mine.yaml").write_text(text.replace("input_size_hw: [64, 64]\nresize: stretch\n", ""))
        some = images()
        for image, found in zip(some, find_detector(path).load().detect(some), strict=True):
            scores = [s for s in np.float32([0.4, 0.2]) + 0.5 * image.mean() / 255 if s >= 0.3]
            np.testing.assert_allclose(found.scores, scores, atol=1e-6)
            assert found.class_ids.tolist() == [2, 1][: len(scores)]
            np.testing.assert_allclose(found.boxes_yxyx, boxes[: len(scores)], atol=1e-6)


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
    assert "loaded 1× in" in printed


@pytest.mark.heavy
def test_the_threads_of_a_process_share_one_model(tmp_path, label):
    for i in range(64):
        save_image(tmp_path / "images" / f"{i}.jpg", i, (40, 60))
    threads = ["--runner", "DirectRunner", "--direct_num_workers", "2", "--direct_running_mode", "multi_threading"]
    code, printed, labels = label(tmp_path / "images", detector=save(tmp_path), options=threads)
    assert code == 0, printed
    [record] = labels.records()
    assert record["written"] == 64 and record["detector_loads"]["count"] == 1


def test_a_model_without_a_configuration_is_opened_once_to_be_checked(tmp_path, monkeypatch):
    opened, session = [], onnxruntime.InferenceSession

    def open_session(file, *args, **options):
        opened.append(file)
        return session(file, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    find_detector(save(tmp_path))
    assert opened == [str(tmp_path / "m.onnx")]
    other = tmp_path / "other"
    other.mkdir()
    table = {"output0": np.zeros((7, 30), np.float32)}  # whose outputs another decoder reads
    with pytest.raises(UsageError, match="its outputs don't fit decoder boxes_scores_labels"):
        find_detector(save(tmp_path), weights=save(other, table))


def test_the_fingerprint_is_the_files(tmp_path):
    one = fingerprint(save(tmp_path))
    assert one == fingerprint(save(tmp_path)) != fingerprint(save(tmp_path, shares={"scores": 0.1}))


@pytest.mark.parametrize(
    "outputs, options, named",
    [
        (
            {"a": BOXES, "b": ROWS["scores"]},
            {},
            r"what its outputs a \[N, 3, 4\], b \[N, 3\] mean can't be told; .*onnx: {decoder:",
        ),
        (ROWS, {"sides": (None, None)}, "the model takes any size; say which with input_size_hw"),
        (ROWS, {"layout": "nhwc"}, r"expected one input, float or uint8 \[N, 3, H, W\]; the model takes images"),
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


@pytest.mark.parametrize("share", [1e12, -1e12])
def test_classes_that_are_none_are_an_images_failure(tmp_path, share):
    save(tmp_path, {**ROWS, "labels": np.float32([1, 0, 2])}, shares={"labels": share})  # not of black images
    with pytest.raises(InvalidDetections, match="numbers that are no class ids"):
        find_detector(configured(tmp_path, "boxes_scores_labels"), options=DetectOptions(0)).load().detect(images()[:1])


def test_scores_beyond_1_are_an_images_failure(tmp_path):
    save(tmp_path, {**ROWS, "scores": np.float32([7.5, 0.3, 0.1])})
    with pytest.raises(ValueError, match="expected values from 0 to 1, got .* to 7.5; is the decoder the right one"):
        find_detector(configured(tmp_path, "boxes_scores_labels")).load().detect(images()[:1])
