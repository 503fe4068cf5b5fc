"""The mask head (Mask R-CNN, arXiv:1703.06870, section 3): a small mask of each detection, relative to its box."""

import keras
import numpy as np

from ..layers import Conv
from ..ops import ops

MASK_SIZE_HW = (33, 33)
FILTERS = 256
_HEAD = "mask_rcnn_keras_box_predictor/mask_rcnn_mask_head"


class MaskHead(keras.layers.Layer):
    """From the tower's features `[N, 9, 9, C]` to masks: enlarging to 33x33, three convolutions, one channel a class.

    Args:
      num_classes: channels of the last convolution.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.enlarged_conv = EnlargedConv(
            FILTERS, MASK_SIZE_HW, f"{_HEAD}/MaskPredictor_conv2d_0", dtype=self.dtype_policy
        )
        self.convs = [
            Conv(
                FILTERS,
                3,
                name=f"MaskPredictor_conv2d_{i}",
                source=f"{_HEAD}/MaskPredictor_conv2d_{i}",
                activation="relu",
                dtype=self.dtype_policy,
            )
            for i in (1, 2)
        ]
        self.last_conv = ClassConv(num_classes, f"{_HEAD}/MaskPredictor_last_conv2d", dtype="float32")
        self.layers = [self.enlarged_conv, *self.convs, self.last_conv]

    def build(self, input_shape, classes_shape=None):
        self.enlarged_conv.build(input_shape)
        shape = (None, *MASK_SIZE_HW, FILTERS)
        for conv in self.convs:
            conv.build(shape)
        self.last_conv.build(shape)

    def call(self, features, classes=None):
        """Mask logits float32 `[N, 33, 33]` of `classes`, int32 `[N]` from 0; `[N, 33, 33, num_classes]` if None."""
        x = self.enlarged_conv(features)
        for conv in self.convs:
            x = conv(x)
        return self.last_conv(x) if classes is None else self.last_conv(x, classes)


class EnlargedConv(keras.layers.Layer):
    """Bilinear enlargement with aligned corners, then a 3x3 convolution and ReLU, in an order that costs a thirteenth.

    Both are linear: so the small map is multiplied with each of the kernel's nine taps, and the nine results are
    enlarged, shifted by their tap and added.

    Args:
      filters: of the convolution.
      size_hw: to which the map is enlarged.
      source: prefix of the published variables.
    """

    def __init__(self, filters: int, size_hw: tuple[int, int], source: str, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size_hw, self.source = filters, size_hw, source

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 9 * self.filters), initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.enlarge_y, self.enlarge_x = (
            shifted_enlargements(n_in, n_out) for n_in, n_out in zip(input_shape[1:3], self.size_hw, strict=True)
        )

    def call(self, inputs):
        _, height, width, _ = inputs.shape
        taps = ops.reshape(ops.matmul(inputs, self.kernel), (-1, height, width, 3, 3, self.filters))
        enlarge_y, enlarge_x = (ops.convert_to_tensor(m, taps.dtype) for m in (self.enlarge_y, self.enlarge_x))
        across = ops.einsum("nyxijc,jqx->nyiqc", taps, enlarge_x)
        return ops.relu(ops.einsum("nyiqc,ipy->npqc", across, enlarge_y) + self.bias)

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        return {
            f"{self.source}/kernel": (3, 3, self.kernel.shape[0], self.filters),
            f"{self.source}/bias": (self.filters,),
        }

    def fill(self, variables) -> None:
        """See `Conv.fill`."""
        kernel = np.transpose(variables[f"{self.source}/kernel"], (2, 0, 1, 3))  # [in, row, column, out]
        self.kernel.assign(kernel.reshape(self.kernel.shape))
        self.bias.assign(variables[f"{self.source}/bias"])


def shifted_enlargements(n_in: int, n_out: int) -> np.ndarray:
    """Matrices float32 `[3, n_out, n_in]` that enlarge an axis with aligned corners, then shift it by -1, 0 and 1.

    Row o of the matrix for tap k holds the weights of output cell o + k - 1, and zeros where there is no such cell.
    """
    position = np.arange(n_out) * np.float32((n_in - 1) / (n_out - 1))
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, n_in - 1)
    enlarge = np.zeros((n_out + 2, n_in), np.float32)  # a row of zeros on either side
    np.add.at(enlarge, (np.arange(n_out) + 1, low), 1 - (position - low))
    np.add.at(enlarge, (np.arange(n_out) + 1, high), position - low)
    return np.stack([enlarge[k : k + n_out] for k in range(3)])


class ClassConv(keras.layers.Layer):
    """3x3 convolution with a channel a class, of which one can be had alone, each row its own.

    Args:
      num_classes: channels.
      source: prefix of the published variables.
    """

    def __init__(self, num_classes: int, source: str, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.source = num_classes, source

    def build(self, input_shape, classes_shape=None):
        shape = (3, 3, input_shape[-1], self.num_classes)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", name="bias")

    def call(self, inputs, classes=None):
        """`[N, h, w, num_classes]` of inputs `[N, h, w, C]`; with `classes`, int32 `[N]`, only theirs `[N, h, w]`."""
        if classes is None:
            return ops.conv(inputs, self.kernel, padding="same") + self.bias
        _, height, width, channels = inputs.shape
        kernels = ops.reshape(ops.take(ops.transpose(self.kernel, (3, 2, 0, 1)), classes, axis=0), (-1, channels, 9))
        taps = ops.matmul(ops.reshape(inputs, (-1, height * width, channels)), kernels)
        taps = ops.pad(ops.reshape(taps, (-1, height, width, 9)), ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [taps[:, i : i + height, j : j + width, 3 * i + j] for i in range(3) for j in range(3)]
        return sum(shifted[1:], shifted[0]) + ops.take(self.bias, classes)[:, None, None]

    def sources(self) -> dict[str, tuple[int, ...]]:
        """See `Conv.sources`."""
        return {f"{self.source}/kernel": tuple(self.kernel.shape), f"{self.source}/bias": (self.num_classes,)}

    def fill(self, variables) -> None:
        """See `Conv.fill`."""
        self.kernel.assign(variables[f"{self.source}/kernel"])
        self.bias.assign(variables[f"{self.source}/bias"])
