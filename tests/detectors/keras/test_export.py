import keras
import numpy as np
import pytest
from labelbeam.detectors.keras import export
from labelbeam.detectors.keras.centernet.preprocess import preprocess as centernet_preprocess
from labelbeam.detectors.keras.mask_rcnn.preprocess import preprocess as mask_rcnn_preprocess
from labelbeam.detectors.signature import read_signature
from labelbeam.storage.errors import UsageError

from tests.detectors.keras.support.comparison import assert_same_detections, rows
from tests.detectors.keras.support.filled_networks import CENTERNET
from tests.detectors.keras.support.golden_weights import golden_tensors
from tests.detectors.keras.support.photos import photo

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports SavedModels")


@pytest.mark.parametrize(
    "in_graph, on_host",
    [(export.centernet_input, centernet_preprocess), (export.mask_rcnn_input, mask_rcnn_preprocess)],
)
@pytest.mark.parametrize("size_hw", [(401, 1024), (33, 40), (600, 400)])
def test_the_graph_resizes_as_the_host_does(in_graph, on_host, size_hw):
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (2, *size_hw, 3), dtype=np.uint8)
    pixels, true_size_hw = in_graph(tf.constant(images))
    for i in range(2):
        expected, expected_size = on_host(images[i])
        np.testing.assert_allclose(pixels[i], expected, atol=2.4e-7, rtol=0)
        np.testing.assert_array_equal(true_size_hw[i], expected_size)


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.heavy
def test_a_saved_model_gives_the_published_outputs(centernet, centernet_file, tmp_path, batch_size):
    import tensorflow as tf

    outputs = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    export.export_saved_model(
        CENTERNET,
        centernet_file,
        str(tmp_path / "model"),
        batch_size=batch_size,
        outputs=None if batch_size else outputs,
    )
    signature = read_signature(str(tmp_path / "model"))
    assert signature.input_name == "input_tensor" and signature.fixed_batch == (batch_size == 1)
    assert signature.outputs == tuple(sorted(centernet.network.output_names if batch_size else outputs))
    model = tf.saved_model.load(str(tmp_path / "model"))
    images = np.stack([photo("coffee")] * (batch_size or 2))
    found = model.signatures["serving_default"](input_tensor=tf.constant(images))
    golden = golden_tensors(centernet.golden, "coffee")
    for i in range(len(images)):
        assert_same_detections(rows(found, i), rows(golden), score_tolerance=2e-4, box_tolerance=2e-5)


def test_unknown_outputs_are_refused(centernet_file, tmp_path):
    with pytest.raises(UsageError, match=r"--outputs masks: .* has no such output"):
        export.export_saved_model(CENTERNET, centernet_file, str(tmp_path), outputs=["masks"])


def test_a_saved_model_is_not_overwritten(centernet_file, tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UsageError, match="there's a SavedModel already"):
        export.export_saved_model(CENTERNET, centernet_file, str(tmp_path))
