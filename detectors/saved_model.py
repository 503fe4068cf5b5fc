"""Engine `saved_model`: runs a published detector's SavedModel as it is, whatever network it holds.

Published graphs take one image a call, so the device is kept busy with concurrent calls. Where the signature has a free
batch axis, images of one size share a call. Not for running published weights in real batches or in bfloat16: that
is engine `keras`.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from ..storage.errors import WeightsError
from .protocol import Detections, DetectOptions, InvalidDetections
from .signature import MASKS_OUTPUT, REQUIRED_OUTPUTS, SIGNATURE, check_outputs, read_signature

# While one call is in its serial parts, another one computes. More gain nothing, and each keeps an image's activations
# (`benchmarks/saved_model_on_cpus.py`).
CONCURRENT_CALLS = 2


class SavedModelDetector:
    """A SavedModel with the TF Object Detection API's signature.

    Args:
      folder: the SavedModel's folder.
      options: what is wanted of it.
      max_batch_size: images a call at most, where the signature's batch is free.
      concurrent_calls: calls of the model at the same time.

    Raises:
      WeightsError: if the model can't be loaded or doesn't give what `options` ask for.
    """

    def __init__(
        self, folder: str, options: DetectOptions, *, max_batch_size: int = 8, concurrent_calls: int = CONCURRENT_CALLS
    ):
        self._signature = read_signature(folder)
        check_outputs(self._signature, options, masks_promised=False, where=f"weights {folder}")
        self._options = options
        self._max_batch_size = 1 if self._signature.fixed_batch else max_batch_size
        try:
            self._model = tf.saved_model.load(folder)  # kept: its variables live as long as it does
        except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
            raise WeightsError(f"weights {folder}: the SavedModel can't be loaded ({error}); fetch it again") from error
        self._call = self._model.signatures[SIGNATURE]
        self._wanted = {*REQUIRED_OUTPUTS, *options.keep}
        if options.masks and self._signature.has_masks:
            self._wanted.add(MASKS_OUTPUT)
        self._calls = ThreadPoolExecutor(concurrent_calls, thread_name_prefix="saved-model-call")

    @property
    def batches(self) -> bool:
        return not self._signature.fixed_batch

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        groups = list(self._groups(images))
        results: list[Detections] = [None] * len(images)
        for indices, detections in zip(groups, self._calls.map(lambda g: self._detect_group(images, g), groups)):
            for index, found in zip(indices, detections):
                results[index] = found
        return results

    def _groups(self, images: Sequence[np.ndarray]):
        """Indices of the images that share a call: one, or as many of one size as the batch holds."""
        by_size = defaultdict(list)
        for index, image in enumerate(images):
            by_size[image.shape].append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), self._max_batch_size):
                yield indices[start : start + self._max_batch_size]

    def _detect_group(self, images: Sequence[np.ndarray], indices: list[int]) -> list[Detections]:
        batch = images[indices[0]][np.newaxis] if len(indices) == 1 else np.stack([images[i] for i in indices])
        try:
            outputs = self._call(**{self._signature.input_name: tf.constant(batch)})
            # Only what is wanted is copied from the device.
            arrays = {name: tensor.numpy() for name, tensor in outputs.items() if name in self._wanted}
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"the model ran out of memory on {batch.shape}: {error.message}") from error
        return [
            _detections({name: _row(array, i, len(indices)) for name, array in arrays.items()}, self._options)
            for i in range(len(indices))
        ]


def _row(array: np.ndarray, index: int, batch_size: int) -> np.ndarray:
    """One image's share of an output. Outputs without a batch axis (anchors, image_shape) belong to every image."""
    if array.ndim and array.shape[0] == batch_size:
        return np.asarray(array[index])
    return array


def _detections(outputs: dict[str, np.ndarray], options: DetectOptions) -> Detections:
    """One image's outputs as `Detections`: valid rows, best first, those asked for."""
    num_detections = float(np.ravel(outputs["num_detections"])[0])
    scores = outputs["detection_scores"].astype(np.float32, copy=False)
    if not np.isfinite(num_detections):
        raise InvalidDetections(f"num_detections is {num_detections}")
    valid = min(int(num_detections), len(scores))
    if np.isnan(scores[:valid]).any():
        raise InvalidDetections("detection_scores: holds NaN")
    order = np.argsort(-scores[:valid], kind="stable")
    kept = order[scores[order] >= options.min_score][: options.max_detections]
    masks = outputs.get(MASKS_OUTPUT)
    return Detections(
        boxes_yxyx=outputs["detection_boxes"][kept].astype(np.float32, copy=False),
        class_ids=np.rint(outputs["detection_classes"][kept]).astype(np.int32),
        scores=scores[kept],
        masks=None if masks is None or not options.masks else masks[kept].astype(np.float32, copy=False),
        extras={name: outputs[name] for name in options.keep},
    )
