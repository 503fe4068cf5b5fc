"""COCO's average precision and recall by hotcoco, image by image: memory holds a few bytes a detection.

hotcoco's figures are pycocotools' to the last digit, which tests check.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ...storage.errors import UsageError
from ...storage.installation import install_hint
from ..label_columns import no_masks
from ..stored_labels import StoredLabels
from .coco_annotations import Annotations, IouType

FIGURES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)  # in the order of COCOeval.stats
_BATCH_IMAGES = 256  # handed on at once
_IOU_50, _IOU_75 = 0, 5  # places among COCO's thresholds 0.50, 0.55, …


class Scorer:
    """Takes images in any order, each once.

    Raises:
      UsageError: if hotcoco isn't installed.
    """

    def __init__(self, truth: Annotations, iou: IouType):
        try:
            from hotcoco import StreamingEval
        except ImportError as error:
            raise UsageError(f"labelbeam evaluate needs hotcoco: {install_hint('evaluate')}") from error
        self._truth = truth
        self._iou: IouType = iou
        categories = [{"id": number, "name": name} for number, (_, name) in enumerate(truth.categories)]
        self._engine = StreamingEval(categories, iou)
        self._images: list[dict[str, Any]] = []
        self._detections: list[Any] = []
        self._annotated = np.zeros(len(categories), np.int64)
        self._found = Counter[int]()

    @property
    def num_detections(self) -> int:
        return self._found.total()

    def add(self, image: int, labels: StoredLabels | None, ranks: Sequence[int], categories: Sequence[int]) -> None:
        """Adds an image.

        Args:
          image: its number in the annotations.
          labels: what was found in it, None if there are no labels.
          ranks: of the detections that count.
          categories: their categories' numbers.
        """
        truth = self._truth
        rows = slice(truth.bounds[image], truth.bounds[image + 1])
        counted = truth.category_numbers[rows][~truth.crowds[rows]]
        self._annotated += np.bincount(counted, minlength=len(self._annotated))
        self._found.update(categories)
        height, width = (side or 0 for side in (labels.image_size_hw if labels else truth.sizes_hw[image]))
        self._images.append({"id": image, "width": width, "height": height})
        if labels is not None and len(ranks):
            self._detections += self._detections_of(image, labels, ranks, categories)
        if len(self._images) == _BATCH_IMAGES:
            self._hand_on()

    def _detections_of(
        self, image: int, labels: StoredLabels, ranks: Sequence[int], categories: Sequence[int]
    ) -> list[Any]:
        if self._iou == "bbox":
            rows = np.empty((len(ranks), 7))
            rows[:, 0], rows[:, 1:5] = image, labels.boxes_xywh[list(ranks)]
            rows[:, 5], rows[:, 6] = labels.scores[list(ranks)], categories
            return [rows]
        return [
            {
                "image_id": image,
                "category_id": category,
                "score": float(labels.scores[rank]),
                "segmentation": {"size": list(labels.image_size_hw), "counts": _counts(labels, rank)},
            }
            for rank, category in zip(ranks, categories)
        ]

    def _hand_on(self) -> None:
        found: Any = self._detections
        if self._iou == "bbox":
            found = np.concatenate(found) if found else np.zeros((0, 7))
        self._engine.update(self._images, self._truth.objects(image["id"] for image in self._images), found)
        self._images, self._detections = [], []

    def result(self) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
        """The twelve figures, and those of each category that is annotated or was found."""
        if self._images:
            self._hand_on()
        scored = self._engine.finalize()
        scored.accumulate()
        scored.summarize()
        tables = scored.eval or {}
        # All areas, 100 detections an image: [IoU threshold, recall, category], [IoU threshold, category].
        precision, recall = np.asarray(tables["precision"])[..., 0, -1], np.asarray(tables["recall"])[..., 0, -1]
        scores = np.asarray(tables["scores"])[..., 0, -1]
        figures = {name: _measured(float(value)) for name, value in zip(FIGURES, scored.stats, strict=True)}
        classes = [
            {
                "id": id,
                "name": name,
                "annotated": int(self._annotated[k]),
                "detections": self._found[k],
                "AP": _mean(precision[:, :, k]),
                "AP50": _mean(precision[_IOU_50, :, k]),
                "AP75": _mean(precision[_IOU_75, :, k]),
                "AR_100": _mean(recall[:, k]),
                **_best_f1(precision[_IOU_50, :, k], scores[_IOU_50, :, k]),
            }
            for k, (id, name) in enumerate(self._truth.categories)
            if self._annotated[k] or self._found[k]
        ]
        return figures, classes


def _best_f1(precision: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """The greatest F1 at IoU 0.50 along COCO's 101 recalls, and the least score of the detections that give it."""
    recalls = np.linspace(0, 1, len(precision))
    reached = precision > 0
    if not reached.any():
        return {"best_F1": None, "best_F1_score": None}
    f1 = np.where(reached, 2 * precision * recalls / np.maximum(precision + recalls, 1e-9), 0)
    best = int(f1.argmax())
    return {"best_F1": float(f1[best]), "best_F1_score": float(scores[best])}


def _counts(labels: StoredLabels, rank: int) -> str:
    counts = labels.rle(rank)
    if counts is None:
        raise no_masks(labels.output)
    return counts


def _mean(values: np.ndarray) -> float | None:
    """COCO's mean: -1 stands for what can't be measured."""
    values = values[values > -1]
    return float(values.mean()) if len(values) else None


def _measured(value: float) -> float | None:
    return value if value > -1 else None


def unscored(num_images: int, scored: Collection[int]) -> list[int]:
    """The numbers of the images that weren't scored."""
    return [image for image in range(num_images) if image not in scored]
