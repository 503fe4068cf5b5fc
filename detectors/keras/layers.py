"""Layers whose weights come from the published variables, with batch norms folded into the convolutions.

Each layer says which published variables it is made of (`sources`) and computes its own weights from them (`fill`). A
layer bears its published name, so that published variables find it; Keras allows no `/` in a name, so where the
published name has one, `source` gives it in full.

At inference a batch norm multiplies and shifts each channel by constants, so it is folded into the convolution before
it: half the layers, and the same result up to rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .ops import ops

Variables = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class BatchNorm:
    """A published batch norm: the prefix of its variables, its epsilon, whether it has a gamma (else gamma is 1)."""

    source: str
    epsilon: float
    gamma: bool = True

    def sources(self, channels: int) -> dict[str, tuple[int, ...]]:
        names = ("gamma",) * self.gamma + ("beta", "moving_mean", "moving_variance")
        return {f"{self.source}/{name}": (channels,) for name in names}

    def scale_and_offset(self, variables: Variables) -> tuple[np.ndarray, np.ndarray]:
        """What the batch norm does at inference, `x * scale + offset` by channel, in float64."""
        values = {
            name: np.asarray(variables[f"{self.source}/{name}"], np.float64)
            for name in ("beta", "moving_mean", "moving_variance")
        }
        scale = 1.0 / np.sqrt(values["moving_variance"] + self.epsilon)
        if self.gamma:
            scale = scale * variables[f"{self.source}/gamma"]
        return scale, values["beta"] - values["moving_mean"] * scale


class _Kernel:
    """What layers with a kernel share, mixed in before the Keras layer, whose `name`, `kernel` and `bias` it uses."""

    out_axis = -1  # of the kernel

    def __init__(
        self: Any,
        *args,
        source: str | None = None,
        batch_norm: BatchNorm | None = None,
        biased: bool | None = None,
        output_scale: float = 1.0,
        **kwargs,
    ):
        """Beside the Keras layer's own arguments:

        source: prefix of the published variables; the layer's name if None.
        batch_norm: to be folded in.
        biased: whether the published layer has a bias; if None, it has one if it has no batch norm.
        output_scale: constant factor of the output, folded in as well.
        """
        # `fill` sets the kernel; random numbers would take seconds.
        super().__init__(*args, kernel_initializer="zeros", **kwargs)  # pyright: ignore[reportCallIssue] - a mixin
        self.source = source or self.name
        self.batch_norm = batch_norm
        self.biased = batch_norm is None if biased is None else biased
        self.output_scale = output_scale

    def sources(self: Any) -> dict[str, tuple[int, ...]]:
        """Published name -> shape of each variable that this layer is made of."""
        shape = tuple(self.kernel.shape)
        channels = shape[self.out_axis]
        found = {f"{self.source}/kernel": shape}
        if self.biased:
            found[f"{self.source}/bias"] = (channels,)
        return found | (self.batch_norm.sources(channels) if self.batch_norm else {})

    def fill(self: Any, variables: Variables) -> None:
        """Sets the weights from published variables."""
        scale, offset = self.batch_norm.scale_and_offset(variables) if self.batch_norm else (1.0, 0.0)
        kernel = np.asarray(variables[f"{self.source}/kernel"], np.float64)
        bias = np.asarray(variables[f"{self.source}/bias"], np.float64) if self.biased else 0.0
        by_channel = np.reshape(scale, (-1,) + (1,) * (-1 - self.out_axis))  # broadcasts along the kernel's output axis
        bias = np.broadcast_to(bias * scale + offset, self.bias.shape)
        self.kernel.assign((kernel * by_channel * self.output_scale).astype(np.float32))
        self.bias.assign((bias * self.output_scale).astype(np.float32))


class Conv(_Kernel, keras.layers.Conv2D):
    """Convolution, its published batch norm folded in; `padding="same"` unless told otherwise."""

    def __init__(self, filters: int, kernel_size, **kwargs):
        kwargs.setdefault("padding", "same")
        super().__init__(filters, kernel_size, **kwargs)


class ConvTranspose(_Kernel, keras.layers.Conv2DTranspose):
    """Transposed convolution, its published batch norm folded in. The kernel is `[h, w, out, in]`."""

    out_axis = -2

    def __init__(self, filters: int, kernel_size, **kwargs):
        kwargs.setdefault("padding", "same")
        super().__init__(filters, kernel_size, **kwargs)


class Dense(_Kernel, keras.layers.Dense):
    """Fully connected layer."""


class PreActivation(keras.layers.Layer):
    """A batch norm with no convolution before it, and its ReLU: `relu(x * scale + offset)` by channel."""

    def __init__(self, batch_norm: BatchNorm, **kwargs):
        kwargs.setdefault("name", batch_norm.source)
        super().__init__(**kwargs)
        self.batch_norm = batch_norm

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale", trainable=False)
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="offset", trainable=False)

    def call(self, inputs):
        return ops.relu(inputs * self.scale + self.offset)

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        return self.batch_norm.sources(self.scale.shape[0])

    def fill(self, variables: Variables) -> None:
        """See `Conv.fill`."""
        for weight, value in zip((self.scale, self.offset), self.batch_norm.scale_and_offset(variables), strict=True):
            weight.assign(value.astype(np.float32))
