"""Reads labels back from an output folder, image by image, each with its detections, masks and image: all of them as a
stream, or a sample.

For looking at results, measuring and exporting them. Not for queries: the tables are plain Parquet files, for DuckDB, pandas
or Spark.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..labelset.label_set_file import METADATA_KEY, read_label_set_file
from ..labelset.masks import encode_rle
from ..labelset.parts import count_rows, finished_parts, read_part
from ..labelset.schemas import TABLES
from ..storage.errors import UsageError
from ..transforms.decode.decoding import decode
from ..transforms.elements import ImageError, ImageFacts, ImageFailure, ImageReference
from ..transforms.fetch.options import DecodeOptions, ReadOptions
from ..transforms.fetch.read_bytes import image_error, read_bytes
from ..transforms.sources.containers import index_members
from ..transforms.sources.inputs import container_of
from .reader import decode_mask

MAX_PARTS = 64  # parts that a sample is drawn from: of a folder with thousands, even their sizes take long to read


@dataclass(frozen=True)
class StoredLabels:
    """What an output folder holds of one image.

    Attributes:
      output: the output folder.
      settings: of the label set: see `Labelling.settings`; empty if the files don't say.
      image_id, uri: of the image, as in the tables.
      size_hw: (height, width) of the image in pixels, or None if it was never decoded.
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
    settings: dict[str, Any]
    image_id: str
    uri: str
    size_hw: tuple[int, int] | None
    failure: ImageFailure | None
    class_ids: np.ndarray
    class_names: list[str]
    scores: np.ndarray
    boxes_xywh: np.ndarray
    mask_refs: list[str | None]
    counts: dict[str, str]
    areas: dict[str, int]

    def mask(self, rank: int) -> np.ndarray | None:
        """The mask of one detection as bool `[height, width]`, made anew at each call; None if it has none.

        Raises:
          FileNotFoundError: if it's a file that is gone.
        """
        ref = self.mask_refs[rank]
        if ref is None:
            return None
        height, width = self.size_hw
        return decode_mask(
            {"mask_ref": ref, "counts": self.counts.get(ref), "height": height, "width": width}, self.output
        )

    def rle(self, rank: int) -> str | None:
        """The mask of one detection as COCO's compressed run-length encoding, whatever it's stored as; None if it has none.

        Raises:
          FileNotFoundError: if it's a file that is gone.
        """
        ref = self.mask_refs[rank]
        return None if ref is None else self.counts[ref] if ref in self.counts else encode_rle(self.mask(rank))

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

    def read_pixels(self) -> np.ndarray:
        """The image, uint8 RGB `[height, width, 3]`, read again from its URI and decoded as it was for its labels.

        Raises:
          ImageError: if it can't be read any more, or isn't the image that was labelled.
        """
        options = DecodeOptions(
            exif_orientation=self.settings.get("exif_orientation", DecodeOptions.exif_orientation),
            background_rgb=tuple(self.settings.get("background_rgb", DecodeOptions.background_rgb)),
        )
        pixels = decode(read_bytes(_reference(self.uri), ReadOptions(), ImageFacts()), options)
        if pixels.shape[:2] != self.size_hw:
            raise ImageError(
                "not_found",
                "the image has changed since: it had {}×{} pixels, now it has {}×{}".format(
                    *self.size_hw[::-1], *pixels.shape[1::-1]
                ),
            )
        return pixels


def sample_labels(output: str, num_images: int, seed: int = 0) -> list[StoredLabels]:
    """A random sample of the images in an output folder, failed ones included, sorted by URI.

    Of a folder with many parts, it is drawn from `MAX_PARTS` of them.

    Args:
      output: the output folder.
      num_images: how many; all of them if there are fewer.
      seed: the same one gives the same sample of the same folder.

    Raises:
      UsageError: if there are no labelled images.
    """
    rng = np.random.default_rng(seed)
    parts = finished_parts(output)
    stems = list(parts)
    stems = [stems[i] for i in np.sort(rng.choice(len(stems), min(len(stems), MAX_PARTS), replace=False))]
    rows_before = np.cumsum([0, *(count_rows(output, stem) for stem in stems)])
    if not rows_before[-1]:
        raise UsageError(
            f"no labelled images in {output}: expected {output}/images/part-*.parquet. Run"
            f" `labelbeam label` with this folder as --output first"
        )
    chosen = np.sort(rng.choice(rows_before[-1], min(num_images, rows_before[-1]), replace=False))
    numbers = np.searchsorted(rows_before, chosen, side="right") - 1
    labels = []
    for number in np.unique(numbers):
        rows = chosen[numbers == number] - rows_before[number]
        labels.extend(_read_part(output, stems[number], parts[stems[number]], rows))
    return sorted(labels, key=lambda image: image.uri)


def iter_labels(output: str, with_masks: bool = True) -> Iterator[StoredLabels]:
    """Every image in an output folder, failed ones included, part by part; memory holds the columns of one part.

    Args:
      with_masks: whether masks are wanted; without, `mask` must not be asked for.
    """
    for stem, tables in finished_parts(output).items():
        yield from _read_part(output, stem, [name for name in tables if with_masks or name != "masks"], None)


def read_labels(
    output: str, image_ids: Collection[str], stems: Collection[str] | None = None
) -> Iterator[StoredLabels]:
    """The labels of certain images, in the tables' order; those that the folder doesn't hold are passed over.

    Args:
      stems: of the parts to look in; all if None.
    """
    ids = pa.array(image_ids, pa.string())
    for stem, tables in finished_parts(output).items():
        if stems is None or stem in stems:
            rows = np.flatnonzero(pc.is_in(read_part(output, stem, "images", ["image_id"])["image_id"], ids))
            if len(rows):
                yield from _read_part(output, stem, tables, rows)


def label_set_settings(output: str) -> dict[str, Any]:
    """The settings that made a folder's labels: see `Labelling.settings`; empty if the files don't say.

    Raises:
      UsageError: if the folder isn't one of a label set, or holds no labelled images.
    """
    stems = list(finished_parts(output))
    if not any(count_rows(output, stem) for stem in stems):
        read_label_set_file(output)  # says so if it's no such folder
        raise UsageError(f"{output}: no labelled images; no job has finished a part yet (`labelbeam status {output}`)")
    return _settings_of(read_part(output, stems[0], "images", ["status"]))


def _read_part(output: str, stem: str, tables: Collection[str], rows: np.ndarray | None) -> Iterator[StoredLabels]:
    """The labels of some images of one part, given by their rows in its file of `images`; of all if None.

    A part may hold a hundred thousand images: its rows stay in Arrow's columns until their image's turn comes.
    """
    images = read_part(output, stem, "images", ["image_id", "uri", "error_kind", "error_message", "width", "height"])
    if rows is not None:
        images = images.take(rows)
    image_ids = images["image_id"].combine_chunks()
    of_images = None if rows is None else pc.field("image_id").isin(image_ids)
    detections = _RowsByImage(
        _read(output, stem, tables, "detections", ["class_id", "class_name", "score", *"xywh", "mask_ref"], of_images),
        image_ids,
    )
    masks = _RowsByImage(_read(output, stem, tables, "masks", ["mask_ref", "counts", "area"], of_images), image_ids)
    class_ids, scores = detections.array("class_id"), detections.array("score")
    boxes = np.stack([detections.array(name) for name in "xywh"], axis=1)
    settings = _settings_of(images)
    for place, image in enumerate(row for batch in images.to_batches(max_chunksize=1000) for row in batch.to_pylist()):
        mine, of_masks = detections.of(place), masks.of(place)
        refs = masks.values("mask_ref", of_masks)
        yield StoredLabels(
            output,
            settings,
            image["image_id"],
            image["uri"],
            size_hw=(image["height"], image["width"]) if image["width"] else None,
            failure=ImageFailure(image["error_kind"], image["error_message"]) if image["error_kind"] else None,
            class_ids=class_ids[mine],
            class_names=detections.values("class_name", mine),
            scores=scores[mine],
            boxes_xywh=boxes[mine],
            mask_refs=detections.values("mask_ref", mine),
            counts={ref: counts for ref, counts in zip(refs, masks.values("counts", of_masks)) if counts is not None},
            areas=dict(zip(refs, masks.values("area", of_masks))),
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

    def values(self, name: str, rows: slice) -> list:
        return self._columns[name][rows].to_pylist()


def _read(
    output: str, stem: str, tables: Collection[str], table: str, columns: list[str], rows: pc.Expression | None
) -> pa.Table:
    columns = ["image_id", *columns]
    if table not in tables:  # a label set without masks has no such table
        return pa.schema([TABLES[table].field(name) for name in columns]).empty_table()
    return read_part(output, stem, table, columns, rows)


def _settings_of(table: pa.Table) -> dict[str, Any]:
    return json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), "{}"))


def _reference(uri: str) -> ImageReference:
    """Where an image lies, found again by its URI: those inside a container by looking through it.

    Raises:
      ImageError: if the container can't be read or has no such member.
    """
    if (container := container_of(uri)) is None:
        return ImageReference(uri)
    try:
        found = next((member for member in index_members(container) if member.uri == uri), None)
    except (OSError, ValueError) as error:
        raise image_error(error) from error
    if found is None:
        raise ImageError("not_found", f"container {container} has no such member any more")
    return found
