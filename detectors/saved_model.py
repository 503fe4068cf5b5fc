"""Engine `saved_model`: runs a published detector's SavedModel as it is, whatever network it holds.

Published graphs take one image a call, so the device is kept busy with concurrent calls. Where the signature has a free
batch axis, images of one size share a call.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from ..storage.errors import WeightsError
from .box_format import BoxFormat, normalised_yxyx
from .device_share import tensorflow_device
from .protocol import Detections, DetectOptions, InvalidDetections, as_class_ids, num_dropped
from .signature import MASKS_OUTPUT, RANKS, REQUIRED_OUTPUTS, SIGNATURE, InputKind, check_outputs, read_signature

# While one call is in its serial parts, another one computes. More gain nothing, and each keeps an image's activations
# (`benchmarks/detectors/saved_model_on_cpus.py`).
CONCURRENT_CALLS = 2

_PROBE_SIDE = 64  # of the images with which a model is asked for the batch axis of its outputs


class SavedModelDetector:
    """A SavedModel with the TF Object Detection API's signature.

    Args:
      folder: the SavedModel's folder.
      options: what is wanted of it.
      box_format: of the model's boxes.
      max_batch_size: images a call at most, where the signature's batch is free.
      concurrent_calls: calls of the model at the same time.

    Raises:
      WeightsError: if the model can't be loaded or doesn't give what `options` ask for.
    """

    def __init__(
        self,
        folder: str,
        options: DetectOptions,
        box_format: BoxFormat = "yxyx_normalised",
        *,
        max_batch_size: int = 8,
        concurrent_calls: int = CONCURRENT_CALLS,
    ):
        self._signature = read_signature(folder)
        check_outputs(self._signature, options, masks_promised=False, where=f"weights {folder}")
        self._options = options
        self._box_format: BoxFormat = box_format
        try:
            self._model = tf.saved_model.load(folder)  # kept: its variables live as long as it does
        except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
            raise WeightsError(f"weights {folder}: the SavedModel can't be loaded ({error}); fetch it again") from error
        self._call = self._model.signatures[SIGNATURE]
        self._wanted = {*REQUIRED_OUTPUTS, *({"num_detections"} & {*self._signature.outputs}), *options.keep}
        if options.masks and self._signature.has_masks:
            self._wanted.add(MASKS_OUTPUT)
        self._batches = (
            not self._signature.fixed_batch and self._signature.has_batch_axis("detection_scores") is not False
        )
        self._max_batch_size = max_batch_size if self._batches else 1
        self._has_batch_axis = self._find_batch_axes()
        self.device = tensorflow_device()
        self._calls = ThreadPoolExecutor(concurrent_calls, thread_name_prefix="saved-model-call")

    @property
    def batches(self) -> bool:
        return self._batches

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        groups = list(self._groups(images))
        found: dict[int, Detections] = {}
        for indices, detections in zip(
            groups, self._calls.map(lambda group: self._detect_group(images, group), groups), strict=True
        ):
            found.update(zip(indices, detections, strict=True))
        return [found[index] for index in range(len(images))]

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
            outputs = self._run(batch)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"the model ran out of memory on {batch.shape}: {error.message}") from error
        return [
            detections_of_outputs(
                {name: self._row(name, array, i) for name, array in outputs.items()},
                self._options,
                None if self._signature.mask_size_known else batch.shape[1:3],
                self._box_format,
                (batch.shape[1], batch.shape[2]),
            )
            for i in range(len(indices))
        ]

    def _run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """One call of the model; only what is wanted is copied from the device."""
        outputs = self._call(**{self._signature.input_name: model_input(batch, self._signature.input_kind)})
        return {name: tensor.numpy() for name, tensor in outputs.items() if name in self._wanted}

    def _find_batch_axes(self) -> dict[str, bool]:
        """Which outputs have a batch axis. Where the signature doesn't say it, the model is asked: that axis is as long
        as the batch, with one image and with two."""
        known = {name: self._signature.has_batch_axis(name) for name in self._wanted if name not in RANKS}
        if None in known.values():
            sizes = (1, 2) if self._batches else (1,)
            calls = [(n, self._run(np.zeros((n, _PROBE_SIDE, _PROBE_SIDE, 3), np.uint8))) for n in sizes]
            for name, has in known.items():
                known[name] = all(outputs[name].shape[:1] == (n,) for n, outputs in calls) if has is None else has
        return {name: bool(has) for name, has in known.items()}

    def _row(self, name: str, array: np.ndarray, index: int) -> np.ndarray:
        """One image's share of an output. Outputs without a batch axis (anchors, image_shape) belong to every image."""
        has_batch_axis = array.ndim > RANKS[name] if name in RANKS else self._has_batch_axis[name]
        return np.asarray(array[index]) if has_batch_axis else array


def model_input(batch: np.ndarray, kind: InputKind) -> tf.Tensor:
    """Images as a model takes them.

    A model that takes image files gets the decoded pixels as PNG files, without loss: so it sees the same pixels as any
    other, turned by EXIF and of any format or tile, whatever its own decoder makes of a file.

    Args:
      batch: uint8 `[B, H, W, 3]`.

    Returns:
      uint8 or float32 `[B, H, W, 3]`, or string `[B]`.
    """
    if kind == "pixels":
        return tf.constant(batch)
    if kind == "float_pixels":
        return tf.constant(batch.astype(np.float32))
    encoded = [tf.io.encode_png(image, compression=0).numpy() for image in batch]
    if kind == "example":
        encoded = [_example(png).SerializeToString() for png in encoded]
    return tf.constant(encoded)


def _example(png: bytes) -> tf.train.Example:
    """With the keys that the Object Detection API reads."""
    values = {"image/encoded": png, "image/format": b"png"}
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in values.items()
            }
        )
    )


def detections_of_outputs(
    outputs: dict[str, np.ndarray],
    options: DetectOptions,
    whole_image_hw: tuple[int, int] | None = None,
    box_format: BoxFormat = "yxyx_normalised",
    size_hw: tuple[int, int] = (1, 1),
) -> Detections:
    """One image's outputs as `Detections`: valid rows, best first, those asked for.

    Args:
      outputs: by name, without a batch axis.
      options: what is asked for.
      whole_image_hw: the size of masks that are relative to the image, not to their boxes; None if none are.
      box_format: of `detection_boxes`.
      size_hw: of the image, in pixels.
    """
    for name, rank in RANKS.items():
        if name in outputs and outputs[name].ndim != rank:
            raise InvalidDetections(f"{name}: expected {rank} axes an image, got shape {list(outputs[name].shape)}")
        if name in outputs and outputs[name].dtype.kind not in "fiub":
            raise InvalidDetections(f"{name}: expected numbers, got {outputs[name].dtype}")
        if name in outputs and rank and len(outputs[name]) < len(outputs["detection_scores"]):
            rows = f"{len(outputs[name])} rows for {len(outputs['detection_scores'])} scores"
            raise InvalidDetections(f"{name}: {rows}")
    scores = outputs["detection_scores"].astype(np.float32, copy=False)
    num_detections = float(outputs.get("num_detections", len(scores)))
    if not num_detections >= 0:  # NaN too
        raise InvalidDetections(f"num_detections is {num_detections}")
    valid = int(min(num_detections, len(scores)))
    if np.isnan(scores[:valid]).any():
        raise InvalidDetections("detection_scores: holds NaN")
    order = np.argsort(-scores[:valid], kind="stable")
    kept = order[scores[order] >= options.min_score][: options.max_detections]
    with_masks = options.masks and MASKS_OUTPUT in outputs
    masks = outputs[MASKS_OUTPUT][kept].astype(np.float32, copy=False) if with_masks else None
    mask_boxes = None
    if masks is not None and masks.shape[1:] == whole_image_hw:
        mask_boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(masks), 1))
    boxes = outputs["detection_boxes"][kept].astype(np.float32, copy=False)
    return Detections(
        boxes_yxyx=normalised_yxyx(boxes, box_format, size_hw),
        class_ids=as_class_ids(outputs["detection_classes"][kept]),
        scores=scores[kept],
        masks=masks,
        extras={name: outputs[name] for name in options.keep},
        mask_boxes_yxyx=mask_boxes,
        num_dropped=num_dropped(scores[:valid], options.min_score),
    )
