"""Weights of the Keras networks: imported once from what is published, kept in one file, loaded into a network.

The file is HDF5 (`.weights.h5`) with the published variables under their published names, unchanged, so that it
outlives changes of the networks; a network computes its own weights from them when it is loaded. It is not one for
Keras' `load_weights`.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from ...storage.errors import WeightsError
from ...storage.installation import cache_folder
from . import published
from .networks import build_network

FORMAT = "labelbeam-published-variables-1"
ENDING = ".weights.h5"


def weighted_layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Every layer below `layer` that is made of published variables."""
    if hasattr(layer, "sources"):
        yield layer
    for child in getattr(layer, "layers", ()):
        yield from weighted_layers(child)


def needed_variables(network: keras.Model) -> dict[str, tuple[int, ...]]:
    """Published name -> shape of each variable that the network is made of."""
    return {name: shape for layer in weighted_layers(network) for name, shape in layer.sources().items()}


def import_weights(detector: str, source: str, file: str) -> str:
    """Makes a weights file from a published SavedModel or checkpoint.

    Args:
      detector: the network's name, see `networks.NETWORKS`.
      source: a SavedModel's folder or a checkpoint, see `published.checkpoint_prefix`.
      file: where to write, ending in `.weights.h5`; replaced if it exists, and only as a whole.

    Returns:
      The weights' fingerprint.

    Raises:
      WeightsError: if the source can't be read or isn't this detector's; nothing is written then.
    """
    if not str(file).endswith(ENDING):
        raise WeightsError(f"weights file {file}: expected a name that ends in {ENDING}")
    network = build_network(detector)
    variables = published.matched(
        published.read_variables(source), needed_variables(network), network.unused_variables, source
    )
    digest = published.fingerprint(variables)
    part = Path(f"{file}.{os.getpid()}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(part, "w") as target:
            target.attrs.update(format=FORMAT, detector=detector, fingerprint=digest)
            for name, array in variables.items():
                target.create_dataset(name, data=array, track_times=False)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return digest


def read_fingerprint(file: str, detector: str) -> str:
    """The fingerprint of a weights file of `detector`'s network, its content checked; see `load_weights` for errors."""
    return _read(file, detector)[1]


def load_weights(network: keras.Model, file: str) -> str:
    """Fills a network from a weights file.

    Returns:
      The weights' fingerprint.

    Raises:
      WeightsError: if the file isn't a whole weights file of this very network.
    """
    variables, digest = _read(file, network.name)
    fill(network, published.matched(variables, needed_variables(network), (), file))
    return digest


def fill(network: keras.Model, variables: dict[str, np.ndarray]) -> None:
    """Sets every weight of the network from published variables, as `published.matched` returns them."""
    for layer in weighted_layers(network):
        layer.fill(variables)


def find_weights_file(detector: str, weights: str) -> str:
    """The weights file for what a user names as weights.

    Args:
      detector: the network's name.
      weights: a weights file, which is taken as it is; or a SavedModel's folder or a checkpoint,
        which is imported into the cache the first time.

    Raises:
      WeightsError: if there's nothing, or it isn't this detector's.
    """
    return weights if weights.endswith(ENDING) else cached_weights(detector, weights)


def cached_weights(detector: str, source: str, folder: str | None = None) -> str:
    """The weights file of a published source, imported the first time and found again later.

    Args:
      detector, source: see `import_weights`.
      folder: of the cache; if None, `$LABELBEAM_CACHE` or `~/.cache/labelbeam`.

    Returns:
      The file's path. It is found by the checkpoint's index, which holds a checksum of each variable.
    """
    import tensorflow as tf

    with tf.io.gfile.GFile(published.checkpoint_prefix(source) + ".index", "rb") as index:
        key = hashlib.sha256(FORMAT.encode() + index.read()).hexdigest()[:16]
    file = Path(folder or cache_folder(), f"{detector}-{key}{ENDING}")
    try:
        read_fingerprint(str(file), detector)
    except WeightsError:  # not there yet, or damaged since
        import_weights(detector, source, str(file))
    return str(file)


def _read(file: str, detector: str) -> tuple[dict[str, np.ndarray], str]:
    """A weights file's variables by their published names, and their fingerprint, which is compared with them."""
    variables = {}

    def read(name, item):
        if isinstance(item, h5py.Dataset):
            variables[name] = item[()]

    with _opened(file, detector) as source:
        try:
            source.visititems(read)
        except (OSError, RuntimeError) as error:  # truncated: what HDF5 raises depends on where
            raise _damaged(file) from error
        digest = str(source.attrs["fingerprint"])
    if published.fingerprint(variables) != digest:
        raise _damaged(file)
    return variables, digest


def _damaged(file: str) -> WeightsError:
    return WeightsError(
        f"weights file {file}: its content isn't what was written, the file is damaged; import it again"
    )


def _opened(file: str, detector: str) -> h5py.File:
    try:
        source = h5py.File(file, "r")
    except OSError as error:
        raise WeightsError(
            f"weights file {file}: can't be read as HDF5 ({error}); make it with `labelbeam weights import`"
        ) from error
    if source.attrs.get("format") != FORMAT:
        source.close()
        raise WeightsError(
            f"weights file {file}: expected a file of `labelbeam weights import`; for a SavedModel or a "
            "checkpoint, import it first"
        )
    if (holds := source.attrs["detector"]) != detector:
        source.close()
        raise WeightsError(f"weights file {file}: expected weights of {detector}, it holds those of {holds}")
    return source
