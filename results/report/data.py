"""What a report tells, computed from an output folder's tables: totals, distributions, and the choice of images to
show.

The tables are read once, row group by row group; memory holds one's columns. What is done per row is done by Arrow and
NumPy; only what is kept (a few images a class and a part) is touched in Python.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..arrow import equal
from ..reader import LabelSet
from .choice import (
    BY_CLASS,
    CONFIDENT,
    CROWDED,
    FAILED,
    NOTHING,
    RANDOM,
    UNSURE,
    Chosen,
    Smallest,
    distinct,
    in_turn,
    sample_keys,
)

NUM_SCORE_BINS = 20
_NUM_RANDOM = 12
_NUM_EACH = 6  # of the most and the least confident, and the most crowded
_CANDIDATES = 60  # for these, since many may be nearly the same image
_NUM_BY_CLASS, _NUM_NOTHING, _NUM_FAILED = 18, 6, 12
_NUM_OF_ONE_CLASS, _NUM_OF_ONE_KIND = 6, 6
BOX_SIDE_EDGES = (8, 16, 32, 56, 96, 192, 384, 768, 1536)  # pixels; 32 and 96 are COCO's limits of small and medium


@dataclass
class ReportData:
    """Figures of a label set.

    Attributes:
      images: rows of `images`.
      failures: failed images by kind, the most frequent first.
      without_detections: images in which nothing was found.
      detections_per_image: images by their number of detections, failed ones left out.
      score_bins: detections of each class, int64 `[NUM_SCORE_BINS]` by score from 0 to 1; the most frequent class
        first.
      box_sides: detections by the square root of their box's area in pixels, int64 `[len(BOX_SIDE_EDGES) + 1]`.
      labelled_at_s: int64 `[S]`, ascending: the seconds (Unix time) in which images were labelled.
      labelled: int64 `[S]`, how many were.
      chosen: images for the gallery, by reason.
    """

    images: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    detections_per_image: Counter = field(default_factory=Counter)
    score_bins: dict[str, np.ndarray] = field(default_factory=dict)
    box_sides: np.ndarray = field(default_factory=lambda: np.zeros(len(BOX_SIDE_EDGES) + 1, np.int64))
    labelled_at_s: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labelled: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    chosen: list[Chosen] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def without_detections(self) -> int:
        return self.detections_per_image[0]

    @property
    def class_counts(self) -> dict[str, int]:
        return {name: int(bins.sum()) for name, bins in self.score_bins.items()}

    @property
    def detections(self) -> int:
        return sum(self.class_counts.values())


def collect_report_data(label_set: LabelSet, seed: int = 0) -> ReportData:
    """Reads the tables `images` and `detections`.

    Args:
      seed: of the choice of images. The same one gives the same choice, however the images are spread over parts.

    Raises:
      UsageError: if there are no labelled images.
    """
    label_set.check_not_empty()
    collector = _Collector(seed)
    for stem in label_set.parts:
        for portion in label_set.portions(stem):
            collector.add_images(stem, label_set.part(stem, "images", _Collector.IMAGES, portion))
            collector.add_detections(stem, label_set.part(stem, "detections", _Collector.DETECTIONS, portion))
    return collector.finish(label_set)


class _Collector:
    """Adds up portions of parts: rows of some images, all their detections among them."""

    IMAGES = ("image_id", "error_kind", "num_detections", "labelled_at")
    DETECTIONS = ("image_id", "class_name", "score", "w", "h")

    def __init__(self, seed: int):
        self.data = ReportData()
        self._seed = seed
        self._seconds: list[tuple[np.ndarray, np.ndarray]] = []
        self._failures: Counter[str] = Counter()
        self._random, self._nothing = Smallest(_NUM_RANDOM), Smallest(_NUM_NOTHING)
        self._confident, self._unsure, self._crowded = (Smallest(_CANDIDATES) for _ in range(3))
        self._by_class: dict[str, Smallest] = defaultdict(lambda: Smallest(_NUM_OF_ONE_CLASS))
        self._by_kind: dict[str, Smallest] = defaultdict(lambda: Smallest(_NUM_OF_ONE_KIND))

    def add_images(self, stem: str, images: pa.Table) -> None:
        self.data.images += len(images)
        self._seconds.append(
            np.unique(images["labelled_at"].cast(pa.int64()).to_numpy() // 1_000_000, return_counts=True)
        )
        found = images.filter(images["num_detections"].is_valid())
        self.data.detections_per_image.update(_counts(found["num_detections"]))
        self._random.add(stem, found["image_id"], sample_keys(found["image_id"], self._seed), np.zeros(len(found)))
        empty = found.filter(equal(found["num_detections"], 0))
        self._nothing.add(stem, empty["image_id"], sample_keys(empty["image_id"], self._seed), np.zeros(len(empty)))
        some = found.filter(pa.array(found["num_detections"].to_numpy() > 0))
        self._crowded.add(
            stem, some["image_id"], sample_keys(some["image_id"], self._seed), -some["num_detections"].to_numpy()
        )
        failed = images.filter(images["error_kind"].is_valid())
        self._failures.update(_counts(failed["error_kind"]))
        self._add_by_group(self._by_kind, stem, failed["error_kind"], failed["image_id"])

    def add_detections(self, stem: str, detections: pa.Table) -> None:
        if not len(detections):
            return
        scores = detections["score"].to_numpy()
        # Scores such as float32(0.3), which lies above 0.3, and 0.6 * 20 in float32, below 12, go where a person
        # expects them.
        bins = np.clip((scores.astype(np.float64) * NUM_SCORE_BINS + 1e-4).astype(np.int64), 0, NUM_SCORE_BINS - 1)
        classes = detections["class_name"].combine_chunks().dictionary_encode()
        codes = classes.indices.to_numpy().astype(np.int64)
        table = np.bincount(codes * NUM_SCORE_BINS + bins, minlength=len(classes.dictionary) * NUM_SCORE_BINS)
        names: list[Any] = classes.dictionary.to_pylist()
        for name, row in zip(names, table.reshape(-1, NUM_SCORE_BINS), strict=True):
            self.data.score_bins[name] = self.data.score_bins.get(name, 0) + row
        sides = np.sqrt(detections["w"].to_numpy().astype(np.float64) * detections["h"].to_numpy())
        self.data.box_sides += np.bincount(
            np.searchsorted(BOX_SIDE_EDGES, sides, side="right"), minlength=len(BOX_SIDE_EDGES) + 1
        )
        means = detections.group_by("image_id").aggregate([("score", "mean")])
        keys, mean_scores = sample_keys(means["image_id"], self._seed), means["score_mean"].to_numpy()
        self._confident.add(stem, means["image_id"], keys, -mean_scores)
        self._unsure.add(stem, means["image_id"], keys, mean_scores)
        self._add_by_group(self._by_class, stem, classes, detections["image_id"])

    def _add_by_group(self, groups: dict[str, "Smallest"], stem: str, names, image_ids: pa.ChunkedArray) -> None:
        """Adds each group's first images by key."""
        if not len(names):
            return
        names = names if isinstance(names, pa.DictionaryArray) else names.combine_chunks().dictionary_encode()
        keys = sample_keys(image_ids, self._seed)
        pairs = names.indices.to_numpy().astype(np.uint64) << np.uint64(32) | keys
        pairs, rows = np.unique(pairs, return_index=True)  # sorted by group, then key; each image once a group
        groups_of_rows = pairs >> np.uint64(32)
        starts = np.flatnonzero(np.diff(groups_of_rows, prepend=-1.0))
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            first = rows[start : min(stop, start + _NUM_OF_ONE_CLASS)]
            name = names.dictionary[int(groups_of_rows[start])].as_py()
            groups[name].add(stem, image_ids.take(first), keys[first], np.zeros(len(first)))

    def finish(self, label_set: LabelSet) -> ReportData:
        data = self.data
        data.failures = dict(self._failures.most_common())
        data.score_bins = dict(sorted(data.score_bins.items(), key=lambda item: (-item[1].sum(), item[0])))
        seconds, counts = (np.concatenate(arrays) for arrays in zip(*self._seconds, strict=True))
        data.labelled_at_s, places = np.unique(seconds, return_inverse=True)
        data.labelled = np.bincount(places, counts).astype(np.int64)
        data.chosen += self._random.chosen(RANDOM)
        for group, smallest in ((CONFIDENT, self._confident), (UNSURE, self._unsure), (CROWDED, self._crowded)):
            data.chosen += distinct(label_set, smallest.chosen(group), _NUM_EACH)
        data.chosen += in_turn([self._by_class[name].chosen(BY_CLASS, name) for name in data.score_bins], _NUM_BY_CLASS)
        data.chosen += self._nothing.chosen(NOTHING)
        data.chosen += in_turn([self._by_kind[kind].chosen(FAILED, kind) for kind in data.failures], _NUM_FAILED)
        return data


def _counts(column: pa.ChunkedArray) -> dict:
    counts: Any = column.value_counts()
    return {row["values"]: row["counts"] for row in counts.to_pylist()}
