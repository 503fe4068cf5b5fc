"""Both networks against what the published graphs compute for real photos, from small files; no stand-ins needed."""

import keras
import numpy as np
import pytest
from labelbeam.detectors.keras.compiled import compiled

from tests.detectors.keras.support.comparison import assert_same_detections, greatest_difference, rows
from tests.detectors.keras.support.golden_weights import golden_tensors
from tests.detectors.keras.support.make_golden import PHOTOS, SAMPLES, sample
from tests.detectors.keras.support.photos import photo
from tests.detectors.keras.support.tolerances import CENTERNET_LAYERS, MASK_RCNN_LAYERS

CENTERNET_TOLERANCES = {**CENTERNET_LAYERS, "pool1_pool": 2e-5, "features": 4e-4, "center_logits": 1e-3}


def test_centernet_layer_by_layer(centernet):
    network = centernet.network
    extractor = network.feature_extractor
    names = [name for name in SAMPLES["centernet"] if name not in ("features", "center_logits")]
    probe = keras.Model(extractor.input, [*(extractor.get_layer(n).output for n in names), extractor.output])
    pixels, _ = network.preprocess(photo("coffee"))
    *tensors, features = compiled(probe, network, ("float32",))(pixels[None])
    tensors = dict(zip(names, tensors, strict=True))
    tensors |= {"features": features, "center_logits": network.center_head(features)}
    for name, every in SAMPLES["centernet"].items():
        found = sample(np.asarray(tensors[name]), every)
        assert greatest_difference(found, centernet.golden[f"coffee/{name}"]) <= CENTERNET_TOLERANCES[name], name


@pytest.mark.heavy
def test_centernet_detections_of_images_that_share_a_batch(centernet):
    inputs = [centernet.network.preprocess(photo(name)) for name in PHOTOS["centernet"]]
    batch = map(np.stack, zip(*inputs, strict=True))
    outputs = compiled(centernet.network, centernet.network, ("float32", "int32"))(*batch)
    for i, name in enumerate(PHOTOS["centernet"]):
        golden = golden_tensors(centernet.golden, name)
        np.testing.assert_array_equal(inputs[i][1], golden["true_shape"][0, :2])
        assert_same_detections(rows(outputs, i), rows(golden), score_tolerance=2e-4, box_tolerance=2e-5)
        assert float(outputs["num_detections"][i]) == 100


@pytest.mark.heavy
def test_mask_rcnn(mask_rcnn):
    network, golden = mask_rcnn.network, golden_tensors(mask_rcnn.golden, "coffee")
    pixels, _ = network.preprocess(photo("coffee"))
    layers = {name: found for name, found in MASK_RCNN_LAYERS.items() if name in SAMPLES["mask_rcnn"]}
    first = network.first_stage
    probe = keras.Model(first.input, [first.get_layer(layer).output for layer, _ in layers.values()])
    tensors = compiled(probe, network, ("float32",))(pixels[None])
    for (name, (_, tolerance)), tensor in zip(layers.items(), tensors, strict=True):
        found = sample(np.asarray(tensor), SAMPLES["mask_rcnn"][name])
        assert greatest_difference(found, golden[name]) <= tolerance, name
    names = (
        "rpn_box_predictor_features",
        "proposal_boxes_normalized",
        "num_proposals",
        "num_detections",
        "detection_boxes",
        "detection_classes",
        "detection_scores",
        "detection_anchor_indices",
    )
    outputs, croppable = compiled(lambda p: network.detect(p, names), network, ("float32",))(pixels[None])
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    hidden = sample(outputs["rpn_box_predictor_features"], SAMPLES["mask_rcnn"]["rpn_features"])
    assert greatest_difference(hidden, golden["rpn_features"]) <= 2e-4
    assert greatest_difference(outputs["proposal_boxes_normalized"], golden["proposal_boxes_normalized"]) <= 5e-6
    assert outputs["num_proposals"] == golden["num_proposals"] and outputs["num_detections"] == golden["num_detections"]
    pairs = assert_same_detections(rows(outputs), rows(golden), score_tolerance=5e-5, box_tolerance=1e-5)
    assert all(outputs["detection_anchor_indices"][0, i] == golden["detection_anchor_indices"][0, j] for i, j in pairs)
    some = golden["detection_masks"].shape[1]
    masks = compiled(network.masks, network, ("float32", "float32", "int32", "int32"))(
        croppable,
        golden["detection_boxes"][0, :some],
        np.zeros(some, np.int32),
        golden["detection_classes"][0, :some].astype(np.int32) - 1,
    )
    assert greatest_difference(masks, golden["detection_masks"][0]) <= 1e-3
