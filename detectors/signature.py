"""What a SavedModel says of itself, read from its graph file without loading the model (loading takes up to a minute).

So a model that can't do the job is refused before the job starts.
"""

import os
from dataclasses import dataclass

from ..storage.errors import WeightsError
from .protocol import DetectOptions
from .quiet import import_tensorflow

SIGNATURE = "serving_default"
REQUIRED_OUTPUTS = ("num_detections", "detection_boxes", "detection_classes", "detection_scores")
MASKS_OUTPUT = "detection_masks"


@dataclass(frozen=True)
class Signature:
    """The input and the outputs of a SavedModel's `serving_default`.

    Attributes:
      input_name: keyword of the signature's only input.
      fixed_batch: True if one call takes exactly one image, False if any number.
      outputs: names of the outputs, sorted.
    """

    input_name: str
    fixed_batch: bool
    outputs: tuple[str, ...]

    @property
    def has_masks(self) -> bool:
        return MASKS_OUTPUT in self.outputs


def read_signature(folder: str) -> Signature:
    """Reads the signature of the SavedModel in `folder`.

    Raises:
      WeightsError: if the file is damaged, there's no `serving_default`, its input isn't uint8 `[1 or any, any, any, 3]`,
        or an output of `REQUIRED_OUTPUTS` is missing; it names what the model has.
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
    if SIGNATURE not in signatures:
        raise WeightsError(
            f"weights {folder}: expected a signature {SIGNATURE!r}; the SavedModel has "
            f"{sorted(n for n in signatures if not n.startswith('__')) or 'none'}"
        )
    inputs, outputs = signatures[SIGNATURE].inputs, signatures[SIGNATURE].outputs
    missing = [name for name in REQUIRED_OUTPUTS if name not in outputs]
    if missing:
        raise WeightsError(
            f"weights {folder}: the SavedModel lacks {', '.join(missing)}, which a detector of the TF Object "
            f"Detection API gives; it has {', '.join(sorted(outputs))}"
        )
    shapes = {
        name: (None if i.tensor_shape.unknown_rank else [d.size for d in i.tensor_shape.dim], i.dtype)
        for name, i in inputs.items()
    }
    name, (shape, dtype) = next(iter(shapes.items()), ("", (None, 0)))
    if (
        len(inputs) != 1
        or dtype != tf.uint8.as_datatype_enum
        or shape is None
        or len(shape) != 4
        or shape[0] not in (1, -1)
        or shape[1:3] != [-1, -1]
        or shape[3] != 3
    ):
        have = "; ".join(f"{n}: {tf.as_dtype(d).name} {s}" for n, (s, d) in shapes.items())
        raise WeightsError(
            f"weights {folder}: expected one input, uint8 [1, height, width, 3] of any height and width; the "
            f"SavedModel takes {have or 'nothing'}"
        )
    return Signature(name, fixed_batch=shape[0] == 1, outputs=tuple(sorted(outputs)))


def check_outputs(signature: Signature, options: DetectOptions, masks_promised: bool, where: str) -> None:
    """Checks that the model gives what is asked for.

    Raises:
      WeightsError: if an output of `options.keep` or the masks that the configuration promises aren't among the outputs.
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
