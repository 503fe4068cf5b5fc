"""Every stage of both networks against the published graphs with stand-in weights, and end to end, on real photos.

Each stage gets the reference's own input first, so that differences can't add up and decisions must be equal; the
tolerances are a few times what two runs of TensorFlow differ by.
"""

import keras
import numpy as np
import pytest
from keras import ops
from labelbeam.detectors.keras.compiled import compiled
from labelbeam.detectors.keras.mask_rcnn import box_classifier, crop_and_resize, network, region_proposal
from labelbeam.detectors.keras.mask_rcnn.boxes import decode
from labelbeam.detectors.keras.mask_rcnn.nms import greedy_nms

from tests.detectors.keras.support.comparison import assert_same_detections, greatest_difference, rows
from tests.detectors.keras.support.filled_networks import CENTERNET, MASK_RCNN, standin_network
from tests.detectors.keras.support.formulas import crop_positions
from tests.detectors.keras.support.photos import CENTERNET_PHOTOS, MASK_RCNN_PHOTOS, photo
from tests.detectors.keras.support.reference import CENTERNET_TENSORS, MASK_RCNN_LARGE_TENSORS, MASK_RCNN_TENSORS, fetch
from tests.detectors.keras.support.tolerances import CENTERNET_LAYERS, MASK_RCNN_LAYERS

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def centernet():
    return standin_network(CENTERNET)


@pytest.fixture(scope="module")
def mask_rcnn():
    return standin_network(MASK_RCNN)


def check(record_property, name, found, expected, tolerance):
    """Asserts, and keeps the difference for the report of `--junit-xml`."""
    difference = greatest_difference(found, expected)
    record_property(name, difference)
    print(f"{name}: {difference:.2g} of {tolerance:.2g} allowed; greatest value {np.abs(expected).max():.3g}")
    assert difference <= tolerance, name


def stage_by_stage(built, start, outputs, expected):
    """Runs a functional model from each of `outputs` to the next, from the reference's value; name and result."""
    value = expected["preprocessed"]
    for key, output in outputs.items():
        yield key, compiled(keras.Model(start, output), built, ("float32",))(value)
        start, value = output, expected[key]


def samples_inside(boxes):
    """Which samples of each box's crop lie inside the feature map, `[N, 34]`: one unit in the last place may decide."""
    return np.array(
        [
            [0 <= p <= 63 for axis in (0, 1) for p in crop_positions(box[axis], box[axis + 2], 64, 17)]
            for box in np.asarray(boxes, np.float32)
        ]
    )


@pytest.mark.parametrize("name", CENTERNET_PHOTOS)
def test_centernet(name, centernet, record_property):
    image = photo(name)
    expected = fetch("centernet", image, CENTERNET_TENSORS)

    def compare(key, found, tolerance):
        check(record_property, key, found, expected[key], tolerance)

    pixels, true_size_hw = centernet.preprocess(image)
    compare("preprocessed", pixels[None], 1e-6)
    assert true_size_hw.tolist() == expected["true_shape"][0, :2].tolist()

    extractor = centernet.feature_extractor
    outputs = {key: extractor.get_layer(key).output for key in CENTERNET_LAYERS} | {"features": extractor.output}
    for key, found in stage_by_stage(centernet, extractor.input, outputs, expected):
        compare(key, found, CENTERNET_LAYERS.get(key, 4e-4))

    features = ops.convert_to_tensor(expected["features"])
    compare("center_logits", centernet.center_head(features), 1e-3)
    cells = np.arange(128 * 128, dtype=np.int32)[None]
    for key, head, tolerance in (("scale", centernet.scale_head, 4e-3), ("offset", centernet.offset_head, 3e-4)):
        compare(key, ops.reshape(head(features, cells), (1, 128, 128, 2)), tolerance)

    # From equal inputs, the same peaks in the same order.
    decoded = centernet.decode(features, ops.convert_to_tensor(expected["center_logits"]), true_size_hw[None])
    compare("detection_scores", decoded["detection_scores"], 1e-6)
    compare("detection_classes", decoded["detection_classes"], 0)
    compare("detection_multiclass_scores", decoded["detection_multiclass_scores"], 1e-6)
    compare("detection_boxes", decoded["detection_boxes"], 2e-5)
    compare("detection_boxes_strided", decoded["detection_boxes_strided"], 2e-3)
    compare("num_detections", decoded["num_detections"], 0)

    outputs = compiled(centernet, centernet, ("float32", "int32"))(pixels[None], true_size_hw[None])
    pairs = assert_same_detections(rows(outputs), rows(expected), score_tolerance=2e-4, box_tolerance=2e-5)
    for key, tolerance in (
        ("detection_scores", 2e-4),
        ("detection_boxes", 2e-5),
        ("detection_boxes_strided", 2e-3),
        ("detection_multiclass_scores", 2e-4),
    ):
        here, there = (
            np.stack([np.asarray(found[key])[0, k] for k in index])
            for found, index in zip((outputs, expected), zip(*pairs, strict=True), strict=True)
        )
        check(record_property, f"end to end {key}", here, there, tolerance)


@pytest.mark.parametrize("name", MASK_RCNN_PHOTOS)
def test_mask_rcnn(name, mask_rcnn, record_property):
    image = photo(name)
    expected = fetch("mask_rcnn", image, MASK_RCNN_TENSORS)

    def compare(key, found, tolerance):
        check(record_property, key, found, expected[key], tolerance)

    # First stage.
    pixels, _ = mask_rcnn.preprocess(image)
    compare("preprocessed", pixels[None], 1e-6)
    stage = mask_rcnn.first_stage
    outputs = {key: stage.get_layer(layer).output for key, (layer, _) in MASK_RCNN_LAYERS.items()}
    for key, found in stage_by_stage(mask_rcnn, stage.input, outputs, expected):
        compare(key, found, MASK_RCNN_LAYERS[key][1])
    features = ops.convert_to_tensor(expected["block17_20_ac"])
    codes, logits, hidden = mask_rcnn.rpn_head(features)
    compare("rpn_features", hidden, 2e-4)
    compare("rpn_box_encodings", codes, 2e-4)
    compare("rpn_objectness_predictions_with_background", logits, 2e-4)
    compare("anchors", mask_rcnn.anchors, 0)

    # Proposals: the same decisions from equal inputs.
    codes, logits = (
        ops.convert_to_tensor(expected[k]) for k in ("rpn_box_encodings", "rpn_objectness_predictions_with_background")
    )
    indices, selected = compiled(
        lambda c, s: greedy_nms(decode(c, mask_rcnn.anchors), ops.softmax(s, axis=-1)[..., 1], 300, 0.7),
        mask_rcnn,
        ("float32", "float32"),
    )(codes, logits)
    assert np.asarray(indices)[0][np.asarray(selected)[0]].tolist() == expected["proposal_indices"].tolist()
    proposals, count = compiled(
        lambda c, s: region_proposal.select_proposals(c, s, mask_rcnn.anchors, (1024, 1024)),
        mask_rcnn,
        ("float32", "float32"),
    )(codes, logits)
    compare("num_proposals", count, 0)
    compare("proposal_boxes", proposals, 5e-3)
    compare("proposal_boxes_normalized", np.asarray(proposals) / 1024, 5e-6)

    # Second stage.
    boxes = ops.convert_to_tensor(expected["proposal_boxes_normalized"])
    codes, logits = compiled(
        lambda f, b: mask_rcnn.classify_boxes(mask_rcnn.croppable(f), b)[:2], mask_rcnn, ("float32", "float32")
    )(features, boxes)
    compare("refined_box_encodings", codes, 2e-4)
    compare("class_predictions_with_background", logits, 2e-4)
    detections = box_classifier.select_detections(
        ops.convert_to_tensor(expected["refined_box_encodings"][None]),
        ops.convert_to_tensor(expected["raw_detection_scores"]),
        ops.convert_to_tensor(expected["proposal_boxes"]),
        expected["num_proposals"].astype(np.int32),
        (1024, 1024),
    )
    compare("detection_boxes", detections["boxes"], 1e-6)
    compare("detection_scores", detections["scores"], 0)
    compare("detection_classes", detections["classes"] + 1, 0)
    compare("detection_anchor_indices", detections["proposal_indices"], 0)
    compare("num_detections", detections["num_detections"], 0)
    compare(
        "raw_detection_boxes",
        box_classifier.best_class_boxes(
            ops.convert_to_tensor(expected["refined_box_encodings"][None]),
            ops.convert_to_tensor(expected["class_predictions_with_background"][None]),
            ops.convert_to_tensor(expected["proposal_boxes"]),
            (1024, 1024),
        ),
        1e-6,
    )

    # Third stage, of the reference's detections.
    masks = compiled(
        lambda f, *args: mask_rcnn.masks(mask_rcnn.croppable(f), *args),
        mask_rcnn,
        ("float32", "float32", "int32", "int32"),
    )
    found = masks(
        features,
        expected["detection_boxes"][0],
        np.zeros(100, np.int32),
        expected["detection_classes"][0].astype(np.int32) - 1,
    )
    compare("detection_masks", np.asarray(found)[None], 1e-3)

    # End to end, every output.
    names = tuple(n for n in mask_rcnn.output_names if n not in ("mask_predictions", "box_classifier_features"))
    outputs = compiled(lambda p: mask_rcnn(p, outputs=names), mask_rcnn, ("float32",))(pixels[None])
    for key, tolerance in (
        ("anchors", 0),
        ("image_shape", 0),
        ("num_proposals", 0),
        ("num_detections", 0),
        ("rpn_box_encodings", 2e-4),
        ("rpn_objectness_predictions_with_background", 2e-4),
    ):
        check(record_property, f"end to end {key}", outputs[key], expected[key], tolerance)
    # Of proposals whose objectness is equal but for rounding, either may come first: each is compared with its like.
    found, wanted = (np.asarray(o["proposal_boxes_normalized"])[0] for o in (outputs, expected))
    distance = np.abs(wanted[:, np.newaxis] - found).max(axis=2)
    like, alike = distance.argmin(axis=1), distance.min(axis=1) <= 5e-6
    record_property("proposals without their like", int((~alike).sum()))
    for key, tolerance in (("final_anchors", 5e-6), ("proposal_boxes", 5e-3)):
        here, there = np.asarray(outputs[key])[0][like][alike], expected[key][0][alike]
        check(record_property, f"end to end {key}", here, there, tolerance)
    # Where a proposal ends at the border, its last bit decides if the crop's last row is zero: such rows may differ.
    alike &= (samples_inside(found[like]) == samples_inside(wanted)).all(axis=1)
    record_property("proposals whose crop's border differs", int((~alike).sum()))
    assert alike.mean() >= 0.97
    for key, tolerance in (
        ("refined_box_encodings", 2e-4),
        ("class_predictions_with_background", 2e-4),
        ("raw_detection_scores", 5e-5),
        ("raw_detection_boxes", 1e-5),
    ):
        here = np.asarray(outputs[key]).reshape(300, -1)[like][alike]
        there = np.asarray(expected[key]).reshape(300, -1)[alike]
        check(record_property, f"end to end {key}", here, there, tolerance)
    for key, named, tolerance in (
        ("rpn_features_to_crop", "block17_20_ac", 3e-4),
        ("rpn_box_predictor_features", "rpn_features", 2e-4),
    ):
        check(record_property, f"end to end {key}", outputs[key], expected[named], tolerance)
    pairs = assert_same_detections(
        rows(outputs),
        rows(expected),
        score_tolerance=5e-5,
        box_tolerance=1e-5,
        may_differ=~alike[expected["detection_anchor_indices"][0].astype(int)],
    )
    for key, tolerance in (
        ("detection_scores", 5e-5),
        ("detection_boxes", 1e-5),
        ("detection_masks", 1e-3),
        ("detection_multiclass_scores", 5e-5),
        ("detection_anchor_indices", 0),
    ):
        here, there = (
            np.stack([np.asarray(found[key])[0, k] for k in index])
            for found, index in zip((outputs, expected), zip(*pairs, strict=True), strict=True)
        )
        there = like[there.astype(int)] if key == "detection_anchor_indices" else there
        check(record_property, f"end to end {key}", here, there, tolerance)


def test_mask_rcnn_crops_and_tower(mask_rcnn, record_property):
    """The large tensors of one photo: crops and the tower's layers, for the proposals and for the detections."""
    image = photo(MASK_RCNN_PHOTOS[0])
    expected = fetch("mask_rcnn", image, MASK_RCNN_TENSORS)
    large = fetch("mask_rcnn", image, MASK_RCNN_LARGE_TENSORS)
    features = ops.convert_to_tensor(expected["block17_20_ac"])
    for key, boxes in (("crops", "proposal_boxes_normalized"), ("mask_crops", "detection_boxes")):
        boxes = expected[boxes][0]
        crops = crop_and_resize.crop_and_resize(features, boxes, np.zeros(len(boxes), np.int32), network.CROP_HW)
        check(record_property, key, crops, large[key], 0)
    tower = mask_rcnn.tower
    layers = keras.Model(tower.inputs, [tower.get_layer(n).output for n in ("mixed_7a", "block8_10_sum", "conv_7b")])
    probe = compiled(lambda crops: layers([crops, mask_rcnn.mixed_7a_reductions(crops)]), mask_rcnn, ("float32",))
    some = 50
    for key, found in zip(("mixed_7a", "block8_10", "conv_7b_ac"), probe(large["crops"][:some]), strict=True):
        check(record_property, key, found, large[key][:some], 5e-4)
    found = probe(large["mask_crops"][:some])[2]
    check(record_property, "mask conv_7b_ac", found, large["mask_conv_7b_ac"][:some], 5e-4)
    logits = mask_rcnn.mask_head(ops.convert_to_tensor(large["mask_conv_7b_ac"][:20]))
    check(record_property, "mask_predictions", np.transpose(logits, (0, 3, 1, 2)), large["mask_predictions"][:20], 1e-3)


def test_mask_rcnn_rows_of_a_batch_and_own_boxes(mask_rcnn, record_property):
    """Images of a batch are independent of each other; boxes given from outside take the place of the proposals."""
    names = (
        "num_detections",
        "detection_boxes",
        "detection_classes",
        "detection_scores",
        "detection_anchor_indices",
        "refined_box_encodings",
    )
    pixels = [mask_rcnn.preprocess(photo(name))[0] for name in MASK_RCNN_PHOTOS]
    detect = compiled(lambda p: mask_rcnn(p, outputs=names), mask_rcnn, ("float32",))
    together = detect(np.stack(pixels))
    expected = [fetch("mask_rcnn", photo(name), MASK_RCNN_TENSORS) for name in MASK_RCNN_PHOTOS]
    for i in range(2):
        assert_same_detections(rows(together, i), rows(expected[i]), score_tolerance=5e-5, box_tolerance=1e-5)
        alone = detect(pixels[i][None])
        found = {key: np.asarray(value)[i : i + 1] for key, value in together.items()}
        image_major = np.asarray(together["refined_box_encodings"])
        found["refined_box_encodings"] = image_major[300 * i : 300 * (i + 1)]
        for key in names:
            check(record_property, f"{key} of image {i} alone", found[key], alone[key], 1e-5)
    in_boxes = compiled(
        lambda p, b, n: mask_rcnn(p, outputs=names, proposal_boxes_normalized=b, num_proposals=n),
        mask_rcnn,
        ("float32", "float32", "int32"),
    )
    given = in_boxes(pixels[0][None], expected[0]["proposal_boxes_normalized"], expected[0]["num_proposals"])
    assert_same_detections(rows(given), rows(expected[0]), score_tolerance=5e-5, box_tolerance=1e-5)
    alone = in_boxes(pixels[0][None], expected[0]["proposal_boxes_normalized"], np.int32([40]))
    assert np.asarray(alone["detection_anchor_indices"]).max() < 40
