"""Both networks through PyTorch on a GPU that isn't there: its tensors have shapes and a device, and no values.

    KERAS_BACKEND=torch KERAS_TORCH_DEVICE=cuda python -m tests.detectors.keras.support.imagined_gpu

Fails where a network mixes a tensor of the GPU with one of the host, or with an array of NumPy's, or asks for values.
Prints how many outputs were on the GPU.
"""

import numpy as np
import torch
from labelbeam.detectors.keras.networks import NETWORKS, build_network
from labelbeam.detectors.protocol import MAX_BOXES
from torch._subclasses.fake_tensor import FakeTensorMode

BATCH, MASKS = 2, 8


def outputs_of(name: str, precision: str) -> list[torch.Tensor]:
    """Every output that the network has, with its own proposals and with box prompts."""
    from keras import ops

    def zeros(shape, dtype="float32"):
        return ops.convert_to_tensor(np.zeros(shape, dtype))

    network = build_network(name, precision)
    pixels = zeros((BATCH, *network.input_size_hw, 3))
    if not network.has_proposals:
        return [*network(pixels, zeros((BATCH, 2), "int32"), outputs=network.output_names).values()]
    network.one_by_one = False  # as on a GPU
    found, croppable = network.detect(pixels, network.output_names)
    prompted, _ = network.detect(pixels, network.output_names, zeros((BATCH, MAX_BOXES, 4)), zeros((BATCH,), "int32"))
    masks = network.masks(croppable, zeros((MASKS, 4)), zeros((MASKS,), "int32"), zeros((MASKS,), "int32"))
    return [*found.values(), *prompted.values(), masks]


def main() -> None:
    with FakeTensorMode(), torch.no_grad():
        found = [output for name in NETWORKS for dtype in ("float32", "bfloat16") for output in outputs_of(name, dtype)]
    assert {output.device.type for output in found} == {"cuda"}
    print(len(found), "outputs on the GPU")


if __name__ == "__main__":
    main()
