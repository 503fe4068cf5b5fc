"""What a configuration says of an ONNX model: what goes in, and what its outputs mean."""

from dataclasses import dataclass
from typing import Literal

from ...storage.errors import ConfigError
from ..box_format import BoxFormat

Decoder = Literal["boxes_scores_labels", "detr", "yolo"]


@dataclass(frozen=True)
class OnnxOptions:
    """Key `onnx` of a detector's YAML file.

    Attributes:
      decoder: what the outputs mean, see `decoders`.
      layout: of the input, `nchw` or `nhwc`.
      channel_order: `rgb` or `bgr`.
      scale: pixels from 0 to 255 are multiplied by it first; 1 for models that take them as they are.
      mean, std: then the mean is subtracted and the result divided by the deviation, by channel.
      padding: level from 0 to 255 of what a letterbox adds.
      first_id: id of the model's class 0 in the label map.
      box_format: of decoder `boxes_scores_labels`: `xyxy` or `yxyx`, each in pixels of the input or, with
        `_normalised`, from 0 to 1.
      objectness: of decoder `yolo`: whether column 4 is an objectness (v3 to v7); classes begin there from v8 on.
      activation: of decoder `detr`: `softmax` (DETR: the last class is "nothing") or `sigmoid` (its successors).
      nms_iou: of decoder `yolo`: boxes of a class that overlap more than this are one object.
      providers: of ONNX Runtime, in order of preference, as in `[OpenVINOExecutionProvider]`; empty for CUDA where
        there is one, else the CPU.
    """

    decoder: Decoder
    layout: Literal["nchw", "nhwc"] = "nchw"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    padding: int = 114
    first_id: int = 0
    box_format: BoxFormat = "xyxy"
    objectness: bool = False
    activation: Literal["softmax", "sigmoid"] = "sigmoid"
    nms_iou: float = 0.5
    providers: tuple[str, ...] = ()

    def __post_init__(self):
        if min(self.std) <= 0:
            raise ConfigError(f"onnx: std: expected numbers above 0, got {list(self.std)}")
        if not 0 < self.nms_iou <= 1:
            raise ConfigError(f"onnx: nms_iou: expected a number from 0 to 1, got {self.nms_iou}")
        if not 0 <= self.padding <= 255:
            raise ConfigError(f"onnx: padding: expected a level from 0 to 255, got {self.padding}")
