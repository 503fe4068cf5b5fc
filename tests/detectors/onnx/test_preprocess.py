import numpy as np
import pytest
from labelbeam.detectors.onnx.options import OnnxOptions
from labelbeam.detectors.onnx.preprocess import place, prepared
from PIL import Image

OPTIONS = OnnxOptions("yolo")


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_hw", [(100, 100), (50, 200), (333, 77), (1, 1), (1000, 3)])
def test_boxes_find_their_way_back(size_hw, resize):
    placement = place(size_hw, (64, 96), resize)
    height, width = size_hw
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.5, 0.75]])
    y, x = boxes[:, 0::2] * height * placement.scale_y + placement.top, boxes[:, 1::2] * width * placement.scale_x
    x = x + placement.left
    in_input = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    assert in_input.min() >= 0 and (in_input.max(axis=0) <= [96, 64, 96, 64]).all()
    np.testing.assert_allclose(placement.to_image(in_input, size_hw), boxes, atol=1e-6)
    assert placement.to_image(in_input * 100, size_hw).max() == 1  # never outside


def test_levels_channels_and_layout():
    image = np.zeros((64, 64, 3), np.uint8) + np.uint8([255, 51, 0])
    pixels, _ = prepared(image, (64, 64), "stretch", OPTIONS)
    assert pixels.shape == (3, 64, 64) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 5, 7], [1, 0.2, 0], atol=1e-6)
    options = OnnxOptions("yolo", layout="nhwc", channel_order="bgr", mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
    pixels, _ = prepared(image, (64, 64), "stretch", options)
    np.testing.assert_allclose(pixels[5, 7], [(0 - 0.5) / 0.5, (0.2 - 0.5) / 0.25, (1 - 0.5) / 0.5], atol=1e-6)


def test_a_letterbox_keeps_the_image_and_pads_around_it():
    image = np.random.default_rng(1).integers(0, 256, (30, 60, 3), np.uint8)
    pixels, placement = prepared(image, (64, 64), "letterbox", OPTIONS)
    assert (placement.top, placement.left) == (16, 0)
    np.testing.assert_allclose(pixels[:, :16], 114 / 255, atol=1e-6)
    inner = np.asarray(Image.fromarray(image).resize((64, 32), Image.Resampling.BILINEAR)) / np.float32(255)
    np.testing.assert_allclose(pixels[:, 16:48], inner.transpose(2, 0, 1), atol=1e-6)
