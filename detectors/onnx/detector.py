"""Engine `onnx`: an ONNX model behind the `Detector` protocol."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...storage.errors import UsageError, WeightsError
from ..config import DetectorConfig
from ..protocol import Detections, DetectOptions, InvalidDetections, as_class_ids, num_dropped
from .decoders import DECODERS, Decoded, prototypes, suppressed
from .masks import box_masks
from .model import OnnxModel, open_model
from .preprocess import Placement, prepared

CANDIDATES = 1000  # rows that go into the suppression: the best of them
SLIGHTLY = 1e-4  # scores may exceed 1 by rounding


@dataclass(frozen=True)
class OnnxInput:
    """An image as a model takes it.

    Attributes:
      pixels: float32 or uint8, see `prepared`.
      placement: where the image lies in them.
      size_hw: (height, width) of the image in pixels.
    """

    pixels: np.ndarray
    placement: Placement
    size_hw: tuple[int, int]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes


class OnnxDetector:
    """An ONNX model, in batches where its input's first axis is free.

    Args:
      model: the .onnx file, or what was opened of it with `config.onnx`'s layout and providers.
      config: the detector's configuration: what goes in, what the outputs mean, and the input's size where the model
        leaves it free.
      options: what is wanted of it.
      max_batch_size: images a call at most.
      threads: of one operation; 0 for all processors.

    Raises:
      UsageError: if ONNX Runtime isn't there, the input's size isn't known, or `options.keep` names no output.
      WeightsError: if the file isn't such a model.
    """

    def __init__(
        self,
        model: str | OnnxModel,
        config: DetectorConfig,
        options: DetectOptions,
        *,
        max_batch_size: int = 8,
        threads: int = 0,
    ):
        onnx = config.onnx
        if onnx is None:
            raise UsageError(f"detector {config.name}: the key onnx is missing, which says what the outputs mean")
        self._model = open_model(model, onnx.layout, onnx.providers, threads) if isinstance(model, str) else model
        file = self._model.file
        size = self._model.input_hw or config.input_size_hw
        if size is None and not self._model.takes_bytes:
            raise UsageError(
                f"weights {file}: the model takes any size; say which with input_size_hw and resize in YAML"
            )
        for name in options.keep:
            if name not in self._model.outputs:
                raise UsageError(
                    f"--keep {name}: the model has no such output; it has {', '.join(self._model.outputs)}"
                )
        self._has_masks = onnx.decoder == "yolo" and self._model.has_prototypes
        if config.masks and options.masks and not self._has_masks:
            raise WeightsError(
                f"weights {file}: the configuration promises masks, which decoder yolo makes of prototypes, an output "
                f"[N, M, h, w]; the model gives {self._model.described_outputs}. Write `masks: false`"
            )
        self._input_hw, self._onnx, self._options = size, onnx, options
        self._resize: Literal["stretch", "letterbox"] = config.resize or "letterbox"
        self._batch_size = max_batch_size if self._model.free_batch and size is not None else 1
        self._host = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="onnx-preprocess")

    @property
    def batches(self) -> bool:
        return self._model.free_batch

    @property
    def has_masks(self) -> bool:
        """Whether the model gives masks."""
        return self._has_masks

    def detect(self, images: Sequence[np.ndarray | OnnxInput]) -> list[Detections]:
        """See `Detector.detect`. Later images are prepared while the model has the first."""
        inputs = [self._host.submit(self._prepare_once, image) for image in images]
        found: list[Detections] = []
        for start in range(0, len(images), self._batch_size):
            batch = [one.result() for one in inputs[start : start + self._batch_size]]
            outputs = self._model.session.run(None, {self._model.input_name: np.stack([one.pixels for one in batch])})
            for i, one in enumerate(batch):
                found.append(self._detections(self._of_image(outputs, i, len(batch)), one.placement, one.size_hw))
        return found

    def prepare(self, image: np.ndarray) -> OnnxInput:
        """See `PreparingDetector.prepare`."""
        size_hw = image.shape[:2]
        input_hw = self._input_hw or size_hw  # the model resizes what it takes in any size
        found = prepared(image, input_hw, self._resize, self._onnx, as_bytes=self._model.takes_bytes)
        return OnnxInput(*found, size_hw)

    def _prepare_once(self, image: np.ndarray | OnnxInput) -> OnnxInput:
        return image if isinstance(image, OnnxInput) else self.prepare(image)

    def _of_image(self, outputs: Sequence[np.ndarray], i: int, batch_size: int) -> dict[str, np.ndarray]:
        named = dict(zip(self._model.outputs, outputs, strict=True))
        for name, array in named.items():
            if (array.ndim == 0 or len(array) != batch_size) and batch_size > 1:
                raise InvalidDetections(
                    f"output {name}: expected {batch_size} rows for as many images, got {array.shape}"
                )
        # Models for one image may leave the batch axis out.
        whole = batch_size == 1 and not any(array.ndim == 3 for array in outputs)
        return named if whole else {name: array[i] for name, array in named.items()}

    def _detections(self, outputs: dict[str, np.ndarray], placement: Placement, size_hw: tuple[int, int]) -> Detections:
        input_hw = self._input_hw or size_hw
        found = DECODERS[self._onnx.decoder](outputs, input_hw, self._onnx)
        _check_scores(found.scores)
        rows = np.flatnonzero(found.scores >= self._options.min_score)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        if self._onnx.decoder == "yolo":
            rows = rows[:CANDIDATES]
            rows = rows[suppressed(found.take(rows), self._onnx.nms_iou)]
        kept = found.take(rows[: self._options.max_detections])
        boxes = placement.to_image(kept.boxes_xyxy, size_hw)
        return Detections(
            boxes,
            as_class_ids(kept.classes + self._onnx.first_id),
            np.clip(kept.scores, 0, 1).astype(np.float32),
            self._masks(outputs, kept, placement.to_input(boxes, size_hw), input_hw),
            extras={name: outputs[name] for name in self._options.keep},
            num_dropped=num_dropped(found.scores, self._options.min_score),
        )

    def _masks(
        self, outputs: dict[str, np.ndarray], kept: Decoded, boxes_xyxy: np.ndarray, input_hw: tuple[int, int]
    ) -> np.ndarray | None:
        maps = prototypes(outputs) if self._has_masks and self._options.masks else None
        if maps is None or kept.coefficients is None:
            return None
        return box_masks(maps, kept.coefficients, boxes_xyxy, input_hw)


def _check_scores(scores: np.ndarray) -> None:
    if len(scores) and not (np.isfinite(scores).all() and scores.min() >= -SLIGHTLY and scores.max() <= 1 + SLIGHTLY):
        raise InvalidDetections(
            f"scores: expected values from 0 to 1, got {scores.min()} to {scores.max()}; is the decoder the right one?"
        )
