"""A process's share of a machine that others of the same job use as well: processors for TensorFlow's threads, one GPU.

TensorFlow takes every processor and the memory of every GPU that it sees. So before it computes anything, each of N
processes limits its thread pools to a N-th of the processors, and takes one GPU, the first that no other process has:
a lock on a small file in the temporary folder, which the system lets go of when the process ends, however it ends.
With more processes than GPUs, they share: then memory is taken as it is needed. JAX and PyTorch beneath Keras are told
by the environment, before they look for devices: one GPU to see, and JAX the share of its memory that it may take.
"""

import fcntl
import functools
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .quiet import import_tensorflow

_log = logging.getLogger(__name__)

_DEVICES = Path("/dev")
_OF_MEMORY = 0.9  # of a GPU's; the rest is for what frameworks need besides
_held: list[int] = []  # descriptors of locks, kept open for as long as the process lives


@functools.cache
def take_share(processes: int, backend: str = "tensorflow") -> None:
    """Limits a framework in this process; to be called before it computes. Does nothing the second time.

    Args:
      processes: processes that work side by side on this machine.
      backend: `tensorflow`, `jax` or `torch`: which framework is to compute.
    """
    if backend == "tensorflow":
        _limit_tensorflow(processes)
    elif processes > 1:
        _limit_by_environment(processes)


def _limit_by_environment(processes: int) -> None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(visible.split(",")) if visible else _nvidia_gpus()
    if not count:
        return
    names = _gpu_names(count)
    os.environ["CUDA_VISIBLE_DEVICES"] = names[take_slot(names, processes)].removeprefix("gpu-")
    share = -(-processes // count)  # processes a GPU
    if share > 1:  # of JAX: it takes three quarters of a GPU's memory as it starts
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{_OF_MEMORY / share:.2f}")


def _nvidia_gpus() -> int:
    return sum(path.name.removeprefix("nvidia").isdecimal() for path in _DEVICES.glob("nvidia*"))


def _limit_tensorflow(processes: int) -> None:
    tf = import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    try:
        if processes > 1:
            threads = max(1, processors() // processes)
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        if len(gpus) > 1 or (gpus and processes > 1):
            gpu = gpus[take_slot(_gpu_names(len(gpus)), processes)]
            tf.config.set_visible_devices(gpu, "GPU")
            if processes > len(gpus):
                tf.config.experimental.set_memory_growth(gpu, True)
    except (
        RuntimeError
    ) as error:  # TensorFlow computes already: somebody's own pipeline uses it, and has its own settings
        _log.warning(
            "TensorFlow was in use before the detector was loaded, so its threads and GPUs stay as they are: %s", error
        )


def tensorflow_device() -> str:
    """What TensorFlow computes on in this process: a GPU's name, or `CPU`."""
    tf = import_tensorflow()
    gpus = tf.config.get_visible_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"


def take_slot(names: Sequence[str], processes: int, folder: Path | None = None) -> int:
    """Index of the first of `names` that the fewest other processes hold; held until this process ends.

    Args:
      names: of the things to share, the same in all processes.
      processes: how many processes there may be.
      folder: of the lock files; the temporary folder of this user if None.
    """
    folder = folder or Path(tempfile.gettempdir(), f"labelbeam-devices-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for turn in range(-(-processes // len(names))):
        for index, name in enumerate(names):
            descriptor = os.open(folder / f"{name}.{turn}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            _held.append(descriptor)
            return index
    return os.getpid() % len(names)  # more processes than were announced: those of another job


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu_names(count: int) -> list[str]:
    """What the GPUs that TensorFlow sees are called by all processes, whatever CUDA_VISIBLE_DEVICES shows of them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip().replace("/", "-") for name in visible.split(",") if name.strip()]
    return [f"gpu-{name}" for name in (names if len(names) >= count else map(str, range(count)))][:count]
