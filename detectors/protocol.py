"""The protocol between labelbeam and any detector: a list of images in, a list of `Detections` out.

Everything here is plain NumPy and knows nothing of Beam, files or TensorFlow. How detections become table rows is
`transforms/to_rows.py`; how a detector is found by name and loaded is `detectors/load.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

MAX_EDGE = 1e6  # images that a box may be away: its pixels are still numbers of float32
NUM_COUNTED = 100  # detections of an image that `num_dropped` counts: many models fill up with what scores next to 0
_MASK_ROUNDING = 1e-3
_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # by which a score may be above 1


class InvalidDetections(ValueError):
    """A detector's output breaks the contract of `Detections` (shape, NaN, out of range): a failure of that image."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image, best first.

    Attributes:
      boxes_yxyx: float32 `[N, 4]`, (ymin, xmin, ymax, xmax), normalised to the image: 0 and 1 are its edges.
      class_ids: int32 `[N]`, ids of the detector's label map (COCO's start at 1).
      scores: float32 `[N]` in [0, 1], descending.
      masks: float32 `[N, h, w]` in [0, 1] relative to the box, or None from a detector without masks.
      mask_boxes_yxyx: the boxes to which masks are relative, as `boxes_yxyx`; None if they are those.
      num_dropped: how many of the model's best `NUM_COUNTED` score less than `DetectOptions.min_score`; counted by
        engines.
      extras: further outputs of the model that were asked for, by the model's own names, without a batch axis.

    Raises:
      InvalidDetections: if a shape or dtype differs, a value is NaN, infinite or out of range, or scores are not in
        descending order.

    Example:
      >>> box = np.array([[0.1, 0.2, 0.5, 0.6]], np.float32)
      >>> len(labelbeam.Detections(box, np.array([1], np.int32), np.array([0.9], np.float32)))
      1
    """

    boxes_yxyx: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    mask_boxes_yxyx: np.ndarray | None = None
    num_dropped: int = 0

    def __post_init__(self):
        n = len(self.scores)
        _check("boxes_yxyx", self.boxes_yxyx, (n, 4), np.float32)
        _check("class_ids", self.class_ids, (n,), np.int32)
        _check("scores", self.scores, (n,), np.float32)
        if self.masks is not None:
            if self.masks.ndim != 3:
                raise InvalidDetections(f"masks: expected shape [N, h, w], got {self.masks.shape}")
            _check("masks", self.masks, (n, *self.masks.shape[1:]), np.float32)
            if self.mask_boxes_yxyx is not None:
                _check("mask_boxes_yxyx", self.mask_boxes_yxyx, (n, 4), np.float32)
        if n and np.abs(self.boxes_yxyx).max() > MAX_EDGE:
            raise InvalidDetections(f"boxes_yxyx: expected edges of about 0 to 1, got {np.abs(self.boxes_yxyx).max()}")
        if self.masks is not None and self.masks.size:
            low, high = self.masks.min(), self.masks.max()
            if low < -_MASK_ROUNDING or high > 1 + _MASK_ROUNDING:
                raise InvalidDetections(f"masks: expected values in [0, 1], got {low} to {high}")
        if n and 1 < self.scores.max() <= 1 + _ROUNDING:  # of a softmax or a sum
            object.__setattr__(self, "scores", np.minimum(self.scores, np.float32(1)))
        if n and (self.scores.max() > 1 or self.scores.min() < 0):
            raise InvalidDetections(
                f"scores: expected values in [0, 1], got {self.scores.min()} to {self.scores.max()}"
            )
        if np.any(np.diff(self.scores) > 0):
            raise InvalidDetections("scores: expected in descending order")

    def __len__(self) -> int:
        return len(self.scores)


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise InvalidDetections(
            f"{name}: expected {np.dtype(dtype).name} {list(shape)}, got {array.dtype.name} {list(array.shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidDetections(f"{name}: holds NaN or infinity")


def num_dropped(scores: np.ndarray, min_score: float) -> int:
    """`Detections.num_dropped` of all scores that a model gave for an image."""
    return max(0, min(len(scores), NUM_COUNTED) - int(np.count_nonzero(scores >= min_score)))


def as_class_ids(classes: np.ndarray) -> np.ndarray:
    """Class ids, int32, of what a model gives, mostly as floats.

    Raises:
      InvalidDetections: if one is NaN, or too large.
    """
    ids = np.rint(classes)
    limits = np.iinfo(np.int32)
    if not np.all((ids >= limits.min) & (ids <= limits.max)):  # NaN too
        raise InvalidDetections("detection_classes: holds NaN, or numbers that are no class ids")
    return ids.astype(np.int32)


@dataclass(frozen=True)
class DetectOptions:
    """What is wanted of a detector, known before it is loaded, so that an engine can leave out the rest.

    Attributes:
      min_score: detections with a lower score are dropped.
      max_detections: at most so many an image, the best ones.
      masks: whether masks are wanted from a detector that has them.
      keep: names of further outputs of the model to return in `Detections.extras`.
    """

    min_score: float = 0.3
    max_detections: int = 100
    masks: bool = True
    keep: tuple[str, ...] = ()


MAX_BOXES = 300  # an image, that can be given to a `BoxClassifier`


@runtime_checkable
class Detector(Protocol):
    """A loaded detector. Thread-safe: several threads may call `detect` at once.

    Any class with this property and this method is one; nothing needs to be inherited.

    Example:
      >>> class WholeImage:
      ...     batches = False
      ...
      ...     def detect(self, images):
      ...         box, score = np.array([[0, 0, 1, 1]], np.float32), np.array([1], np.float32)
      ...         return [labelbeam.Detections(box, np.array([1], np.int32), score) for _ in images]
      >>> isinstance(WholeImage(), labelbeam.Detector)
      True
    """

    @property
    def batches(self) -> bool:
        """Whether one call of the model takes several images (published graphs take one)."""
        ...

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detects objects in each image.

        Args:
          images: RGB images, uint8 `[height, width, 3]`, of any sizes.

        Returns:
          One `Detections` an image, in the same order; independent of what else is in the list.

        Raises:
          InvalidDetections: if the model's output for an image is malformed.
          MemoryError: if the images don't fit on the device together.
          Exception: whatever the model raises; the caller finds out which image was the cause.
        """
        ...


class PreparedImage(Protocol):
    """What a detector has made of an image for itself, such as its network's input; picklable."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        ...


@runtime_checkable
class PreparingDetector(Detector, Protocol):
    """A detector that does the host's part of its work ahead, in the threads that decode images, so that its device
    has the next call's images at once.
    """

    def prepare(self, image: np.ndarray) -> PreparedImage:
        """What `detect` takes in place of the image, and gives the same detections for.

        Raises:
          Exception: as `detect` does for the image.
        """
        ...


@runtime_checkable
class BoxClassifier(Detector, Protocol):
    """A detector that can start from boxes which somebody already has, instead of proposals of its own."""

    def detect_in_boxes(self, images: Sequence[np.ndarray], boxes_yxyx: Sequence[np.ndarray]) -> list[Detections]:
        """Like `detect`: classifies, refines, suppresses and segments what lies in the boxes.

        Args:
          images: as for `detect`.
          boxes_yxyx: of each image, float32 `[P, 4]`, (ymin, xmin, ymax, xmax), normalised; at most `MAX_BOXES`.
        """
        ...
