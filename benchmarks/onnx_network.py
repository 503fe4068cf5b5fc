"""An ONNX model that costs what a real detector does: convolutions with random weights, DETR's outputs."""

from pathlib import Path

import numpy as np

SIDE = 320  # of the input, in pixels
CLASSES = 80
LAYERS = ((32, 2), (64, 2), (128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1))
FEW = -4.0  # bias of the logits, so that few of them make a detection
CELLS = (SIDE // 16) ** 2  # of the last layer's map: a query each


def write_network(path: Path, seed: int = 0) -> Path:
    """Writes the model, whose batch axis is free, and returns its path.

    Its convolutions take 1.8 GMAC an image: some 30 ms on two processors.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, constants = [], []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    def convolution(name: str, source: str, channels: tuple[int, int], size: int, stride: int = 1, bias=0.0) -> str:
        into, out = channels
        kernel = rng.normal(0, np.sqrt(2 / (into * size * size)), (out, into, size, size)).astype(np.float32)
        inputs = [source, constant(f"{name}.kernel", kernel), constant(f"{name}.bias", np.full(out, bias, np.float32))]
        nodes.append(
            helper.make_node(
                "Conv", inputs, [name], kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4
            )
        )
        return name

    def operation(kind: str, name: str, *inputs: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    features, channels = "images", 3
    for i, (out, stride) in enumerate(LAYERS):
        features = operation("Relu", f"relu{i}", convolution(f"conv{i}", features, (channels, out), 3, stride))
        channels = out
    infos = []
    for name, columns, bias in (("logits", CLASSES, FEW), ("pred_boxes", 4, 0.0)):
        maps = convolution(f"{name}.maps", features, (channels, columns), 1, bias=bias)
        rows = operation("Reshape", f"{name}.rows", maps, constant(f"{name}.shape", np.array([0, columns, CELLS])))
        last = operation("Transpose", "logits" if name == "logits" else f"{name}.open", rows, perm=[0, 2, 1])
        if name == "pred_boxes":
            operation("Sigmoid", name, last)
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", CELLS, columns]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "random convolutions", [images], infos, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
