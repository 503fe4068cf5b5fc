"""Whether a SavedModel is whole: found out before a job starts, by reading every file that it names once."""

import os

from ...storage.errors import WeightsError
from ..quiet import import_tensorflow

# Kinds of the graph's nodes that take their values from variables/.
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")


def check_whole(folder: str, what: str) -> None:
    """Checks that a SavedModel has every variable and asset that it names, and that the variables' checksums are right.

    Args:
      folder: of the SavedModel, local or of any filesystem TensorFlow knows.
      what: what the user calls it, for errors.

    Raises:
      WeightsError: names the file that is missing or damaged.
    """
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    exists, join = tf.io.gfile.exists, os.path.join
    graph_file = join(folder, "saved_model.pb")
    try:
        with tf.io.gfile.GFile(graph_file, "rb") as file:
            graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    except (DecodeError, tf.errors.OpError) as error:
        raise _damaged(what, "saved_model.pb", error) from error
    for graph in graphs:
        for asset in graph.asset_file_def:
            if not exists(join(folder, "assets", asset.filename)):
                raise _missing(what, f"assets/{asset.filename}")
    prefix = join(folder, "variables", "variables")
    if not exists(f"{prefix}.index"):
        if any(_has_variables(graph) for graph in graphs):
            raise _missing(what, "variables/variables.index")
        return
    check_checkpoint(prefix, what)


def check_checkpoint(prefix: str, what: str) -> None:
    """Reads every tensor of a checkpoint, one after the other; TensorFlow compares the checksum of each.

    Args:
      prefix: the checkpoint's path without the endings of its files.
      what: see `check_whole`.

    Raises:
      WeightsError: as `check_whole`.
    """
    tf = import_tensorflow()
    folder, name = os.path.split(prefix)
    shards = [n for n in tf.io.gfile.listdir(folder) if n.startswith(f"{name}.data-")]
    count = int(shards[0].rpartition("-")[2]) if shards else 1
    for shard in range(count):
        if (file := f"{name}.data-{shard:05}-of-{count:05}") not in shards:
            raise _missing(what, f"{os.path.basename(folder)}/{file}")
    try:
        reader = tf.train.load_checkpoint(prefix)
        for key in reader.get_variable_to_dtype_map():
            reader.get_tensor(key)
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise _damaged(what, f"{os.path.basename(folder)}/{name}.*", error) from error


def _has_variables(graph) -> bool:
    nodes = [graph.graph_def.node, *(function.node_def for function in graph.graph_def.library.function)]
    kinds = any(node.op in _VARIABLES for some in nodes for node in some)
    return kinds or any(node.HasField("variable") for node in graph.object_graph_def.nodes)


def _missing(what: str, file: str) -> WeightsError:
    return WeightsError(f"{what}: the SavedModel isn't whole: {file} is missing; copy or fetch it again")


def _damaged(what: str, file: str, error: Exception) -> WeightsError:
    reason = " ".join(str(getattr(error, "message", error)).split())[:200]
    return WeightsError(f"{what}: the SavedModel isn't whole: {file} can't be read ({reason}); copy or fetch it again")
