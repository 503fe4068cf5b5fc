"""A label set's images one by one, each with its detections and masks: all of them as a stream, certain ones, or a
sample.

For looking at results, measuring and exporting them; `reader` has the tables as such.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..labelset.masks import encode_rle
from ..transforms.elements import ImageFailure
from .reader import LabelSet, decode_mask

_LISTED_IMAGES = 1000  # whose columns are made Python's lists together
MAX_PARTS = 64  # parts that a sample is drawn from: of a folder with thousands, even their sizes take long to read


@dataclass(frozen=True)
class StoredLabels:
    """What an output folder holds of one image.

    Attributes:
      output: the output folder.
      settings: of the label set.
      image_id, uri: of the image, as in the tables.
      size_hw: (height, width) of the image in pixels, or None if it was never decoded.
      sha256: of the encoded image, hex digits, or None if it was never fetched.
      failure: why the image has no labels, or None.
      class_ids: int32 `[N]`, best detection first.
      class_names: `[N]`.
      scores: float32 `[N]`.
      boxes_xywh: float32 `[N, 4]`, pixels.
      mask_refs: `[N]`, None for detections without a mask.
      counts: run-length encodings by mask_ref; a mask that has none here is a PNG file.
      areas: pixels of masks, by mask_ref.
    """

    output: str
    settings: Mapping[str, Any]
    image_id: str
    uri: str
    size_hw: tuple[int, int] | None
    sha256: str | None
    failure: ImageFailure | None
    class_ids: np.ndarray
    class_names: list[str]
    scores: np.ndarray
    boxes_xywh: np.ndarray
    mask_refs: list[str | None]
    counts: dict[str, str]
    areas: dict[str, int]

    @property
    def image_size_hw(self) -> tuple[int, int]:
        """(height, width) of an image that was decoded, as every one with detections was.

        Raises:
          ValueError: if it wasn't.
        """
        if self.size_hw is None:
            raise ValueError(f"{self.uri}: was never decoded, so its size isn't known")
        return self.size_hw

    def mask(self, rank: int) -> np.ndarray | None:
        """The mask of one detection as bool `[height, width]`, made anew at each call; None if it has none.

        Raises:
          DamagedPartError: if it's a file that is gone or damaged.
        """
        ref = self.mask_refs[rank]
        if ref is None:
            return None
        height, width = self.image_size_hw
        return decode_mask(
            {"mask_ref": ref, "counts": self.counts.get(ref), "height": height, "width": width}, self.output
        )

    def rle(self, rank: int) -> str | None:
        """The mask of one detection as COCO's compressed run-length encoding, whatever it's stored as; None if it has
        none.

        Raises:
          DamagedPartError: if it's a file that is gone or damaged.
        """
        ref = self.mask_refs[rank]
        if ref in self.counts:
            return self.counts[ref]
        mask = self.mask(rank)
        return None if mask is None else encode_rle(mask)

    def with_names(self, names: Mapping[int, str]) -> "StoredLabels":
        """The same image with other names for its classes, by their ids."""
        return replace(self, class_names=[names[id] for id in self.class_ids.tolist()])

    def with_boxes(self, boxes_xywh: np.ndarray) -> "StoredLabels":
        """The same image with other boxes, float32 `[N, 4]` in pixels."""
        return replace(self, boxes_xywh=boxes_xywh)

    def select(self, kept: np.ndarray) -> "StoredLabels":
        """The same image with some of its detections.

        Args:
          kept: bool `[N]`.
        """
        indices = np.flatnonzero(kept).tolist()
        return replace(
            self,
            class_ids=self.class_ids[kept],
            class_names=[self.class_names[i] for i in indices],
            scores=self.scores[kept],
            boxes_xywh=self.boxes_xywh[kept],
            mask_refs=[self.mask_refs[i] for i in indices],
        )


def sample_labels(label_set: LabelSet, num_images: int, seed: int = 0) -> list[StoredLabels]:
    """A random sample of a label set's images, failed ones included, sorted by URI.

    Of many parts, it is drawn from `MAX_PARTS` of them.

    Args:
      num_images: how many; all of them if there are fewer.
      seed: the same one gives the same sample of the same label set.

    Raises:
      UsageError: if there are no labelled images.
    """
    label_set.check_not_empty()
    rng = np.random.default_rng(seed)
    stems = list(label_set.parts)
    stems = [stems[i] for i in np.sort(rng.choice(len(stems), min(len(stems), MAX_PARTS), replace=False))]
    rows_before = np.cumsum([0, *(label_set.num_images(stem) for stem in stems)])
    chosen = np.sort(rng.choice(rows_before[-1], min(num_images, rows_before[-1]), replace=False))
    numbers = np.searchsorted(rows_before, chosen, side="right") - 1
    labels = []
    for number in np.unique(numbers):
        labels.extend(_read_part(label_set, stems[number], True, chosen[numbers == number] - rows_before[number]))
    return sorted(labels, key=lambda image: image.uri)


def iter_labels(label_set: LabelSet, with_masks: bool = True) -> Iterator[StoredLabels]:
    """Every image of a label set, failed ones included, part by part; memory holds the columns of one row group.

    Args:
      with_masks: whether masks are wanted; without, `mask` must not be asked for.
    """
    for stem in label_set.parts:
        for portion in label_set.portions(stem):
            yield from _read_part(label_set, stem, with_masks, portion=portion)


def read_labels(
    label_set: LabelSet, image_ids: Collection[str], stems: Collection[str] | None = None, with_masks: bool = True
) -> Iterator[StoredLabels]:
    """The labels of certain images, in the tables' order; those that the label set doesn't hold are passed over.

    Args:
      stems: of the parts to look in; all if None.
      with_masks: as in `iter_labels`.
    """
    ids = pa.array(image_ids, pa.string())
    for stem in label_set.parts if stems is None else stems:
        rows = np.flatnonzero(pc.is_in(label_set.part(stem, "images", ["image_id"])["image_id"], ids))
        if len(rows):
            yield from _read_part(label_set, stem, with_masks, rows)


def _read_part(
    label_set: LabelSet,
    stem: str,
    with_masks: bool,
    rows: np.ndarray | None = None,
    portion: pc.Expression | None = None,
) -> Iterator[StoredLabels]:
    """The labels of some images of one part, given by their rows in its file of `images` or by a filter; of all if both
    are None.

    A part may hold a million images: its rows stay in Arrow's columns until their image's turn comes.
    """
    of_images = portion
    images = label_set.part(
        stem, "images", ["image_id", "uri", "error_kind", "error_message", "width", "height", "sha256"], of_images
    )
    if rows is not None:
        images = images.take(rows)
        of_images = pc.field("image_id").isin(images["image_id"].combine_chunks())
    image_ids = images["image_id"].combine_chunks()

    def rows_of(table: str, columns: list[str], filters: pc.Expression | None) -> _RowsByImage:
        return _RowsByImage(label_set.part(stem, table, ["image_id", *columns], filters), image_ids)

    detections = rows_of("detections", ["class_id", "class_name", "score", *"xywh", "mask_ref"], of_images)
    masks = rows_of("masks", ["mask_ref", "counts", "area"], of_images if with_masks else pc.scalar(False))
    class_ids, scores = detections.array("class_id"), detections.array("score")
    boxes = np.stack([detections.array(name) for name in "xywh"], axis=1)
    for first in range(0, len(images), _LISTED_IMAGES):
        some = images.slice(first, _LISTED_IMAGES).to_pylist()
        names, refs = (detections.lists(name, first, len(some)) for name in ("class_name", "mask_ref"))
        encoded_refs, counts, areas = (masks.lists(name, first, len(some)) for name in ("mask_ref", "counts", "area"))
        for number, image in enumerate(some):
            mine = detections.of(first + number)
            yield StoredLabels(
                label_set.path,
                label_set.settings,
                image["image_id"],
                image["uri"],
                size_hw=(image["height"], image["width"]) if image["width"] else None,
                sha256=image["sha256"],
                failure=ImageFailure(image["error_kind"], image["error_message"]) if image["error_kind"] else None,
                class_ids=class_ids[mine],
                class_names=names[number],
                scores=scores[mine],
                boxes_xywh=boxes[mine],
                mask_refs=refs[number],
                counts={
                    ref: runs
                    for ref, runs in zip(encoded_refs[number], counts[number], strict=True)
                    if runs is not None
                },
                areas=dict(zip(encoded_refs[number], areas[number], strict=True)),
            )


class _RowsByImage:
    """A table's columns, and which of its rows belong to which of some images.

    Args:
      table: with the column `image_id`, all of them among the images; an image's rows in their order.
      image_ids: strings `[N]`.
    """

    def __init__(self, table: pa.Table, image_ids: pa.Array):
        places = pc.index_in(table["image_id"], value_set=image_ids).to_numpy()
        table = table.drop_columns("image_id")
        if (places[:-1] > places[1:]).any():  # not as parts are written
            order = np.argsort(places, kind="stable")
            table, places = table.take(order), places[order]
        self._bounds = np.searchsorted(places, np.arange(len(image_ids) + 1)).tolist()
        self._columns = {name: table[name].combine_chunks() for name in table.column_names}

    def of(self, place: int) -> slice:
        """The rows of an image, by its place among the ids."""
        return slice(*self._bounds[place : place + 2])

    def array(self, name: str) -> np.ndarray:
        return self._columns[name].to_numpy()

    def lists(self, name: str, first: int, num_images: int) -> list[list]:
        """A column's values for each of some neighbouring images."""
        bounds = self._bounds[first : first + num_images + 1]
        values = self._columns[name][bounds[0] : bounds[-1]].to_pylist()
        return [values[start - bounds[0] : end - bounds[0]] for start, end in itertools.pairwise(bounds)]
