"""What depends on the backend that Keras runs on: compiling functions that use a network's weights, devices, errors,
and a kernel that one of them has.

The only place that tells the backends apart; networks are written in `keras.ops`.
"""

from collections.abc import Callable

import keras
import numpy as np

from ..device_share import tensorflow_device


def compiles_each_shape() -> bool:
    """Whether a new shape of the arguments costs a compilation (XLA) or next to nothing."""
    return keras.backend.backend() == "jax"


def runs_on_cpu() -> bool:
    """Whether Keras computes on the CPU, for want of an accelerator."""
    return device_name() == "CPU"  # not `keras.distribution`, which PyTorch's backend lacks


def device_name() -> str:
    """What Keras computes on: a GPU's name, or `CPU`."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        name = jax.devices()[0].device_kind
        return "CPU" if name == "cpu" else name
    if backend == "torch":
        import torch  # pyright: ignore[reportMissingImports] - an alternative backend, not a requirement

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return tensorflow_device()


def compiled(function: Callable, network: keras.Model, dtypes: tuple[str, ...]) -> Callable:
    """`function` of arrays, compiled; it may read the network's weights.

    Args:
      function: takes arrays, returns arrays in dictionaries, tuples or alone.
      network: whose weights it reads.
      dtypes: of the arguments.

    Returns:
      A thread-safe function of the same arguments. What it returns stays on the device until `to_numpy` fetches it.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(function, dtypes)
    if backend == "jax":
        return _jax(function, network)
    if backend == "torch":
        return _torch(function, dtypes)
    raise NotImplementedError(f"Keras backend {backend}: expected tensorflow, jax or torch; choose one with --backend")


def to_numpy(tensor) -> np.ndarray:
    """What a compiled function returned, on the host. Not `np.asarray`, which refuses PyTorch's tensors on a GPU."""
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _tensorflow(function, dtypes):
    import tensorflow as tf

    traced = tf.function(function, autograph=False, reduce_retracing=True)
    return lambda *args: traced(*(tf.convert_to_tensor(a, dtype) for a, dtype in zip(args, dtypes, strict=True)))


def _jax(function, network):
    import jax

    variables = network.variables

    @jax.jit
    def run(values, *args):
        # Weights are arguments, not constants baked in.
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*args)

    return lambda *args: run([v.value for v in variables], *args)


def _torch(function, dtypes):
    import torch  # pyright: ignore[reportMissingImports] - an alternative backend, not a requirement

    def run(*args):
        with torch.no_grad():
            return function(*(keras.ops.convert_to_tensor(a, dtype) for a, dtype in zip(args, dtypes, strict=True)))

    return run


def crop_and_resize_kernel(features, boxes, image_indices, size_hw: tuple[int, int]):
    """Crops float32 features as `crop_by_gathering` does; None where the backend has no kernel for it."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.image.crop_and_resize(features, boxes, image_indices, size_hw)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a call failed because the device's memory is full. The backends have an exception each."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError")
        or "RESOURCE_EXHAUSTED" in str(error)
    )
