"""Reads the variables of a published SavedModel or of a TF2 model zoo checkpoint, by their full names.

Both store each variable under a key that depends on how the model was put together (`_model/…/variables/7`), and the
object graph beside them maps each key to the variable's full name (`conv2_block1_1_conv/kernel`), which is the same in
both.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np

from ...storage.errors import WeightsError

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
BOOKKEEPING = ("save_counter", "global_step")  # variables of a checkpoint that are no weights
# Layers that Keras numbered by itself. Such numbers start higher where other models were built before in one process.
NUMBERED_FAMILIES = ("conv2d", "conv2d_transpose", "batch_normalization", "freezable_batch_norm")
_NUMBERED = re.compile(rf"({'|'.join(NUMBERED_FAMILIES)})(?:_(\d+))?")


def checkpoint_prefix(source: str) -> str:
    """The path of the checkpoint in `source`, without the endings of its files.

    Args:
      source: a SavedModel's folder, a checkpoint's path (`…/ckpt-0`, with or without `.index`), or a folder with one
        checkpoint.

    Raises:
      WeightsError: if there's none, or several.
    """
    import tensorflow as tf

    exists, join = tf.io.gfile.exists, os.path.join
    if exists(join(source, "saved_model.pb")):
        source = join(source, "variables", "variables")
    elif tf.io.gfile.isdir(source):
        found = [join(source, name) for name in sorted(tf.io.gfile.listdir(source)) if name.endswith(".index")]
        if len(found) != 1:
            raise WeightsError(
                f"weights {source}: expected a SavedModel or one checkpoint in this folder; it has "
                f"{', '.join(os.path.basename(f) for f in found) or 'neither'}. Give the checkpoint "
                "itself, as in FOLDER/ckpt-0"
            )
        source = found[0]
    prefix = source.removesuffix(".index")
    if not exists(prefix + ".index"):
        raise WeightsError(
            f"weights {source}: expected a SavedModel's folder or a checkpoint such as FOLDER/ckpt-0; "
            f"there's no file {prefix}.index"
        )
    return prefix


def full_names(prefix: str) -> dict[str, str]:
    """Checkpoint key -> full name of every weight in a checkpoint.

    Raises:
      WeightsError: if two variables have one name.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(tf.train.load_checkpoint(prefix).get_tensor(OBJECT_GRAPH))
    keys = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            name, key = attribute.full_name, attribute.checkpoint_key
            if key and name not in BOOKKEEPING and keys.setdefault(name, key) != key:
                raise WeightsError(f"weights {prefix}: two variables are named {name}: {keys[name]} and {key}")
    return {key: name for name, key in keys.items()}


def read_variables(source: str) -> dict[str, np.ndarray]:
    """Every weight in `source` (see `checkpoint_prefix`): full name -> array.

    Raises:
      WeightsError: if it can't be read, or two variables have one name.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    prefix = checkpoint_prefix(source)
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(key) for key, name in full_names(prefix).items()}
    except WeightsError:
        raise
    except (tf.errors.OpError, DecodeError, RuntimeError, ValueError, IndexError) as error:
        raise WeightsError(
            f"weights {source}: the checkpoint can't be read, it is damaged or not an object-based one "
            f"of TensorFlow 2 ({error}); fetch it again"
        ) from error


def renumbered(names: Collection[str]) -> dict[str, str]:
    """Maps each name to the one it has where Keras' automatic numbers start at 0: `conv2d_17/bias` -> `conv2d/bias`."""
    numbers = defaultdict(set)
    for name in names:
        if found := _NUMBERED.fullmatch(name.split("/")[0]):
            numbers[found[1]].add(int(found[2] or 0))
    rank = {family: {number: i for i, number in enumerate(sorted(of))} for family, of in numbers.items()}

    def rename(name):
        layer, *rest = name.split("/")
        if found := _NUMBERED.fullmatch(layer):
            i = rank[found[1]][int(found[2] or 0)]
            layer = f"{found[1]}_{i}" if i else found[1]
        return "/".join([layer, *rest])

    return {name: rename(name) for name in names}


def matched(
    found: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], unused: Collection[str], source: str
) -> dict[str, np.ndarray]:
    """The variables a network is made of, each checked; strict in both directions.

    Args:
      found: full name -> array, as read from `source`.
      expected: full name -> shape of each variable that the network needs.
      unused: names that may be in `source` and have no place in the network.

    Raises:
      WeightsError: naming the first variable that is missing, superfluous, of a wrong shape or type, or not finite.
    """
    names = renumbered(found)
    variables = {names[name]: array for name, array in found.items()}
    differences = [f"it lacks {name}" for name in sorted(set(expected) - set(variables))]
    differences += [
        f"it has {name}, for which the network has no place"
        for name in variables
        if name not in expected and name not in unused
    ]
    for name, shape in expected.items():
        array = variables.get(name)
        if array is None:
            continue
        if array.shape != tuple(shape) or array.dtype != np.float32:
            differences.append(f"{name}: expected float32 {list(shape)}, got {array.dtype} {list(array.shape)}")
        elif not np.isfinite(array).all():
            differences.append(f"{name} holds NaN or infinity")
        elif name.endswith("/moving_variance") and array.min() < 0:
            differences.append(f"{name} holds a negative variance")
    if differences:
        more = f" (and {len(differences) - 1} more differences)" if len(differences) > 1 else ""
        raise WeightsError(
            f"weights {source}: not those of this network: {differences[0]}{more}. Give the published "
            "SavedModel or checkpoint of this very detector"
        )
    return {name: variables[name] for name in sorted(expected)}


def fingerprint(variables: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and values: equal for a SavedModel and a checkpoint that hold the same weights."""
    digest = hashlib.sha256()
    for name in sorted(variables):
        array = np.ascontiguousarray(variables[name])
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
