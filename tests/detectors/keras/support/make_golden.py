"""Makes the golden files anew from the published graphs with stand-in weights; only where the stand-ins are unpacked.

    LABELBEAM_STANDINS=FOLDER python -m tests.detectors.keras.support.make_golden PACKED_STANDINS

PACKED_STANDINS is the folder with the recipes (NAME/kernels.json) that the stand-ins were unpacked from.
"""

import json
import sys
from pathlib import Path

import numpy as np
from labelbeam.detectors.keras import networks, published, weights

from tests.detectors.keras.support.filled_networks import FILES, standin_variables
from tests.detectors.keras.support.golden_weights import GOLDEN, golden_variables
from tests.detectors.keras.support.photos import photo
from tests.detectors.keras.support.reference import CENTERNET_TENSORS, MASK_RCNN_TENSORS, fetch
from tests.standins import standin

PHOTOS = {"centernet": ("coffee", "portrait", "panorama"), "mask_rcnn": ("coffee",)}
TENSORS = {"centernet": CENTERNET_TENSORS, "mask_rcnn": MASK_RCNN_TENSORS}
# Of large tensors a sample is kept: every so many cells and channels.
SAMPLES = {
    "centernet": {
        "conv1_conv": (32, 8),
        "pool1_pool": (16, 8),
        "conv2_block3_out": (8, 32),
        "conv3_block4_out": (8, 64),
        "conv4_block6_out": (4, 128),
        "conv5_block3_out": (4, 128),
        "features": (16, 8),
        "center_logits": (16, 10),
    },
    "mask_rcnn": {
        "activation": (64, 8),
        "mixed_5b": (16, 40),
        "block35_10_ac": (16, 40),
        "mixed_6a": (16, 136),
        "block17_20_ac": (8, 68),
        "rpn_features": (16, 64),
    },
}
WHOLE = {
    "centernet": ("true_shape", "detection_boxes", "detection_scores", "detection_classes"),
    "mask_rcnn": (
        "proposal_boxes_normalized",
        "num_proposals",
        "detection_boxes",
        "detection_scores",
        "detection_classes",
        "detection_anchor_indices",
        "num_detections",
    ),
}
NUM_MASKS = 12


def sample(tensor: np.ndarray, every: tuple[int, int]) -> np.ndarray:
    """Every so many cells and channels of `[B, H, W, C]`."""
    cells, channels = every
    return np.ascontiguousarray(tensor[:, ::cells, ::cells, ::channels])


def make(detector: str, packed: Path) -> None:
    name = FILES[detector]
    recipe = json.loads((packed / name / "kernels.json").read_text())
    prefix = published.checkpoint_prefix(standin(name))
    names = published.full_names(prefix)
    hashed = {names[key]: kernel for key, kernel in recipe["kernels"].items()}
    network = networks.build_network(detector)
    needed = weights.needed_variables(network)
    variables = standin_variables(detector, network)
    kernels = sorted(hashed)
    content = {
        "seed": recipe["seed"],
        "kernels": kernels,
        "hash_keys": [hashed[k]["hash_key"] for k in kernels],
        "scales": np.float64([hashed[k]["scale"] for k in kernels]),
        "small": np.concatenate([variables[n].ravel() for n in sorted(needed) if n not in hashed]),
    }
    remade = golden_variables({key: np.asarray(value) for key, value in content.items()}, needed)
    assert all(np.array_equal(remade[n], variables[n]) for n in needed)
    for image in PHOTOS[name]:
        values = fetch(name, photo(image), TENSORS[name])
        content |= {f"{image}/{tensor}": sample(values[tensor], every) for tensor, every in SAMPLES[name].items()}
        content |= {f"{image}/{tensor}": values[tensor] for tensor in WHOLE[name]}
        if name == "mask_rcnn":
            content[f"{image}/detection_masks"] = values["detection_masks"][:, :NUM_MASKS]
    np.savez_compressed(GOLDEN / f"{name}.npz", **content)


if __name__ == "__main__":
    for detector in FILES:
        make(detector, Path(sys.argv[1]))
