"""CenterNet's heads (Objects as Points, arXiv:1904.07850, section 4): class heat map, object size, centre offset.

Each is a 3x3 convolution with 256 filters, ReLU, and a 1x1 convolution.
"""

import keras
import numpy as np
from keras import layers

from ..layers import Conv
from ..ops import ops

HEAD_FILTERS = 256


def center_head(features_shape: tuple[int, int, int], num_classes: int, dtype: str) -> keras.Model:
    """Class logits float32 `[B, H, W, classes]` of features `[B, H, W, C]`."""
    features = layers.Input(features_shape, name="features", dtype=dtype)
    x = Conv(HEAD_FILTERS, 3, name="conv2d_4", activation="relu", dtype=dtype)(features)
    return keras.Model(features, Conv(num_classes, 1, name="conv2d_3", dtype="float32")(x), name="object_center")


class PeakHead(keras.layers.Layer):
    """A head with two channels, computed at chosen cells only: its map is read at 100 peaks of 16,384 cells.

    Equal to the two convolutions over the whole map, up to rounding.

    Args:
      sources: published names of the 3x3 and of the 1x1 convolution.
    """

    def __init__(self, sources: tuple[str, str], **kwargs):
        super().__init__(**kwargs)
        self.published = sources

    def build(self, input_shape, cells_shape=None):
        self.hidden_kernel = self._weight("hidden_kernel", 9 * input_shape[-1], HEAD_FILTERS)
        self.hidden_bias = self._weight("hidden_bias", HEAD_FILTERS)
        self.kernel = self._weight("kernel", HEAD_FILTERS, 2)
        self.bias = self._weight("bias", 2)

    def _weight(self, name: str, *shape: int):
        return self.add_weight(shape=shape, initializer="zeros", name=name)

    def call(self, features, cells):
        """Values float32 `[B, K, 2]` of features `[B, H, W, C]` at `cells`, int32 `[B, K]`, row-major over H x W."""
        _, height, width, channels = features.shape
        padded = ops.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
        padded = ops.reshape(padded, (-1, (height + 2) * (width + 2), channels))
        corner = cells // width * (width + 2) + cells % width  # the 3x3 patch's first cell, in the padded map
        taps = np.add.outer(np.arange(3) * (width + 2), np.arange(3)).ravel().astype("int32")
        places = ops.add(corner[:, :, None], taps)  # with `+` PyTorch leaves it to NumPy, which fails on a GPU
        places = ops.reshape(places, (-1, cells.shape[1] * 9, 1))
        patches = ops.reshape(ops.take_along_axis(padded, places, axis=1), (-1, cells.shape[1], 9 * channels))
        hidden = ops.relu(ops.matmul(patches, self.hidden_kernel) + self.hidden_bias)
        return ops.cast(ops.matmul(hidden, self.kernel) + self.bias, "float32")

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        channels = self.hidden_kernel.shape[0] // 9
        hidden, last = self.published
        return {
            f"{hidden}/kernel": (3, 3, channels, HEAD_FILTERS),
            f"{hidden}/bias": (HEAD_FILTERS,),
            f"{last}/kernel": (1, 1, HEAD_FILTERS, 2),
            f"{last}/bias": (2,),
        }

    def fill(self, variables) -> None:
        """See `Conv.fill`."""
        pairs = ((self.hidden_kernel, self.hidden_bias), (self.kernel, self.bias))
        for name, (kernel, bias) in zip(self.published, pairs, strict=True):
            kernel.assign(np.reshape(variables[f"{name}/kernel"], kernel.shape))
            bias.assign(variables[f"{name}/bias"])
