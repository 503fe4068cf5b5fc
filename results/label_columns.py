"""A label set's tables as columns, for a range of image ids at a time: what two label sets are joined by.

Parts are sorted by image within a file only, so images of two label sets don't come in one order. But ids are hashes:
each of n equal ranges of ids holds about an n-th of the images, of both label sets the same ones. Of each part, a range
reads the row groups that hold its ids.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..storage.errors import UsageError
from .matching import MaskColumns
from .reader import LabelSet

_MASK_COLUMNS = ("counts", "area", "x", "y", "w", "h", "height", "width")
_ID_DIGITS = 8  # of an image id's 32 that decide its range


def id_ranges(num_ranges: int) -> Iterator[tuple[str, str]]:
    """Equal ranges [first, end) of all image ids, as hex digits; ids are compared as text."""
    bounds = [f"{16**_ID_DIGITS * i // num_ranges:0{_ID_DIGITS}x}" for i in range(num_ranges)] + ["g"]
    return itertools.pairwise(bounds)


@dataclass(frozen=True)
class DetectionColumns:
    """Detections of certain images, by image; an image's own in the order of their rank.

    Attributes:
      images: int64 `[N]`, the image's place in the list of ids that was asked for, ascending.
      classes: int64 `[N]`, the class name's number.
      scores: float32 `[N]`.
      boxes_xywh: float32 `[N, 4]`, pixels.
      masks: of the detections; None unless they were asked for.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray
    masks: MaskColumns | None = None


class LabelColumns:
    """The tables of one label set."""

    def __init__(self, label_set: LabelSet):
        self._label_set = label_set

    def count_rows(self) -> int:
        """Rows in `images` and in `detections` together."""
        return sum(
            len(batch) + (pc.sum(batch.column(0)).as_py() or 0)
            for batch in self._label_set.batches("images", ["num_detections"])
        )

    def images(self, ids: tuple[str, str]) -> pa.Table:
        """The rows of `images` with ids in a range: image_id, uri, status, width, height.

        Raises:
          UsageError: if an image is there twice.
        """
        columns = ["image_id", "uri", "status", "width", "height"]
        images = self._label_set.arrow("images", columns, _in_range(ids)).combine_chunks()
        if len(pc.unique(images["image_id"])) < len(images):
            raise repeated_images(self._label_set.path)
        return images

    def detections(
        self, ids: tuple[str, str], image_ids: pa.Array, class_numbers: dict[str, int], with_masks: bool
    ) -> DetectionColumns:
        """The detections of certain images.

        Args:
          ids: the range in which the images' ids lie.
          image_ids: of the images.
          class_numbers: by name; names that aren't there yet are added.
          with_masks: whether masks are wanted, too.

        Raises:
          UsageError: if masks are wanted and a detection has none.
        """
        columns = ["image_id", "class_name", "score", "x", "y", "w", "h"] + ["mask_ref"] * with_masks
        tables = [self._detections_of_part(stem, columns, ids, image_ids) for stem in self._label_set.parts]
        table = pa.concat_tables(tables)
        images = table["image"].to_numpy().astype(np.int64)
        order = np.argsort(images, kind="stable")
        names = table["class_name"].combine_chunks().dictionary_encode()
        numbers = np.array(
            [class_numbers.setdefault(str(name), len(class_numbers)) for name in names.dictionary.to_pylist()], np.int64
        )
        return DetectionColumns(
            images[order],
            numbers[np.asarray(names.indices)[order]] if len(table) else np.zeros(0, np.int64),
            table["score"].to_numpy()[order],
            np.stack([table[name].to_numpy() for name in "xywh"], axis=1)[order],
            self._masks(table.take(pa.array(order, pa.int64()))) if with_masks else None,
        )

    def _masks(self, table: pa.Table) -> MaskColumns:
        def columns(*names: str) -> np.ndarray:
            return np.stack([table[f"mask_{name}"].to_numpy() for name in names], axis=1).astype(np.int64)

        return MaskColumns(
            self._label_set.path,
            table["mask_ref"].combine_chunks(),
            table["mask_counts"].combine_chunks(),
            columns("area")[:, 0],
            columns(*"xywh"),
            columns("height", "width"),
        )

    def _detections_of_part(self, stem: str, columns: list[str], ids: tuple[str, str], image_ids: pa.Array) -> pa.Table:
        table = self._label_set.part(stem, "detections", columns, _in_range(ids)).replace_schema_metadata(None)
        places = pc.index_in(table["image_id"], value_set=image_ids)
        table = table.drop_columns("image_id").append_column("image", places).filter(pc.is_valid(places))
        if "mask_ref" not in columns:
            return table
        if table["mask_ref"].null_count:
            raise no_masks(self._label_set.path)
        masks = self._label_set.part(stem, "masks", ["mask_ref", *_MASK_COLUMNS], _in_range(ids))
        rows = pc.index_in(table["mask_ref"], value_set=masks["mask_ref"].combine_chunks())
        found = masks.take(rows)
        for name in _MASK_COLUMNS:
            table = table.append_column(f"mask_{name}", found[name])
        return table


def _in_range(ids: tuple[str, str]) -> pc.Expression:
    return (pc.field("image_id") >= ids[0]) & (pc.field("image_id") < ids[1])


def repeated_images(output: str) -> UsageError:
    """The error for a label set in which an image has two rows."""
    return UsageError(
        f"{output}: holds some images more than once, after a job that didn't end in good order; "
        f"`labelbeam repair {output}` removes what is repeated"
    )


def no_masks(output: str) -> UsageError:
    """The error for detections without masks where masks are to be measured."""
    return UsageError(
        f"--iou segm: {output} holds detections without masks (the detector has none, or it was labelled with "
        "--mask-format none); use --iou bbox"
    )
