"""What a SavedModel says of itself, read from its graph file without loading the model (loading takes up to a minute).

So a model that can't do the job is refused before the job starts.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..storage.errors import WeightsError
from .protocol import DetectOptions
from .quiet import import_tensorflow

SIGNATURE = "serving_default"
MASKS_OUTPUT = "detection_masks"
# Axes that each output has for one image.
RANKS = {"num_detections": 0, "detection_boxes": 2, "detection_classes": 1, "detection_scores": 1, MASKS_OUTPUT: 3}
REQUIRED_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores")
# What the Object Detection API's exporter lets a model take: pixels as bytes or as floats of 0 to 255, the bytes of an
# image file, or a serialized tf.train.Example with such bytes.
InputKind = Literal["pixels", "float_pixels", "encoded_image", "example"]
_PARSES_EXAMPLES = {"ParseExample", "ParseExampleV2", "ParseSingleExample"}  # ops


@dataclass(frozen=True)
class Signature:
    """The input and the outputs of a SavedModel's `serving_default`.

    Attributes:
      input_name: keyword of the signature's only input.
      input_kind: what it takes.
      fixed_batch: True if one call takes exactly one image, False if any number.
      shapes: of the outputs, by name; -1 for a side that isn't known before, None where nothing is.
    """

    input_name: str
    input_kind: InputKind
    fixed_batch: bool
    shapes: Mapping[str, tuple[int, ...] | None]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, sorted."""
        return tuple(sorted(self.shapes))

    @property
    def has_masks(self) -> bool:
        return MASKS_OUTPUT in self.shapes

    @property
    def mask_size_known(self) -> bool:
        """Whether masks have one size whatever the image's."""
        shape = self.shapes.get(MASKS_OUTPUT)
        return shape is not None and -1 not in shape[-2:]

    def has_batch_axis(self, name: str) -> bool | None:
        """Whether an output's first axis is the batch; None if that can't be known from here.

        Outputs that belong to every image alike, as anchors, have none; in some models no output has one.
        """
        shape = self.shapes[name]
        if shape is None:
            return None
        if name in RANKS:
            return len(shape) > RANKS[name]
        if self.fixed_batch:
            return shape[:1] == (1,)
        return None if shape[:1] == (-1,) else False


def read_signature(folder: str) -> Signature:
    """Reads the signature of the SavedModel in `folder`.

    Raises:
      WeightsError: if the file is damaged, there's no `serving_default`, its input is none of `InputKind`, or an output
        of `REQUIRED_OUTPUTS` is missing; it names what the model has.
    """
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    path = os.path.join(folder, "saved_model.pb")
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            proto.ParseFromString(file.read())
        signatures = {
            name: s
            for graph in proto.meta_graphs
            if "serve" in graph.meta_info_def.tags
            for name, s in graph.signature_def.items()
        }
    except (DecodeError, tf.errors.OpError) as error:
        raise WeightsError(
            f"weights {folder}: saved_model.pb can't be read ({error}); fetch the SavedModel again"
        ) from error
    if SIGNATURE not in signatures and os.path.isfile(os.path.join(folder, "tfhub_module.pb")):
        raise WeightsError(
            f"weights {folder}: a module in TF Hub's format of TensorFlow 1, without the signature {SIGNATURE!r} that "
            "a detector has; take its version for TensorFlow 2, or export it with the Object Detection API's exporter"
        )
    if SIGNATURE not in signatures:
        raise WeightsError(
            f"weights {folder}: expected a signature {SIGNATURE!r}; the SavedModel has "
            f"{sorted(n for n in signatures if not n.startswith('__')) or 'none'}. Export it with the Object Detection "
            "API's exporter, or with tf.saved_model.save(…, signatures=…); docs/own-detector.md says what it takes"
        )
    inputs, outputs = signatures[SIGNATURE].inputs, signatures[SIGNATURE].outputs
    missing = [name for name in REQUIRED_OUTPUTS if name not in outputs]
    if missing:
        raise WeightsError(
            f"weights {folder}: the SavedModel lacks {', '.join(missing)}, which a detector of the TF Object "
            f"Detection API gives; it has {', '.join(sorted(outputs))}. Is it a detector? Wrap one that names them "
            "otherwise in a class (docs/own-detector.md)"
        )
    boxes = _shape(outputs["detection_boxes"])
    if boxes is not None and (len(boxes) not in (2, 3) or boxes[-1] not in (4, -1)):
        raise WeightsError(
            f"weights {folder}: expected detection_boxes of [N, 4] an image; the SavedModel gives {list(boxes)}. "
            "Export it with four coordinates a box"
        )
    [(name, spec)] = inputs.items() if len(inputs) == 1 else [("", None)]
    kind = spec and _input_kind(_shape(spec), tf.as_dtype(spec.dtype).name, proto)
    if spec is None or kind is None:
        have = "; ".join(f"{n}: {tf.as_dtype(s.dtype).name} {list(_shape(s) or '?')}" for n, s in inputs.items())
        raise WeightsError(
            f"weights {folder}: expected one input, uint8 or float32 [1, height, width, 3] of any height and width, or "
            f"string [1] of encoded images or tf.train.Examples; the SavedModel takes {have or 'nothing'}. "
            "Export it with another --input_type, or wrap it in a class (docs/own-detector.md)"
        )
    fixed_batch = spec.tensor_shape.dim[0].size == 1
    return Signature(name, kind, fixed_batch, {output: _shape(spec) for output, spec in outputs.items()})


def _input_kind(shape: tuple[int, ...] | None, dtype: str, proto: Any) -> InputKind | None:
    """None if it's none."""
    if shape is None or shape[:1] not in ((1,), (-1,)):
        return None
    if dtype == "string" and len(shape) == 1:
        graphs = [graph.graph_def for graph in proto.meta_graphs]
        nodes = [node for graph in graphs for node in graph.node]
        nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
        return "example" if _PARSES_EXAMPLES & {node.op for node in nodes} else "encoded_image"
    if len(shape) == 4 and shape[1:3] == (-1, -1) and shape[3] == 3:
        return cast(InputKind | None, {"uint8": "pixels", "float32": "float_pixels"}.get(dtype))
    return None


def _shape(spec) -> tuple[int, ...] | None:
    shape = spec.tensor_shape
    return None if shape.unknown_rank else tuple(side.size for side in shape.dim)


def check_outputs(signature: Signature, options: DetectOptions, masks_promised: bool, where: str) -> None:
    """Checks that the model gives what is asked for.

    Raises:
      WeightsError: if an output of `options.keep` or the masks that the configuration promises aren't among the
      outputs.
    """
    have = ", ".join(signature.outputs)
    for name in options.keep:
        if name not in signature.outputs:
            raise WeightsError(f"--keep {name}: {where} has no such output; it has {have}")
    if masks_promised and options.masks and not signature.has_masks:
        raise WeightsError(
            f"{where}: the configuration promises masks, but there's no output {MASKS_OUTPUT}; it has {have}. "
            "Use --mask-format none, or a configuration with `masks: false`"
        )
