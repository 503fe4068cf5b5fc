"""Which framework Keras computes with: a process has one, chosen before Keras is imported."""

import importlib.util
import os
import sys
from typing import Literal, get_args

from ...storage.errors import UsageError
from ...storage.installation import cache_folder

Backend = Literal["tensorflow", "jax", "torch"]


def use_backend(backend: Backend | None) -> str:
    """Has Keras compute with a framework in this process.

    JAX compiles a network of a detector's size in minutes on an accelerator, so what it compiled is kept in
    `compiled/` of the cache folder, unless `JAX_COMPILATION_CACHE_DIR` names another. By itself JAX keeps only what
    took a second to compile, which a network on a fast processor doesn't.

    Args:
      backend: None for what `KERAS_BACKEND` or Keras' own configuration says.

    Returns:
      The framework that Keras computes with.

    Raises:
      UsageError: if it isn't installed, or Keras computes with another in this process already.
    """
    if backend is not None:
        _check(backend)
        os.environ["KERAS_BACKEND"] = backend
    if (backend or os.environ.get("KERAS_BACKEND")) == "jax":
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    import keras

    return keras.backend.backend()


def _check(backend: str) -> None:
    if backend not in get_args(Backend):
        raise UsageError(f"--backend {backend}: expected {', '.join(get_args(Backend))}")
    if importlib.util.find_spec(backend) is None:
        raise UsageError(f"--backend {backend}: the package {backend} isn't installed; pip install {backend}")
    if keras := sys.modules.get("keras"):
        running = keras.backend.backend()
        if running != backend:
            raise UsageError(
                f"--backend {backend}: Keras computes with {running} in this process already, and a process has one "
                f"backend; set KERAS_BACKEND={backend} before Keras is imported"
            )
