"""`keras.ops` for the networks, as `Any` to a type checker.

Keras infers its operations' types from all of its backends, one of which returns None where it lacks an operation.
"""

from typing import Any

import keras

ops: Any = keras.ops
