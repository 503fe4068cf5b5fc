"""Engine `keras`: a Keras network behind the `Detector` protocol, in batches of images of any sizes.

Each image goes through the network's own resizer on the host, so images of different sizes share a batch. Masks
are made only for the detections that are kept.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...storage.errors import UsageError
from ..protocol import MAX_BOXES, Detections, DetectOptions, num_dropped
from .batch_size import BatchSize
from .compiled import compiled, compiles_each_shape, device_name, is_out_of_memory, to_numpy
from .networks import build_network, check_outputs
from .weights import load_weights

ALWAYS = ("num_detections", "detection_boxes", "detection_classes", "detection_scores")
MASKS_AT_ONCE = (32, 8)  # rows of one call of the mask stage: as many of the larger as there are, then the smaller
NOT_PER_IMAGE = ("anchors", "image_shape")


@dataclass(frozen=True)
class KerasInput:
    """An image as a network takes it.

    Attributes:
      pixels: float32 `[height, width, 3]`, of the network's input.
      true_size_hw: int32 `[2]`, (height, width) of the image's part of them.
    """

    pixels: np.ndarray
    true_size_hw: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes


class KerasDetector:
    """A Keras network, filled and compiled.

    Args:
      network: its name, see `networks.NETWORKS`.
      weights_file: from `weights.import_weights` or `weights.cached_weights`.
      options: what is wanted of it.
      precision: of the convolutions, `float32` or `bfloat16`.
      max_batch_size: images a call of the network at most, or `auto`: found by trying.

    Raises:
      WeightsError: if the file doesn't hold this network's weights.
      UsageError: if there's no such network, or `options.keep` has a name that isn't one of its outputs.
    """

    batches = True

    def __init__(
        self,
        network: str,
        weights_file: str,
        options: DetectOptions,
        *,
        precision: str = "float32",
        max_batch_size: int | Literal["auto"] = 8,
    ):
        check_outputs(network, options.keep)
        self._network = build_network(network, precision)
        self.fingerprint = load_weights(self._network, weights_file)
        self.device = device_name()
        self._options = options
        self._batch_size = BatchSize(None if max_batch_size == "auto" else max_batch_size)
        self._host = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="preprocess")
        self._outputs = tuple(dict.fromkeys((*ALWAYS, *options.keep)))
        self._makes_masks = options.masks and self._network.mask_size_hw is not None
        if self._network.has_proposals:
            self._detect = self._compiled(lambda pixels: self._network.detect(pixels, self._outputs), "float32")
            self._detect_in_boxes = self._compiled(
                lambda pixels, boxes, counts: self._network.detect(pixels, self._outputs, boxes, counts),
                "float32",
                "float32",
                "int32",
            )
            self._masks = self._compiled(self._network.masks, precision, "float32", "int32", "int32")
        else:
            self._detect = self._compiled(
                lambda *inputs: (self._network(*inputs, outputs=self._outputs), None), "float32", "int32"
            )

    def _compiled(self, function, *dtypes: str):
        return compiled(function, self._network, dtypes)

    @property
    def batch_size(self) -> int:
        """Images a call of the network, as of now."""
        return self._batch_size.size

    def detect(self, images: Sequence[np.ndarray | KerasInput]) -> list[Detections]:
        """See `Detector.detect`.

        Raises:
          InvalidDetections: if an image can't be resized to the network's input.
        """
        return self._detect_all(images, [()] * len(images))

    def prepare(self, image: np.ndarray) -> KerasInput:
        """See `PreparingDetector.prepare`."""
        return KerasInput(*self._network.preprocess(image))

    def detect_in_boxes(
        self, images: Sequence[np.ndarray | KerasInput], boxes_yxyx: Sequence[np.ndarray]
    ) -> list[Detections]:
        """See `BoxClassifier.detect_in_boxes`.

        Raises:
          UsageError: if the network has no proposals, or the boxes aren't as they should be.
        """
        if not self._network.has_proposals:
            raise UsageError(
                f"boxes: {self._network.name} has no proposals whose place boxes could take; use Mask R-CNN"
            )
        padded = [padded_boxes(boxes) for boxes in boxes_yxyx]  # first: wrong ones cost no work
        return self._detect_all(images, padded)

    def _detect_all(
        self, images: Sequence[np.ndarray | KerasInput], boxes: Sequence[tuple[np.ndarray, ...]]
    ) -> list[Detections]:
        """Detections of each image; later ones are made the network's input while it has the first."""
        # One array, of which each batch is a part: batches put together from images would be copied by this thread.
        pixels = np.empty((len(images), *self._network.input_size_hw, 3), np.float32)
        sizes = [self._host.submit(self._put, image, out) for image, out, _ in zip(images, pixels, boxes, strict=True)]
        found, start = [], 0
        while start < len(images):
            size = min(self._batch_size.size, len(images) - start)
            batch = slice(start, start + size)
            sizes_hw = [one.result() for one in sizes[batch]]
            inputs = zip(*boxes[batch]) if self._network.has_proposals else [sizes_hw]
            began = time.perf_counter()
            try:
                found += self._detect_batch([pixels[batch], *map(np.stack, inputs)])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._batch_size.out_of_memory(size)  # raises if it was one image; else these go again, in halves
                continue
            self._batch_size.finished(size, time.perf_counter() - began)
            start += size
        return found

    def _put(self, image: np.ndarray | KerasInput, pixels: np.ndarray) -> np.ndarray:
        """Puts an image into its part of a batch; gives its true size there."""
        if isinstance(image, KerasInput):
            np.copyto(pixels, image.pixels)
            return image.true_size_hw
        return self._network.preprocess(image, pixels)[1]

    def _detect_batch(self, batch: list[np.ndarray]) -> list[Detections]:
        count = len(batch[0])
        # One compilation a power of two, not one for every number of images that happens to come.
        padding = (1 << (count - 1).bit_length()) - count if compiles_each_shape() else 0
        if padding:
            batch = [np.concatenate([array, np.repeat(array[-1:], padding, axis=0)]) for array in batch]
        call = self._detect_in_boxes if len(batch) == 3 else self._detect
        outputs, croppable = call(*batch)
        arrays = {name: to_numpy(outputs[name]) for name in self._outputs}
        kept = [self._kept(arrays, i) for i in range(count)]
        masks = self._masks_of(croppable, arrays, kept) if self._makes_masks else [None] * count
        return [self._detections(arrays, i, len(batch[0]), kept[i], masks[i]) for i in range(count)]

    def _kept(self, arrays: dict[str, np.ndarray], i: int) -> np.ndarray:
        """Rows of image i's detections that are wanted; the first ones, since they come by score."""
        num_wanted = np.count_nonzero(self._valid_scores(arrays, i) >= self._options.min_score)
        return np.arange(min(num_wanted, self._options.max_detections))

    def _valid_scores(self, arrays: dict[str, np.ndarray], i: int) -> np.ndarray:
        return arrays["detection_scores"][i, : int(arrays["num_detections"][i])]

    def _masks_of(self, croppable, arrays: dict[str, np.ndarray], kept: list[np.ndarray]) -> list[np.ndarray]:
        """Masks of the kept detections of all images, in calls of few fixed sizes."""
        image = np.repeat(np.arange(len(kept), dtype=np.int32), [len(rows) for rows in kept])
        row = np.concatenate(kept)
        boxes = arrays["detection_boxes"][image, row]
        classes = arrays["detection_classes"][image, row].astype(np.int32) - 1
        masks, start = [np.zeros((0, *self._network.mask_size_hw), np.float32)], 0
        while start < len(row):
            size = next((s for s in MASKS_AT_ONCE if s <= len(row) - start), MASKS_AT_ONCE[-1])
            rows = np.minimum(np.arange(start, start + size), len(row) - 1)
            masks.append(to_numpy(self._masks(croppable, boxes[rows], image[rows], classes[rows])))
            start += size
        return np.split(np.concatenate(masks)[: len(row)], np.cumsum([len(rows) for rows in kept])[:-1])

    def _detections(self, arrays, i: int, batch_size: int, kept: np.ndarray, masks: np.ndarray | None) -> Detections:
        return Detections(
            boxes_yxyx=arrays["detection_boxes"][i][kept],
            class_ids=arrays["detection_classes"][i][kept].astype(np.int32),
            scores=arrays["detection_scores"][i][kept],
            masks=masks,
            extras={name: image_share(name, arrays[name], i, batch_size) for name in self._options.keep},
            num_dropped=num_dropped(self._valid_scores(arrays, i), self._options.min_score),
        )


def padded_boxes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `[P, 4]` padded with zeros to `[300, 4]`, and P.

    Raises:
      UsageError: if there are too many, or it isn't an array of boxes.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) > MAX_BOXES:
        raise UsageError(f"boxes: expected at most {MAX_BOXES} boxes an image, [P, 4], got {list(boxes.shape)}")
    return np.pad(boxes.astype(np.float32), ((0, MAX_BOXES - len(boxes)), (0, 0))), np.array(len(boxes), np.int32)


def image_share(name: str, array: np.ndarray, i: int, batch_size: int) -> np.ndarray:
    """Image i's share of an output: as the published graph gives it for one image, without a batch axis of 1."""
    if name == "image_shape":
        return np.concatenate([np.ones(1, np.float32), array[1:]])
    if name in NOT_PER_IMAGE:
        return array
    if len(array) == batch_size:
        return array[i]
    rows = len(array) // batch_size  # image-major: [batch * rows, …]
    return array[i * rows : (i + 1) * rows]
