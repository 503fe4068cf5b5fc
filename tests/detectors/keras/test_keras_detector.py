import numpy as np
import pytest
from labelbeam.detectors.keras import detector as detector_module
from labelbeam.detectors.keras.compiled import compiled
from labelbeam.detectors.keras.detector import KerasDetector, image_share, padded_boxes
from labelbeam.detectors.protocol import DetectOptions, Detector, PreparingDetector
from labelbeam.storage.errors import UsageError

from tests.detectors.keras.support.comparison import assert_same_detections, rows
from tests.detectors.keras.support.filled_networks import CENTERNET
from tests.detectors.keras.support.golden_weights import golden_tensors
from tests.detectors.keras.support.make_golden import PHOTOS
from tests.detectors.keras.support.photos import photo


@pytest.fixture(scope="module")
def detector(centernet_file):
    options = DetectOptions(min_score=0.4, max_detections=60, keep=("detection_multiclass_scores",))
    return KerasDetector(CENTERNET, centernet_file, options, max_batch_size=4)


@pytest.fixture(scope="module")
def found(detector):
    """What the detector finds in `images()`."""
    return detector.detect(images())


def images():
    return [photo(name) for name in PHOTOS["centernet"]]


def as_rows(found):
    return {"detection_scores": found.scores, "detection_classes": found.class_ids, "detection_boxes": found.boxes_yxyx}


def assert_equal(found, expected):
    """But for rounding: with AVX2, oneDNN adds up in another order for other batch sizes; scores differ by 3e-5."""
    assert_same_detections(as_rows(found), as_rows(expected), score_tolerance=2e-4, box_tolerance=2e-5)


def test_is_a_detector_that_batches(detector):
    assert isinstance(detector, Detector)
    assert detector.batches


def test_gives_the_published_graphs_detections(found, centernet):
    for name, detections in zip(PHOTOS["centernet"], found, strict=True):
        golden = golden_tensors(centernet.golden, name)
        expected = {k: v[: len(detections)] for k, v in rows(golden).items()}
        kept = min(np.count_nonzero(golden["detection_scores"][0] >= 0.4), 60)
        assert len(detections) == kept
        assert_same_detections(as_rows(detections), expected, 2e-4, 2e-5)
        assert detections.masks is None
        assert detections.extras["detection_multiclass_scores"].shape == (100, 90)


def test_images_that_were_prepared_before_give_the_same(detector, found):
    some = [detector.prepare(image) if i % 2 else image for i, image in enumerate(images())]
    assert isinstance(detector, PreparingDetector)
    for detections, expected in zip(detector.detect(some), found, strict=True):
        np.testing.assert_array_equal(detections.boxes_yxyx, expected.boxes_yxyx)
        np.testing.assert_array_equal(detections.scores, expected.scores)


@pytest.mark.heavy
def test_a_image_gives_the_same_alone_and_in_any_batch(detector):
    together = detector.detect(images() + images()[:2])  # 4 and a remainder of 1
    for image, found in zip(images() + images()[:2], together, strict=True):
        assert_equal(detector.detect([image])[0], found)


def test_nothing_in_nothing_out(detector):
    assert detector.detect([]) == []


def with_network(monkeypatch, wrap):
    """Lets `wrap` stand between the detector and its compiled network."""
    monkeypatch.setattr(detector_module, "compiled", lambda *args: wrap(compiled(*args)))


@pytest.mark.heavy
def test_a_batch_that_runs_out_of_memory_goes_again_in_halves(centernet_file, found, monkeypatch):
    sizes = []

    class ResourceExhaustedError(Exception):
        """Bears the name of TensorFlow's."""

    def small_device(run):
        def call(pixels, true_size_hw):
            sizes.append(len(pixels))
            if len(pixels) > 1:
                raise ResourceExhaustedError("OOM when allocating tensor")
            return run(pixels, true_size_hw)

        return call

    with_network(monkeypatch, small_device)
    options = DetectOptions(min_score=0.4, max_detections=60, keep=("detection_multiclass_scores",))
    small = KerasDetector(CENTERNET, centernet_file, options, max_batch_size=4)
    for here, wanted in zip(small.detect(images()), found, strict=True):
        assert_equal(here, wanted)
    assert sizes[-3:] == [1, 1, 1] and max(sizes) > 1
    small.detect(images()[:2])
    assert sizes[-2:] == [1, 1]  # remembered
    assert small.batch_size == 1


def test_other_errors_pass_through(centernet_file, monkeypatch):
    def broken(run):
        def call(*inputs):
            raise RuntimeError("a bug")

        return call

    with_network(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="a bug"):
        KerasDetector(CENTERNET, centernet_file, DetectOptions()).detect(images())


def test_unknown_outputs_are_refused(centernet_file):
    with pytest.raises(UsageError, match=r"--keep anchors: .* has no such output; it has detection_boxes"):
        KerasDetector(CENTERNET, centernet_file, DetectOptions(keep=("anchors",)))


def test_boxes_need_a_network_with_proposals(detector):
    with pytest.raises(UsageError, match="has no proposals whose place boxes could take"):
        detector.detect_in_boxes(images()[:1], [np.zeros((1, 4), np.float32)])


def test_boxes_are_padded():
    boxes, count = padded_boxes(np.float32([[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]]))
    assert boxes.shape == (300, 4) and count == 2 and not boxes[2:].any()
    for wrong in (np.zeros((301, 4)), np.zeros((3, 5)), np.zeros(4)):
        with pytest.raises(UsageError, match="at most 300 boxes an image"):
            padded_boxes(wrong)


def test_a_images_share_of_outputs():
    assert image_share("detection_boxes", np.arange(8).reshape(2, 4), 1, 2).tolist() == [4, 5, 6, 7]
    assert image_share("refined_box_encodings", np.arange(6), 1, 2).tolist() == [3, 4, 5]  # image-major rows
    assert image_share("anchors", np.arange(6), 1, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert image_share("image_shape", np.float32([2, 1024, 1024, 3]), 1, 2).tolist() == [1, 1024, 1024, 3]


@pytest.mark.heavy
def test_bfloat16_finds_nearly_the_same(centernet_file):
    """Random weights enlarge every rounding, and CPUs round differently: what holds is said of many detections."""
    names, options = ("coffee", "astronaut", "chelsea"), DetectOptions(min_score=0)
    exact, coarse = (
        KerasDetector(CENTERNET, centernet_file, options, precision=p).detect([photo(name) for name in names])
        for p in ("float32", "bfloat16")
    )
    for one, other in zip(exact, coarse, strict=True):
        assert other.scores.dtype == other.boxes_yxyx.dtype == np.float32
        by_rank = np.abs(one.scores - other.scores)
        assert 0 < np.median(by_rank) < 0.02 and by_rank.max() < 0.2
        distance = np.abs(centres(one)[:, np.newaxis] - centres(other)).max(axis=-1)
        distance[one.class_ids[:, np.newaxis] != other.class_ids] = np.inf
        nearest = distance.min(axis=1)
        assert np.mean(nearest < 0.02) > 0.3  # by chance: a twentieth
        assert np.median(nearest[nearest < 0.02]) < 0.005
        # What the heads give stays float32: with the 8 bits of bfloat16, scores would be equal to each other.
        assert len(np.unique(other.scores)) > 0.9 * len(other)


def centres(found):
    return (found.boxes_yxyx[:, :2] + found.boxes_yxyx[:, 2:]) / 2


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_mask_rcnn_makes_masks_of_the_kept_detections_only(mask_rcnn, tmp_path, precision):
    from labelbeam.detectors.keras import weights

    from tests.detectors.keras.support.checkpoints import mask_rcnn_zoo_keys, write_checkpoint
    from tests.detectors.keras.support.filled_networks import MASK_RCNN

    write_checkpoint(tmp_path / "ckpt-0", mask_rcnn.variables, mask_rcnn_zoo_keys())
    file = str(tmp_path / "mask_rcnn.weights.h5")
    weights.import_weights(MASK_RCNN, str(tmp_path / "ckpt-0"), file)
    options = DetectOptions(min_score=0.35, keep=("num_proposals",))
    detector = KerasDetector(MASK_RCNN, file, options, precision=precision)
    (found,) = detector.detect([photo("coffee")])
    golden = golden_tensors(mask_rcnn.golden, "coffee")
    assert found.extras["num_proposals"] == 300
    if precision == "bfloat16":
        assert abs(found.scores[0] - golden["detection_scores"][0, 0]) < 0.05
        assert found.masks.shape == (len(found), 33, 33) and found.masks.dtype == np.float32
        return
    kept = np.count_nonzero(golden["detection_scores"] >= 0.35)
    assert len(found) == kept < golden["detection_masks"].shape[1]
    np.testing.assert_allclose(found.scores, golden["detection_scores"][0, :kept], atol=5e-5, rtol=0)
    np.testing.assert_allclose(found.boxes_yxyx, golden["detection_boxes"][0, :kept], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.masks, golden["detection_masks"][0, :kept], atol=1e-3, rtol=0)
    assert len(detector.detect_in_boxes([photo("coffee")], [found.boxes_yxyx[:2]])[0]) <= 100
