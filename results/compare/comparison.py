"""What differs between two label sets of the same images; whether one may take the other's place.

Detections of one image and one class that overlap are matched, the greatest overlap first, each detection once. What
has no match is missing (only in A) or added (only in B). Memory is bounded however many images there are: they are
taken in ranges of their ids (see `label_columns.py`).
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...storage.errors import UsageError
from ..arrow import equal
from ..evaluate.coco_annotations import IouType
from ..label_columns import DetectionColumns, LabelColumns, id_ranges
from ..matching import box_iou, mask_iou, match_greedily, pairs_of_equal_keys
from ..reader import open_label_set

MAX_ROWS = {"bbox": 6_000_000, "segm": 1_000_000}  # of both label sets' images and detections in memory at a time
MAX_PAIRS = 2_000_000  # candidates measured at a time
_BINS = 1000  # of |score shift|, which is at most 1: quantiles are exact to a thousandth
MAX_NAMED = 5

# What becomes of a detection: it has a match; its match lies below --min-score; it has none; it doesn't count itself.
FATES = ("matched", "matched_below_min_score", "unmatched", "below_min_score")
MATCHED, BELOW, UNMATCHED, UNCOUNTED = range(len(FATES))


def compare(
    a: str, b: str, *, iou: IouType = "bbox", min_iou: float = 0.5, min_score: float = 0.0, num_images: int = 12
) -> dict[str, Any]:
    """Compares two label sets; everything that `labelbeam compare` tells, as JSON types.

    Args:
      a, b: folders of `labelbeam label`; what is told goes from a to b.
      iou: of boxes or of masks.
      min_iou: matched detections overlap so much at least.
      min_score: only detections that score so much count; their matches may score less.
      num_images: at most so many of the images that differ most are named.

    Returns:
      `images`, `detections`, `scores`, `classes`, `renamed` (the same place under another class), `most_different`, and
      what was compared with what.

    Raises:
      UsageError: if something can't be used, or no image was labelled in both.
    """
    if not 0 < min_iou <= 1:
        raise UsageError(f"--min-iou {min_iou}: expected a number above 0, up to 1")
    if not 0 <= min_score <= 1:
        raise UsageError(f"--min-score {min_score}: expected a number from 0 to 1")
    label_sets = [open_label_set(output) for output in (a, b)]
    for label_set in label_sets:
        label_set.check_not_empty()
    settings = [label_set.settings for label_set in label_sets]
    sides = [LabelColumns(label_set) for label_set in label_sets]
    num_ranges = -(-sum(side.count_rows() for side in sides) // MAX_ROWS[iou])
    tally = _Tally(num_images, min_score)
    for ids in id_ranges(num_ranges):
        images = _join_images(sides[0].images(ids), sides[1].images(ids), tally)
        image_ids = images["image_id"].combine_chunks()
        found = [side.detections(ids, image_ids, tally.class_numbers, iou == "segm") for side in sides]
        _compare_images(images, found[0], found[1], iou, min_iou, tally)
    if not tally.images["compared"]:
        raise UsageError(_nothing_to_compare(a, b, tally))
    return {
        "a": {"output": a, "settings": settings[0]},
        "b": {"output": b, "settings": settings[1]},
        "differing_settings": {
            key: [side.get(key) for side in settings]
            for key in sorted({*settings[0], *settings[1]})
            if settings[0].get(key) != settings[1].get(key)
        },
        "iou": iou,
        "min_iou": min_iou,
        "min_score": min_score,
        **tally.result(),
    }


_COUNTS = ("in_a", "in_b", "matched", "missing", "added", "fell_below", "rose_above")
_SUMS = ("score_shift", "absolute_score_shift", "iou")  # over matched detections that both count


@dataclass
class _Tally:
    """What is known after some of the images."""

    num_images: int
    min_score: float
    class_numbers: dict[str, int] = field(default_factory=dict)
    images: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    by_class: dict[str, np.ndarray] = field(default_factory=dict)
    greatest_shift: np.ndarray = field(default_factory=lambda: np.zeros(0))
    shifts: np.ndarray = field(default_factory=lambda: np.zeros(2 * _BINS + 1, np.int64))
    renamed: Counter = field(default_factory=Counter)
    most_different: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    def add_images(self, kind: str, uris: pa.ChunkedArray) -> None:
        self.images[kind] += len(uris)
        shown = self.examples.setdefault(kind, [])
        shown += uris[: MAX_NAMED - len(shown)].to_pylist()

    def add(self, name: str, classes: np.ndarray, values: np.ndarray | None = None) -> None:
        """Adds ones, or values, to a figure of each class."""
        added = np.bincount(classes, values, len(self.class_numbers)).astype(np.float64)  # of nothing it's a count
        held = self.by_class.get(name, np.zeros(0))
        added[: len(held)] += held
        self.by_class[name] = added

    def add_shifts(self, classes: np.ndarray, shifts: np.ndarray) -> None:
        self.greatest_shift = np.append(
            self.greatest_shift, np.zeros(len(self.class_numbers) - len(self.greatest_shift))
        )
        np.maximum.at(self.greatest_shift, classes, np.abs(shifts))
        self.shifts += np.bincount(np.rint(shifts * _BINS).astype(np.int64) + _BINS, minlength=2 * _BINS + 1)

    def add_different(self, difference: float, image_id: str, facts: dict[str, Any]) -> None:
        item = (difference, image_id, facts)
        if len(self.most_different) < self.num_images:
            heapq.heappush(self.most_different, item)
        elif self.num_images:
            heapq.heappushpop(self.most_different, item)

    def result(self) -> dict[str, Any]:
        names = list(self.class_numbers)
        columns = {name: self.by_class.get(name, np.zeros(len(names))) for name in (*_COUNTS, *_SUMS)}
        columns = {name: np.append(values, np.zeros(len(names) - len(values))) for name, values in columns.items()}
        classes = [
            {"name": name, **_shares({key: values[i] for key, values in columns.items()}, self.greatest_shift[i])}
            for i, name in enumerate(names)
            if columns["in_a"][i] or columns["in_b"][i]
        ]
        most_different = sorted(self.most_different, key=lambda item: (-item[0], item[1]))
        totals = _shares({key: values.sum() for key, values in columns.items()}, max(self.greatest_shift, default=0))
        return {
            "images": {**self.images, "examples": {kind: uris for kind, uris in self.examples.items() if uris}},
            "detections": totals,
            "scores": {"p99_absolute_shift": _quantile(self.shifts, 0.99), "histogram": _coarse(self.shifts)},
            "classes": sorted(classes, key=lambda row: (-row["in_a"] - row["in_b"], row["name"])),
            "renamed": [
                {"a": names[pair[0]], "b": names[pair[1]], "detections": n} for pair, n in self.renamed.most_common(20)
            ],
            "most_different": [
                {"image_id": image_id, "difference": difference, **facts}
                for difference, image_id, facts in most_different
            ],
        }


def _shares(figures: dict[str, float], greatest_shift: float) -> dict[str, Any]:
    counts = {name: int(figures[name]) for name in _COUNTS}
    matched, either = counts["matched"], counts["in_a"] + counts["in_b"]
    return {
        **counts,
        "agreement": 2 * matched / either if either else None,  # Dice's coefficient: 1 if all are matched
        "mean_score_shift": figures["score_shift"] / matched if matched else None,
        "mean_absolute_score_shift": figures["absolute_score_shift"] / matched if matched else None,
        "greatest_absolute_score_shift": float(greatest_shift) if matched else None,
        "mean_iou": figures["iou"] / matched if matched else None,
    }


def _quantile(shifts: np.ndarray, share: float) -> float | None:
    sizes = shifts[_BINS:].copy()
    sizes[1:] += shifts[:_BINS][::-1]
    total = sizes.sum()
    return float(np.searchsorted(np.cumsum(sizes), share * total)) / _BINS if total else None


def _coarse(shifts: np.ndarray) -> list[list[float]]:
    """[shift in hundredths, rounded, matched detections], without the empty ones."""
    hundredths = np.rint((np.arange(len(shifts)) - _BINS) * 100 / _BINS).astype(int)
    sizes = np.bincount(hundredths + 100, shifts).astype(int)
    return [[(i - 100) / 100, int(n)] for i, n in enumerate(sizes) if n]


def _join_images(a: pa.Table, b: pa.Table, tally: _Tally) -> pa.Table:
    """The images (of a) that both labelled; the others are counted by what became of them."""
    places = pc.index_in(a["image_id"], value_set=b["image_id"].combine_chunks())
    tally.add_images("only_in_a", a["uri"].filter(pc.is_null(places)))
    tally.add_images(
        "only_in_b", b["uri"].filter(pc.invert(pc.is_in(b["image_id"], value_set=a["image_id"].combine_chunks())))
    )
    a = a.filter(pc.is_valid(places))
    b = b.take(pc.drop_null(places))
    failed_a, failed_b = (equal(images["status"], "failed") for images in (a, b))
    resized = pc.or_(pc.not_equal(a["width"], b["width"]), pc.not_equal(a["height"], b["height"]))
    neither = pc.invert(pc.or_(failed_a, failed_b))
    of_kinds: Any = (
        ("failed_in_both", pc.and_(failed_a, failed_b)),
        ("failed_in_a", pc.and_(failed_a, pc.invert(failed_b))),
        ("failed_in_b", pc.and_(failed_b, pc.invert(failed_a))),
        ("of_another_size", pc.and_kleene(neither, resized)),
    )
    for kind, which in of_kinds:
        tally.add_images(kind, a["uri"].filter(cast(Any, which)))
    same_size: Any = pc.and_kleene(neither, pc.invert(resized))
    compared = a.filter(same_size)
    tally.images["compared"] += len(compared)
    return compared.combine_chunks()


def _compare_images(
    images: pa.Table, a: DetectionColumns, b: DetectionColumns, iou: IouType, min_iou: float, tally: _Tally
) -> None:
    num_classes = max(len(tally.class_numbers), 1)
    of_a, of_b, overlaps = _match(a, b, np.arange(len(a.scores)), np.arange(len(b.scores)), num_classes, iou, min_iou)
    counts_a, counts_b = a.scores >= tally.min_score, b.scores >= tally.min_score
    fate_a, fate_b = (np.where(counts, UNMATCHED, UNCOUNTED) for counts in (counts_a, counts_b))
    both = counts_a[of_a] & counts_b[of_b]
    fell, rose = counts_a[of_a] & ~counts_b[of_b], counts_b[of_b] & ~counts_a[of_a]
    fate_a[of_a[both]] = fate_b[of_b[both]] = MATCHED
    fate_a[of_a[fell]] = BELOW
    fate_b[of_b[rose]] = BELOW
    of_a, of_b, overlaps = of_a[both], of_b[both], overlaps[both]
    shifts = b.scores[of_b].astype(np.float64) - a.scores[of_a]
    for name, classes in (
        ("in_a", a.classes[counts_a]),
        ("in_b", b.classes[counts_b]),
        ("matched", a.classes[of_a]),
        ("missing", a.classes[fate_a == UNMATCHED]),
        ("added", b.classes[fate_b == UNMATCHED]),
        ("fell_below", a.classes[fate_a == BELOW]),
        ("rose_above", b.classes[fate_b == BELOW]),
    ):
        tally.add(name, classes)
    for name, values in (("score_shift", shifts), ("absolute_score_shift", np.abs(shifts)), ("iou", overlaps)):
        tally.add(name, a.classes[of_a], values)
    tally.add_shifts(a.classes[of_a], shifts)
    # The same thing under another name: overlaps among those that are unmatched, whatever their class.
    unmatched = [np.flatnonzero(fate == UNMATCHED) for fate in (fate_a, fate_b)]
    renamed_a, renamed_b, _ = _match(a, b, unmatched[0], unmatched[1], 0, iou, min_iou)
    tally.renamed.update(zip(a.classes[renamed_a].tolist(), b.classes[renamed_b].tolist(), strict=True))
    _add_images(images, a, b, fate_a, fate_b, np.bincount(a.images[of_a], np.abs(shifts), len(images)), tally)


def _add_images(
    images: pa.Table,
    a: DetectionColumns,
    b: DetectionColumns,
    fate_a: np.ndarray,
    fate_b: np.ndarray,
    difference: np.ndarray,
    tally: _Tally,
) -> None:
    """Notes which images differ, and most: by the scores of what is only in one, and the shifts of what is in both."""
    differing = np.zeros(len(images), np.int64)
    for side, fate in ((a, fate_a), (b, fate_b)):
        unmatched = (fate == UNMATCHED) | (fate == BELOW)
        differing += np.bincount(side.images[unmatched], minlength=len(images))
        difference = difference + np.bincount(side.images[unmatched], side.scores[unmatched], len(images))
    tally.images["agreeing"] += int((differing == 0).sum())
    for place in np.argsort(-difference, kind="stable")[: tally.num_images].tolist():
        if difference[place] > 0:
            [row] = images.slice(place, 1).to_pylist()
            fates = []
            for side, fate in ((a, fate_a), (b, fate_b)):
                start, end = np.searchsorted(side.images, [place, place + 1])
                fates.append([FATES[f] for f in fate[start:end]])
            tally.add_different(
                float(difference[place]),
                row["image_id"],
                {"uri": row["uri"], "fates_a": fates[0], "fates_b": fates[1]},
            )


def _match(
    a: DetectionColumns,
    b: DetectionColumns,
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    num_classes: int,
    iou: IouType,
    min_iou: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches among some rows: (rows of a, rows of b, overlaps). With `num_classes` 0, of any class."""
    keys_a, keys_b = (
        side.images[rows] * max(num_classes, 1) + (side.classes[rows] if num_classes else 0)
        for side, rows in ((a, rows_a), (b, rows_b))
    )
    order_a, order_b = np.argsort(keys_a, kind="stable"), np.argsort(keys_b, kind="stable")
    keys_a, keys_b, rows_a, rows_b = keys_a[order_a], keys_b[order_b], rows_a[order_a], rows_b[order_b]
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for start, end in _portions(keys_a, keys_b, MAX_PAIRS):
        first, second = pairs_of_equal_keys(keys_a[start:end], keys_b)
        first, second = rows_a[start + first], rows_b[second]
        overlaps = box_iou(a.boxes_xywh[first], b.boxes_xywh[second])
        if iou == "segm" and a.masks and b.masks:
            # A mask lies in its box: where boxes don't touch, masks don't.
            overlaps[overlaps > 0] = mask_iou(a.masks, b.masks, first[overlaps > 0], second[overlaps > 0], min_iou)
        enough = overlaps >= min_iou
        first, second, overlaps = first[enough], second[enough], overlaps[enough]
        # By rank within the image, so that equal overlaps go to the best scores in both.
        chosen = match_greedily(first, second, overlaps)
        found.append((first[chosen], second[chosen], overlaps[chosen]))
    return (
        np.concatenate([rows for rows, _, _ in found]),
        np.concatenate([rows for _, rows, _ in found]),
        np.concatenate([values for _, _, values in found]),
    )


def _portions(keys_a: np.ndarray, keys_b: np.ndarray, max_pairs: int) -> Iterator[tuple[int, int]]:
    """Ranges of the first keys (both ascending) with about so many pairs, equal keys together."""
    pairs = np.cumsum(np.searchsorted(keys_b, keys_a, "right") - np.searchsorted(keys_b, keys_a, "left"))
    starts = np.flatnonzero(np.diff(keys_a, prepend=-1))
    if not len(pairs) or not pairs[-1]:
        return
    wanted = np.searchsorted(pairs, np.arange(0, pairs[-1], max_pairs), "right")
    bounds = np.unique(starts[np.searchsorted(starts, wanted, "right") - 1])
    yield from zip(bounds.tolist(), [*bounds[1:].tolist(), len(keys_a)], strict=True)


def _nothing_to_compare(a: str, b: str, tally: _Tally) -> str:
    images = tally.images
    if images["failed_in_a"] or images["failed_in_b"] or images["failed_in_both"]:
        return (
            f"{a} and {b}: nothing to compare: of the images that both hold, {images['failed_in_both']:,} failed in "
            f"both, {images['failed_in_a']:,} in {a} and {images['failed_in_b']:,} in {b}; `labelbeam status` says why"
        )
    if images["of_another_size"]:
        num_resized = images["of_another_size"]
        return f"{a} and {b}: nothing to compare: all {num_resized:,} images that both hold have changed their size"
    return (
        f"{a} and {b} have no image in common: {a} holds {tally.examples['only_in_a'][0]}, {b} holds "
        f"{tally.examples['only_in_b'][0]}. Images are known by their URIs; label the same ones"
    )
