"""ONNX models made by hand: outputs that are given, plus a share of the image's mean level, so that images differ."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64


def save_model(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    *,
    batch: int | None = None,
    sides: tuple[int | None, int | None] = (SIDE, SIDE),
    shares: Mapping[str, float] | None = None,
    metadata: Mapping[str, str] | None = None,
    layout: str = "nchw",
    as_bytes: bool = False,
) -> str:
    """Writes a model and returns its path.

    Args:
      outputs: name -> array of one image, without the batch axis.
      batch: images a call; None for any number.
      sides: height and width of the input; None for any.
      shares: name of an output -> how much of the image's mean (of the model's input) is added to it.
      metadata: of the file.
      as_bytes: the input is uint8.
    """
    rows, columns = (side or name for side, name in zip(sides, ("height", "width"), strict=True))
    shape = [batch or "N", 3, rows, columns] if layout == "nchw" else [batch or "N", rows, columns, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")]
    infos = []
    for name, array in outputs.items():
        array = np.asarray(array)
        kind = TensorProto.INT64 if array.dtype.kind in "iu" else TensorProto.FLOAT
        constants += [
            numpy_helper.from_array(array[np.newaxis].astype(np.float32), f"{name}.value"),
            numpy_helper.from_array(np.array((shares or {}).get(name, 0), np.float32), f"{name}.share"),
            numpy_helper.from_array(np.array([-1, *[1] * array.ndim], np.int64), f"{name}.shape"),
        ]
        nodes += [
            helper.make_node("Mul", ["mean", f"{name}.share"], [f"{name}.scaled"]),
            helper.make_node("Reshape", [f"{name}.scaled", f"{name}.shape"], [f"{name}.column"]),
            helper.make_node("Add", [f"{name}.column", f"{name}.value"], [f"{name}.sum"]),
            helper.make_node("Cast", [f"{name}.sum"], [name], to=kind),
        ]
        infos.append(helper.make_tensor_value_info(name, kind, [batch or "N", *array.shape]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8 if as_bytes else TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "made by hand", [images], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return str(path)
