"""Both networks with the golden weights, made once for all tests that want them."""
from types import SimpleNamespace

import numpy as np
import pytest
from labelbeam.detectors.native import networks, published, weights

from .golden_weights import GOLDEN, golden_variables

CENTERNET, MASK_RCNN = "centernet_resnet50v2_512x512", "mask_rcnn_inception_resnet_v2_1024x1024"


def golden_network(detector: str, name: str):
    """`network` filled with the golden weights, its `variables` by published name, and the `golden` file."""
    network = networks.build_network(detector)
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    variables = golden_variables(golden, weights.needed_variables(network))
    weights.fill(network, variables)
    return SimpleNamespace(network=network, variables=variables, golden=golden,
                           fingerprint=published.fingerprint(variables))


@pytest.fixture(scope="session")
def centernet():
    return golden_network(CENTERNET, "centernet")


@pytest.fixture(scope="session")
def mask_rcnn():
    return golden_network(MASK_RCNN, "mask_rcnn")


@pytest.fixture(scope="session")
def centernet_file(centernet, tmp_path_factory):
    """A weights file of CenterNet, imported from a zoo-style checkpoint."""
    from .checkpoints import centernet_zoo_keys, write_checkpoint
    folder = tmp_path_factory.mktemp("centernet")
    write_checkpoint(folder / "ckpt-0", centernet.variables, centernet_zoo_keys(), extra={"save_counter": np.int64(1)})
    weights.import_weights(CENTERNET, str(folder / "ckpt-0"), str(folder / "centernet.weights.h5"))
    return str(folder / "centernet.weights.h5")
