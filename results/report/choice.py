"""Which images a report shows, and why: samples that don't depend on how images are spread over parts."""

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..matching import box_iou
from ..reader import LabelSet
from ..stored_labels import StoredLabels, read_labels

RANDOM, CONFIDENT, UNSURE, CROWDED, BY_CLASS, NOTHING, FAILED = GROUPS = (
    "random sample",
    "most confident",
    "least confident",
    "most crowded",
    "by class",
    "nothing found",
    "failed",
)
_SAME_IOU, _SAME_SCORE, _SAME_SHARE = 0.85, 0.05, 0.8  # of the detections of nearly the same image


class Chosen(NamedTuple):
    """An image to be shown: where its rows are, and why it was chosen: `group` is one of `GROUPS`, `detail` the class
    or the kind of failure."""

    stem: str
    image_id: str
    group: str
    detail: str = ""


class Smallest:
    """The images with the smallest values, of equal ones those with the smallest keys."""

    def __init__(self, num_images: int):
        self._num_images = num_images
        self._kept: list[tuple[float, int, str, str]] = []

    def add(self, stem: str, image_ids: pa.ChunkedArray, keys: np.ndarray, values: np.ndarray) -> None:
        first = np.lexsort((keys, values))[: self._num_images]
        new: Any = zip(
            values[first].tolist(),
            keys[first].tolist(),
            image_ids.take(first).to_pylist(),
            [stem] * len(first),
            strict=True,
        )
        self._kept = heapq.nsmallest(self._num_images, [*self._kept, *new])

    def chosen(self, group: str, detail: str = "") -> list[Chosen]:
        return [Chosen(stem, image_id, group, detail) for _, _, image_id, stem in self._kept]


def in_turn(lists: Sequence[Sequence[Chosen]], num_images: int) -> list[Chosen]:
    """The first of each list, then the second of each, … up to a number; those of one list together."""
    by_rank = sorted((rank, number) for number, images in enumerate(lists) for rank in range(len(images)))[:num_images]
    return [lists[number][rank] for number, rank in sorted((number, rank) for rank, number in by_rank)]


def sample_keys(image_ids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """Uint64 `[N]` below 2**32, random in image and seed: the smallest are a sample, whatever the rows' order."""
    digits = pc.utf8_slice_codeunits(image_ids, 0, 16).to_numpy().astype("S16")
    keys = np.ascontiguousarray(digits).view(np.uint64).reshape(-1, 2)
    mixed = (
        keys[:, 0]
        ^ (keys[:, 1] * np.uint64(0x9E3779B97F4A7C15))
        ^ np.random.SeedSequence(seed).generate_state(1, np.uint64)
    )
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)  # splitmix64's finaliser
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed >> np.uint64(32)


def distinct(label_set: LabelSet, chosen: Sequence[Chosen], num_images: int) -> list[Chosen]:
    """The first images, in their order, without those that are nearly the same as one before: frames of one scene,
    copies.

    Told by their detections: most are of one class, in one place, with one score.
    """
    ids, stems = [image.image_id for image in chosen], {image.stem: None for image in chosen}
    labels = {image.image_id: image for image in read_labels(label_set, ids, list(stems), with_masks=False)}
    kept: list[Chosen] = []
    for image in chosen:
        if not any(_nearly_same(labels[image.image_id], labels[other.image_id]) for other in kept):
            kept.append(image)
        if len(kept) == num_images:
            break
    return kept


def _nearly_same(one: StoredLabels, other: StoredLabels) -> bool:
    if one.sha256 is not None and one.sha256 == other.sha256:
        return True
    first, second = (
        indices.ravel() for indices in np.meshgrid(range(len(one.scores)), range(len(other.scores)), indexing="ij")
    )
    same = (
        (one.class_ids[first] == other.class_ids[second])
        & (np.abs(one.scores[first] - other.scores[second]) <= _SAME_SCORE)
        & (box_iou(one.boxes_xywh[first], other.boxes_xywh[second]) >= _SAME_IOU)
    )
    matched = len(np.unique(first[same])) + len(np.unique(second[same]))
    return one.size_hw == other.size_hw and matched >= _SAME_SHARE * (len(one.scores) + len(other.scores))
