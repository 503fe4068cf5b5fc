"""Both networks with weights to test with: the golden ones (fixtures of `tests/conftest.py`), or the stand-ins'."""

from types import SimpleNamespace

import numpy as np
from labelbeam.detectors.keras import networks, published, weights

from tests.detectors.keras.support.golden_weights import GOLDEN, golden_variables
from tests.standins import standin

CENTERNET, MASK_RCNN = "centernet_resnet50v2_512x512", "mask_rcnn_inception_resnet_v2_1024x1024"
FILES = {CENTERNET: "centernet", MASK_RCNN: "mask_rcnn"}  # what golden files and stand-ins are called


def golden_network(detector: str):
    """`network` filled with the golden weights, its `variables` by published name, and the `golden` file."""
    network = networks.build_network(detector)
    with np.load(GOLDEN / f"{FILES[detector]}.npz") as file:
        golden = dict(file)
    variables = golden_variables(golden, weights.needed_variables(network))
    weights.fill(network, variables)
    return SimpleNamespace(
        network=network, variables=variables, golden=golden, fingerprint=published.fingerprint(variables)
    )


def standin_network(detector: str):
    """The network filled with the stand-in's weights; skips the test that asks where there's none."""
    network = networks.build_network(detector)
    weights.fill(network, standin_variables(detector, network))
    return network


def standin_variables(detector: str, network) -> dict[str, np.ndarray]:
    """Published name -> array, of the stand-in's SavedModel, for every variable of the network."""
    name = FILES[detector]
    return published.matched(
        published.read_variables(standin(name)), weights.needed_variables(network), network.unused_variables, name
    )
