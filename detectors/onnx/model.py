"""An ONNX file opened with ONNX Runtime, and what it says of itself."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...storage.errors import UsageError, WeightsError
from ...storage.installation import install_hint
from .options import OnnxOptions

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # of those that are there, unless told otherwise


@dataclass(frozen=True)
class OnnxModel:
    """An opened model.

    Attributes:
      file: its path.
      session: ONNX Runtime's, thread-safe.
      input_name: of the only input that takes pixels.
      input_hw: (height, width) that the input must have; None if any.
      takes_bytes: whether it takes pixels as uint8, with its own preprocessing inside, instead of floats.
      free_batch: whether one call takes several images.
      outputs: names, in their order.
      described_outputs: names and shapes, for messages.
      has_prototypes: whether an output has four axes, as prototypes of masks have.
      metadata: the file's own key-value pairs.
    """

    file: str
    session: Any
    input_name: str
    input_hw: tuple[int, int] | None
    takes_bytes: bool
    free_batch: bool
    outputs: tuple[str, ...]
    described_outputs: str
    has_prototypes: bool
    metadata: dict[str, str]


def open_model(file: str, layout: str = "nchw", providers: tuple[str, ...] = (), threads: int = 0) -> OnnxModel:
    """Opens a model.

    Args:
      layout: of its input, `nchw` or `nhwc`.
      providers: of ONNX Runtime, in order of preference; empty for CUDA where there is one, else the CPU.
      threads: of one operation; 0 for all processors.

    Raises:
      UsageError: if ONNX Runtime isn't installed, or has none of the providers.
      WeightsError: if the file can't be opened, or doesn't take one batch of images with three channels.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise UsageError(f"engine onnx: needs ONNX Runtime: {install_hint('onnx')}") from error
    there = ort.get_available_providers()
    chosen = [name for name in providers or PROVIDERS if name in there]
    if not chosen:
        raise UsageError(
            f"onnx: providers: none of {', '.join(providers)} is there; this ONNX Runtime has {', '.join(there)}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(file, options, providers=chosen)
    except Exception as error:  # ONNX Runtime has a class for each kind, none of them documented
        text = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"weights {file}: can't be opened as an ONNX model ({text}); fetch or export it again"
        ) from error
    inputs = session.get_inputs()
    channels = 1 if layout == "nchw" else 3
    if (
        len(inputs) != 1
        or inputs[0].type not in ("tensor(float)", "tensor(uint8)")
        or len(inputs[0].shape) != 4
        or inputs[0].shape[channels] != 3
    ):
        have = "; ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        shape = "[N, 3, H, W]" if layout == "nchw" else "[N, H, W, 3]"
        raise WeightsError(f"weights {file}: expected one input, float or uint8 {shape}; the model takes {have}")
    shape, outputs = inputs[0].shape, session.get_outputs()
    sides = tuple(shape[2:] if layout == "nchw" else shape[1:3])
    return OnnxModel(
        file,
        session,
        inputs[0].name,
        sides if all(isinstance(side, int) for side in sides) else None,
        inputs[0].type == "tensor(uint8)",
        not isinstance(shape[0], int),
        tuple(output.name for output in outputs),
        ", ".join(f"{output.name} [{', '.join(map(str, output.shape or ()))}]" for output in outputs),
        any(len(output.shape or ()) == 4 for output in outputs),
        dict(session.get_modelmeta().custom_metadata_map),
    )


def fingerprint(file: str) -> str:
    """SHA-256 over the file and the data that it keeps beside it, as hex."""
    digest = hashlib.sha256()
    beside = [path for end in (".data", "_data") if (path := Path(file + end)).is_file()]
    for path in (Path(file), *beside):
        with path.open("rb") as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def guessed_options(model: OnnxModel) -> OnnxOptions | None:
    """What the outputs mean, where names and metadata leave no doubt; else None."""
    names = " ".join(model.outputs).lower()
    ultralytics = {"names", "stride", "task"} <= set(model.metadata)
    if ultralytics and model.metadata["task"] == ("segment" if model.has_prototypes else "detect"):
        return OnnxOptions("yolo")
    if "logits" in names and "boxes" in names:
        return OnnxOptions("detr")
    if len(model.outputs) == 3 and "boxes" in names and "scores" in names and "label" in names:
        return OnnxOptions("boxes_scores_labels")
    return None


def names_inside(model: OnnxModel) -> dict[int, str]:
    """Class names that the file's metadata holds, as Ultralytics writes them; empty if there are none."""
    try:
        names = ast.literal_eval(model.metadata.get("names", "{}"))
    except (ValueError, SyntaxError):
        return {}
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    return {int(i): str(name) for i, name in pairs}
