"""What a report tells, computed from an output folder's tables: totals, distributions, and the choice of images to
show.

The tables are read once, part by part; memory holds one part's columns. What is done per row is done by Arrow and
NumPy; only what is kept (a few images a class and a part) is touched in Python.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..reader import LabelSet

NUM_SCORE_BINS = 20
BOX_SIDE_EDGES = (8, 16, 32, 56, 96, 192, 384, 768, 1536)  # pixels; 32 and 96 are COCO's limits of small and medium

CONFIDENT, UNSURE, CROWDED, BY_CLASS, FAILED = GROUPS = (
    "most confident",
    "least confident",
    "most crowded",
    "by class",
    "failed",
)
_NUM_EACH = 6  # of each of the first three
_NUM_BY_CLASS, _NUM_FAILED = 18, 12
_NUM_OF_ONE_CLASS, _NUM_OF_ONE_KIND = 6, 6


class Chosen(NamedTuple):
    """An image to be shown: where its rows are, and why it was chosen: `group` is one of `GROUPS`, `detail` the class
    or the kind of failure."""

    stem: str
    image_id: str
    group: str
    detail: str = ""


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
        collector.add_images(stem, label_set.part(stem, "images", _Collector.IMAGES))
        collector.add_detections(stem, label_set.part(stem, "detections", _Collector.DETECTIONS))
    return collector.finish()


class _Collector:
    """Adds up parts."""

    IMAGES = ("image_id", "error_kind", "num_detections", "labelled_at")
    DETECTIONS = ("image_id", "class_name", "score", "w", "h")

    def __init__(self, seed: int):
        self.data = ReportData()
        self._seed = seed
        self._seconds: list[tuple[np.ndarray, np.ndarray]] = []
        self._failures: Counter[str] = Counter()
        self._confident, self._unsure, self._crowded = _Smallest(_NUM_EACH), _Smallest(_NUM_EACH), _Smallest(_NUM_EACH)
        self._by_class: dict[str, _Smallest] = defaultdict(lambda: _Smallest(_NUM_OF_ONE_CLASS))
        self._by_kind: dict[str, _Smallest] = defaultdict(lambda: _Smallest(_NUM_OF_ONE_KIND))

    def add_images(self, stem: str, images: pa.Table) -> None:
        self.data.images += len(images)
        self._seconds.append(
            np.unique(images["labelled_at"].cast(pa.int64()).to_numpy() // 1_000_000, return_counts=True)
        )
        found = images.filter(images["num_detections"].is_valid())
        self.data.detections_per_image.update(_counts(found["num_detections"]))
        some = found.filter(pc.greater(found["num_detections"], 0))
        self._crowded.add(
            stem, some["image_id"], _sample_keys(some["image_id"], self._seed), -some["num_detections"].to_numpy()
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
        for name, row in zip(classes.dictionary.to_pylist(), table.reshape(-1, NUM_SCORE_BINS), strict=True):
            self.data.score_bins[name] = self.data.score_bins.get(name, 0) + row
        sides = np.sqrt(detections["w"].to_numpy().astype(np.float64) * detections["h"].to_numpy())
        self.data.box_sides += np.bincount(
            np.searchsorted(BOX_SIDE_EDGES, sides, side="right"), minlength=len(BOX_SIDE_EDGES) + 1
        )
        means = detections.group_by("image_id").aggregate([("score", "mean")])
        keys, mean_scores = _sample_keys(means["image_id"], self._seed), means["score_mean"].to_numpy()
        self._confident.add(stem, means["image_id"], keys, -mean_scores)
        self._unsure.add(stem, means["image_id"], keys, mean_scores)
        self._add_by_group(self._by_class, stem, classes, detections["image_id"])

    def _add_by_group(self, groups: dict[str, "_Smallest"], stem: str, names, image_ids: pa.ChunkedArray) -> None:
        """Adds each group's first images by key."""
        if not len(names):
            return
        names = names if isinstance(names, pa.DictionaryArray) else names.combine_chunks().dictionary_encode()
        keys = _sample_keys(image_ids, self._seed)
        pairs = names.indices.to_numpy().astype(np.uint64) << np.uint64(32) | keys
        pairs, rows = np.unique(pairs, return_index=True)  # sorted by group, then key; each image once a group
        groups_of_rows = pairs >> np.uint64(32)
        starts = np.flatnonzero(np.diff(groups_of_rows, prepend=-1.0))
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            first = rows[start : min(stop, start + _NUM_OF_ONE_CLASS)]
            name = names.dictionary[int(groups_of_rows[start])].as_py()
            groups[name].add(stem, image_ids.take(first), keys[first], np.zeros(len(first)))

    def finish(self) -> ReportData:
        data = self.data
        data.failures = dict(self._failures.most_common())
        data.score_bins = dict(sorted(data.score_bins.items(), key=lambda item: (-item[1].sum(), item[0])))
        seconds, counts = (np.concatenate(arrays) for arrays in zip(*self._seconds, strict=True))
        data.labelled_at_s, places = np.unique(seconds, return_inverse=True)
        data.labelled = np.bincount(places, counts).astype(np.int64)
        for group, smallest in ((CONFIDENT, self._confident), (UNSURE, self._unsure), (CROWDED, self._crowded)):
            data.chosen += smallest.chosen(group)
        data.chosen += _in_turn(
            [self._by_class[name].chosen(BY_CLASS, name) for name in data.score_bins], _NUM_BY_CLASS
        )
        data.chosen += _in_turn([self._by_kind[kind].chosen(FAILED, kind) for kind in data.failures], _NUM_FAILED)
        return data


class _Smallest:
    """The images with the smallest values, of equal ones those with the smallest keys."""

    def __init__(self, num_images: int):
        self._num_images = num_images
        self._kept: list[tuple[float, int, str, str]] = []

    def add(self, stem: str, image_ids: pa.ChunkedArray, keys: np.ndarray, values: np.ndarray) -> None:
        first = np.lexsort((keys, values))[: self._num_images]
        new = zip(
            values[first].tolist(),
            keys[first].tolist(),
            image_ids.take(first).to_pylist(),
            [stem] * len(first),
            strict=True,
        )
        self._kept = heapq.nsmallest(self._num_images, [*self._kept, *new])

    def chosen(self, group: str, detail: str = "") -> list[Chosen]:
        return [Chosen(stem, image_id, group, detail) for _, _, image_id, stem in self._kept]


def _in_turn(lists: Sequence[Sequence[Chosen]], num_images: int) -> list[Chosen]:
    """The first of each list, then the second of each, … up to a number; those of one list together."""
    by_rank = sorted((rank, number) for number, images in enumerate(lists) for rank in range(len(images)))[:num_images]
    return [lists[number][rank] for number, rank in sorted((number, rank) for rank, number in by_rank)]


def _sample_keys(image_ids: pa.ChunkedArray, seed: int) -> np.ndarray:
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


def _counts(column: pa.ChunkedArray) -> dict:
    return {row["values"]: row["counts"] for row in column.value_counts().to_pylist()}
