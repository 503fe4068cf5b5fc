"""Both networks with the golden weights; see the fixtures in `tests/conftest.py`."""
from types import SimpleNamespace

import numpy as np
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
