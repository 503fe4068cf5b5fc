"""What a network costs: parameters, and multiplications of its convolutions and dense layers, part by part.

Counted from the layers' shapes, for one image; 1 GMAC is 10**9 multiply-accumulates. Element-wise work, resizing,
cropping and NMS aren't counted. `plain` is the published graph's way, `keras` what is left after the rearrangements.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from labelbeam.detectors.keras.mask_rcnn.box_classifier import MAX_DETECTIONS
from labelbeam.detectors.keras.mask_rcnn.network import CROP_HW
from labelbeam.detectors.keras.mask_rcnn.region_proposal import MAX_PROPOSALS
from labelbeam.detectors.keras.weights import needed_variables


@dataclass(frozen=True)
class Part:
    """A part of a network: its name, and GMAC an image in the published graph and here."""

    name: str
    plain_gmac: float
    keras_gmac: float


def parameters(network: keras.Model) -> int:
    """Numbers in the published variables that the network is made of."""
    return sum(int(np.prod(shape)) for shape in needed_variables(network).values())


def gmac(model: keras.Model) -> float:
    """GMAC of a functional model for one row of its batch."""
    return sum(_layer_macs(layer) for layer in model.layers) / 1e9


def _layer_macs(layer: Any) -> int:
    if not hasattr(layer, "kernel"):
        return 0
    # A kernel meets every output cell once, a transposed convolution's every input cell.
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    cells = getattr(layer, "input" if transposed else "output").shape
    return int(np.prod(layer.kernel.shape)) * int(np.prod(cells[1:-1]))


def _conv_gmac(size_hw: tuple[int, int], kernel_size: int, channels_in: int, channels_out: int) -> float:
    return size_hw[0] * size_hw[1] * kernel_size**2 * channels_in * channels_out / 1e9


def centernet_parts(network) -> list[Part]:
    """CenterNet's parts, in their order."""
    extractor = network.feature_extractor
    backbone = gmac(keras.Model(extractor.input, extractor.get_layer("conv5_block3_out").output))
    height, width, _ = extractor.output_shape[1:]
    center = gmac(network.center_head)
    head = network.scale_head
    cells, at_peaks = height * width, 100
    per_cell = (np.prod(head.hidden_kernel.shape) + np.prod(head.kernel.shape)) / 1e9
    return [
        Part("ResNet50-v2", backbone, backbone),
        Part("neck", gmac(extractor) - backbone, gmac(extractor) - backbone),
        Part("center head", center, center),
        Part("scale head", cells * per_cell, at_peaks * per_cell),
        Part("offset head", cells * per_cell, at_peaks * per_cell),
    ]


def mask_rcnn_parts(network, num_masks: int) -> list[Part]:
    """Mask R-CNN's parts, in their order, with so many masks made here (the published graph always makes 100)."""
    first, rpn = gmac(network.first_stage), gmac(network.rpn_head)
    height, width, channels = network.first_stage.output_shape[1:]
    reduced = network.mixed_7a_reductions.kernel.shape[-1]
    reductions_on_map = _conv_gmac((height, width), 1, channels, reduced)
    tower = gmac(network.tower)
    plain_tower = tower + _conv_gmac(CROP_HW, 1, channels, reduced)
    boxes = gmac(network.box_head)
    plain_masks, masks = _mask_head_gmac(network)
    detections = f"{MAX_DETECTIONS} / {num_masks} detections"
    return [
        Part("Inception-ResNet-v2, first stage", first, first),
        Part("RPN", rpn, rpn),
        Part("mixed_7a's 1x1 convolutions, on the map", 0.0, reductions_on_map),
        Part("tower on 300 proposals", MAX_PROPOSALS * plain_tower, MAX_PROPOSALS * tower),
        Part("box and class heads", MAX_PROPOSALS * boxes, MAX_PROPOSALS * boxes),
        Part(f"tower on {detections}", MAX_DETECTIONS * plain_tower, num_masks * tower),
        Part(f"mask head on {detections}", MAX_DETECTIONS * plain_masks, num_masks * masks),
    ]


def _mask_head_gmac(network) -> tuple[float, float]:
    """Of one detection: in the published graph, and here."""
    head = network.mask_head
    small_hw, channels = network.tower.output_shape[1:3], network.tower.output_shape[-1]
    large_hw, filters = network.mask_size_hw, head.enlarged_conv.filters
    middle = len(head.convs) * _conv_gmac(large_hw, 3, filters, filters)
    first = _conv_gmac(large_hw, 3, channels, filters)
    last = _conv_gmac(large_hw, 3, filters, head.last_conv.num_classes)
    taps = _conv_gmac(small_hw, 1, channels, 9 * filters)
    (rows_in, cols_in), (rows_out, cols_out) = small_hw, large_hw
    enlarging = (3 * rows_in * 3 * cols_in * cols_out + cols_out * 3 * rows_in * rows_out) * filters / 1e9
    return first + middle + last, taps + enlarging + middle + _conv_gmac(large_hw, 3, filters, 1)
