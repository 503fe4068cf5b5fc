"""Reads labels back from an output folder, image by image, each with its detections, masks and picture: all of them as a
stream, or a sample.

For looking at results, measuring and exporting them. Not for queries: the tables are plain Parquet files, for DuckDB, pandas
or Spark.
"""
import io
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from ..detectors.errors import UsageError
from ..transforms import output_files
from ..transforms.containers import index_members
from ..transforms.decode import decode
from ..transforms.elements import ImageError, ImageFacts, ImageFailure, ImageReference
from ..transforms.fetch_options import DecodeOptions, ReadOptions
from ..transforms.inputs import format_of
from ..transforms.masks import decode_rle, encode_rle
from ..transforms.parts import part_path
from ..transforms.read_bytes import image_error, read_bytes
from .labelling import METADATA_KEY
from .status import read_labelling_file

MAX_PARTS = 64  # parts that a sample is drawn from: of a folder with thousands, even their sizes take long to read


@dataclass(frozen=True)
class StoredLabels:
    """What an output folder holds of one image.

    Attributes:
      output: the output folder.
      settings: of the labelling: see `Labelling.settings`; empty if the files don't say.
      image_id, uri: of the image, as in the tables.
      size_hw: (height, width) of the picture in pixels, or None if it was never decoded.
      failure: why the image has no labels, or None.
      class_ids: int32 `[N]`, best detection first.
      class_names: `[N]`.
      scores: float32 `[N]`.
      boxes_xywh: float32 `[N, 4]`, pixels.
      mask_refs: `[N]`, None for detections without a mask.
      counts: run-length encodings by mask_ref; a mask that has none here is a PNG file.
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

    def mask(self, rank: int) -> np.ndarray | None:
        """The mask of one detection as bool `[height, width]`, made anew at each call; None if it has none.

        Raises:
          FileNotFoundError: if it's a file that is gone.
        """
        ref = self.mask_refs[rank]
        if ref is None:
            return None
        if ref in self.counts:
            return decode_rle(self.counts[ref], *self.size_hw)
        with Image.open(io.BytesIO(output_files.read(output_files.join(self.output, ref)))) as file:
            return np.asarray(file, bool)

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
        return replace(self, class_ids=self.class_ids[kept], class_names=[self.class_names[i] for i in indices],
                       scores=self.scores[kept], boxes_xywh=self.boxes_xywh[kept], mask_refs=[self.mask_refs[i] for i in indices])

    def read_pixels(self) -> np.ndarray:
        """The picture, uint8 RGB `[height, width, 3]`, read again from its URI and decoded as it was for its labels.

        Raises:
          ImageError: if it can't be read any more, or isn't the picture that was labelled.
        """
        options = DecodeOptions(
            exif_orientation=self.settings.get("exif_orientation", DecodeOptions.exif_orientation),
            background_rgb=tuple(self.settings.get("background_rgb", DecodeOptions.background_rgb)))
        pixels = decode(read_bytes(_reference(self.uri), ReadOptions(), ImageFacts()), options)
        if pixels.shape[:2] != self.size_hw:
            raise ImageError("not_found", "the picture has changed since: it had {}×{} pixels, now it has {}×{}".format(
                *self.size_hw[::-1], *pixels.shape[1::-1]))
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
    paths = output_files.list_files(part_path(output, "images", "part-*"))
    paths = [paths[i] for i in np.sort(rng.choice(len(paths), min(len(paths), MAX_PARTS), replace=False))]
    rows_before = np.cumsum([0, *(_num_rows(path) for path in paths)])
    if not rows_before[-1]:
        raise UsageError(f"no labelled images in {output}: expected {output}/images/part-*.parquet. Run"
                         f" `labelbeam label` with this folder as --output first")
    chosen = np.sort(rng.choice(rows_before[-1], min(num_images, rows_before[-1]), replace=False))
    parts = np.searchsorted(rows_before, chosen, side="right") - 1
    labels = []
    for part in np.unique(parts):
        labels.extend(_read_part(output, paths[part], chosen[parts == part] - rows_before[part]))
    return sorted(labels, key=lambda image: image.uri)


def iter_labels(output: str) -> Iterator[StoredLabels]:
    """Every image in an output folder, failed ones included, part by part; memory holds one part."""
    for path in output_files.list_files(part_path(output, "images", "part-*")):
        yield from _read_part(output, path, None)


def read_labels(output: str, image_ids: Iterable[str]) -> dict[str, StoredLabels]:
    """The labels of certain images, by id; those that the folder doesn't hold aren't in it."""
    ids, found = pa.array(list(image_ids), pa.string()), {}
    for path in output_files.list_files(part_path(output, "images", "part-*")):
        rows = np.flatnonzero(pc.is_in(_read_table(path, ["image_id"])["image_id"], ids))
        if len(rows):
            found.update((labels.image_id, labels) for labels in _read_part(output, path, rows))
    return found


def labelling_settings(output: str) -> dict[str, Any]:
    """The settings that made a folder's labels: see `Labelling.settings`; empty if the files don't say.

    Raises:
      UsageError: if the folder isn't one of a labelling, or holds no labelled images.
    """
    paths = output_files.list_files(part_path(output, "images", "part-*"))
    if not any(map(_num_rows, paths)):
        read_labelling_file(output)  # says so if it's no such folder
        raise UsageError(f"{output}: no labelled images; no job has finished a part yet (`labelbeam status {output}`)")
    with output_files.open_to_read(paths[0]) as file:
        return json.loads((pq.read_schema(file).metadata or {}).get(METADATA_KEY.encode(), "{}"))


def read_part_labels(output: str, stem: str, image_ids: Collection[str]) -> Iterator[StoredLabels]:
    """Chosen images of one part, in the order of its rows."""
    path = part_path(output, "images", stem)
    chosen = pc.is_in(_read_table(path, ["image_id"])["image_id"], pa.array(image_ids, pa.string()))
    return _read_part(output, path, np.flatnonzero(chosen))


def _num_rows(path: str) -> int:
    with output_files.open_to_read(path) as file:
        return pq.read_metadata(file).num_rows


def _read_part(output: str, path: str, rows: np.ndarray | None) -> Iterator[StoredLabels]:
    """The labels of some images of one part, given by their rows in its file of `images`; of all if None."""
    images, of_images = _read_table(path, ["image_id", "uri", "error_kind", "error_message", "width", "height"]), None
    if rows is not None:
        images = images.take(rows)
        of_images = pc.field("image_id").isin(images["image_id"].combine_chunks())

    def read(table: str, columns: list[str]) -> list[dict[str, Any]]:
        other = output_files.join(output, table, path.rpartition("/")[2])
        if not output_files.list_files(other):  # a labelling without masks has no such table
            return []
        return _read_table(other, columns, of_images).sort_by([(name, "ascending") for name in columns[:2]]).to_pylist()

    detections = read("detections", ["image_id", "rank", "class_id", "class_name", "score", "x", "y", "w", "h", "mask_ref"])
    by_image = {image_id: list(group) for image_id, group in groupby(detections, lambda row: row["image_id"])}
    masks = read("masks", ["image_id", "mask_ref", "counts"])
    counts = {row["mask_ref"]: row["counts"] for row in masks if row["counts"] is not None}
    settings = json.loads((images.schema.metadata or {}).get(METADATA_KEY.encode(), "{}"))
    for image in images.to_pylist():
        found = by_image.get(image["image_id"], [])
        refs = [row["mask_ref"] for row in found]
        yield StoredLabels(
            output, settings, image["image_id"], image["uri"],
            size_hw=(image["height"], image["width"]) if image["width"] else None,
            failure=ImageFailure(image["error_kind"], image["error_message"]) if image["error_kind"] else None,
            class_ids=np.int32([row["class_id"] for row in found]),
            class_names=[row["class_name"] for row in found],
            scores=np.float32([row["score"] for row in found]),
            boxes_xywh=np.float32([[row[name] for name in "xywh"] for row in found]).reshape(-1, 4),
            mask_refs=refs,
            counts={ref: counts[ref] for ref in refs if ref in counts})


def _read_table(path: str, columns: list[str], rows: pc.Expression | None = None) -> pa.Table:
    with output_files.open_to_read(path) as file:
        return pq.read_table(file, columns=columns, filters=rows)


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


def container_of(uri: str) -> str | None:
    """The container that an image lies in, by the form of its URI; None if it's a file of its own."""
    container, hash_sign, _ = uri.partition("#")
    return container if hash_sign and format_of(container) in ("tar", "tfrecord", "parquet") else None
