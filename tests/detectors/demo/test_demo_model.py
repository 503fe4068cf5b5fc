"""The network can learn, and the SavedModel in the repository keeps the published signature and finds what is there."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from labelbeam.detectors.demo import MODEL_FOLDER, export
from labelbeam.detectors.demo.evaluate import average_precision, paste_mask
from labelbeam.detectors.demo.examples import MASK_SIDE, letterbox, letterboxed_hw, make_example, mask_grid, sample_mask
from labelbeam.detectors.demo.network import build_network, topology
from labelbeam.detectors.demo.scenes import draw_scene
from labelbeam.detectors.demo.shapes import CLASS_NAMES
from labelbeam.detectors.demo.train import batches, make_train_step

OUTPUTS = {
    "num_detections": (1,),
    "detection_boxes": (1, 100, 4),
    "detection_classes": (1, 100),
    "detection_scores": (1, 100),
    "detection_multiclass_scores": (1, 100, len(CLASS_NAMES) + 1),
    "detection_masks": (1, 100, MASK_SIDE, MASK_SIDE),
}


@pytest.fixture(scope="module")
def detect():
    return tf.saved_model.load(str(MODEL_FOLDER)).signatures["serving_default"]


def test_the_loss_falls_within_a_few_steps():
    keras.utils.set_random_seed(1)
    example = make_example(draw_scene(500_000, num_objects=6))
    step = make_train_step(build_network(), keras.optimizers.Adam(2e-3))
    (batch,) = batches(example, 1, 1, seed=1)
    losses = [float(step(*batch)[0]) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_folding_batch_norm_changes_nothing():
    keras.utils.set_random_seed(2)
    network = build_network()
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    canvas = tf.constant(rng.uniform(-1, 1, (1, 320, 320, 3)), tf.float32)
    folded = topology(canvas, export.PublishedDetector(network)._conv)
    for name, expected in network(canvas, training=False).items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(folded[name] / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(300, 400), (480, 240), (900, 700), (64, 64), (3, 2000), (1, 1)])
def test_the_graph_letterboxes_as_training_does(size_hw):
    smooth = keras.ops.image.resize(np.random.default_rng(3).uniform(0, 255, (1, 9, 9, 3)), size_hw, "bilinear")
    image = np.asarray(smooth[0]).astype(np.uint8)
    canvas, content_hw = export.letterbox(image[None])
    assert tuple(content_hw.numpy().astype(int)) == letterboxed_hw(size_hw)
    assert np.abs(canvas[0] - letterbox(image).astype(np.float32)).max() <= 1.01  # Pillow rounds twice


def test_a_sampled_mask_pasted_again_is_the_mask():
    scene = draw_scene(11, size_hw=(240, 400))
    height, width = scene.image.shape[:2]
    for box, mask in zip(scene.boxes_yxyx, scene.masks, strict=True):
        sampled = sample_mask(mask, mask_grid(box, (height, width)))
        pasted = paste_mask(sampled, box / np.float32([height, width, height, width]), (height, width))
        assert (pasted & mask).sum() / (pasted | mask).sum() > 0.9


def test_signature_is_that_of_the_published_models(detect):
    (spec,) = detect.structured_input_signature[1].values()
    assert list(detect.structured_input_signature[1]) == ["input_tensor"]
    assert (spec.dtype, spec.shape.as_list()) == (tf.uint8, [1, None, None, 3])
    assert {name: tuple(output.shape) for name, output in detect.structured_outputs.items()} == OUTPUTS
    assert {output.dtype for output in detect.structured_outputs.values()} == {tf.float32}


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 700), (20, 5000), (5000, 20), (37, 53), (1500, 1100)])
def test_any_picture_size_is_fine(detect, size_hw):
    image = np.random.default_rng(4).integers(0, 256, (1, *size_hw, 3), dtype=np.uint8)
    outputs = {name: value.numpy() for name, value in detect(input_tensor=image).items()}
    assert {name: value.shape for name, value in outputs.items()} == OUTPUTS
    for name, value in outputs.items():
        assert np.isfinite(value).all(), name
        assert name in ("num_detections", "detection_classes") or (value.min() >= 0 and value.max() <= 1), name


def test_rows_are_what_the_signature_says(detect):
    scene = draw_scene(12, num_objects=10)
    outputs = {name: value.numpy()[0] for name, value in detect(input_tensor=scene.image[None]).items()}
    count = int(outputs["num_detections"])
    scores = outputs["detection_scores"]
    assert 0 < count <= 100 and (np.diff(scores) <= 0).all() and (scores[:count] > 0).all() and (scores[count:] == 0).all()
    boxes = outputs["detection_boxes"][:count]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    classes = outputs["detection_classes"]
    assert set(classes[:count]) <= set(range(1, len(CLASS_NAMES) + 1)) and (classes[count:] == 1).all()
    sure = np.flatnonzero(scores > 0.5)
    np.testing.assert_array_equal(outputs["detection_multiclass_scores"][sure, 1:].argmax(axis=1) + 1, classes[sure])
    assert not outputs["detection_masks"][count:].any()


def test_the_model_is_small():
    assert sum(path.stat().st_size for path in MODEL_FOLDER.rglob("*") if path.is_file()) <= 5e6


def test_average_precision_on_unseen_scenes():
    pytest.importorskip("pycocotools")
    figures = average_precision(MODEL_FOLDER, range(12))
    assert figures["box"] > 0.65, figures
    assert figures["mask"] > 0.55, figures
