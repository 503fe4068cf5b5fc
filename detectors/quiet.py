"""Imports TensorFlow without its greeting.

TensorFlow 2.21 writes half a dozen lines to stderr while it is imported and looks for devices, before any of its
settings is read; a person who waits for a job's summary shouldn't have to tell them from errors. Python's own
exceptions and warnings come through. Not needed where TensorFlow is imported already.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

_importing = threading.Lock()  # a second thread would find the module half imported, and restore the wrong stderr


def import_tensorflow() -> ModuleType:
    """The module `tensorflow`, its devices looked up."""
    with _importing:
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its warnings and errors stay
        with _stderr_of_libraries_closed():
            import tensorflow

            tensorflow.config.list_physical_devices()
        return tensorflow


@contextlib.contextmanager
def _stderr_of_libraries_closed() -> Iterator[None]:
    """What C++ writes to file descriptor 2 goes nowhere meanwhile; Python's `sys.stderr` goes on."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    try:
        with os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace") as sys.stderr:
            os.dup2(nowhere, 2)
            yield
    finally:
        os.dup2(kept, 2)
        sys.stderr = python_stderr
        os.close(kept)
        os.close(nowhere)
