"""The Keras networks with the golden weights, made once for all tests that want them. Keras is imported only for those."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def centernet():
    from tests.detectors.keras.filled_networks import CENTERNET, golden_network

    return golden_network(CENTERNET)


@pytest.fixture(scope="session")
def mask_rcnn():
    from tests.detectors.keras.filled_networks import MASK_RCNN, golden_network

    return golden_network(MASK_RCNN)


@pytest.fixture(scope="session")
def centernet_checkpoint(centernet, tmp_path_factory):
    """A zoo-style checkpoint of CenterNet: the path that stands for its files."""
    from tests.detectors.keras.checkpoints import centernet_zoo_keys, write_checkpoint

    path = tmp_path_factory.mktemp("centernet") / "ckpt-0"
    write_checkpoint(path, centernet.variables, centernet_zoo_keys(), extra={"save_counter": np.int64(1)})
    return str(path)


@pytest.fixture(scope="session")
def centernet_file(centernet_checkpoint, tmp_path_factory):
    """A weights file of CenterNet, imported from the checkpoint."""
    from labelbeam.detectors.keras.weights import import_weights

    from tests.detectors.keras.filled_networks import CENTERNET

    file = str(tmp_path_factory.mktemp("centernet") / "centernet.weights.h5")
    import_weights(CENTERNET, centernet_checkpoint, file)
    return file
