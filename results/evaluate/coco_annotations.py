"""Ground truth in COCO's format (`instances.json`): read, checked, and its images found among a label set's URIs.

An image belongs to the annotations whose `file_name` is the longest suffix of its path, folder by folder: with `a.jpg`
and `night/a.jpg` annotated, `/data/night/a.jpg` is the second one. Or a table says which is which.
"""

import csv
import io
import marshal
import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np

from ...storage import files
from ...storage.errors import UsageError
from ...transforms.sources.inputs import container_of
from .json_lists import iter_items

IouType = Literal["bbox", "segm"]

_NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox", "area"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class Annotations:
    """The content of an `instances.json`. Images and categories are known by their numbers, from 0 in the order of
    their ids.

    Attributes:
      image_ids, file_names: `[I]`.
      sizes_hw: `[I]`, (height, width) in pixels, None where the file doesn't say.
      categories: `[C]`, (id, name).
      bounds: int64 `[I + 1]`: the objects of image i are those from `bounds[i]` to `bounds[i + 1]`.
      category_numbers: int32 `[N]`, of the objects.
      boxes_xywh: float64 `[N, 4]`, pixels.
      areas: float64 `[N]`, pixels.
      crowds: bool `[N]`, whether it's a crowd.
    """

    image_ids: Sequence[int | str]
    file_names: Sequence[str]
    sizes_hw: Sequence[tuple[int | None, int | None]]
    categories: Sequence[tuple[int | str, str]]
    bounds: np.ndarray
    category_numbers: np.ndarray
    boxes_xywh: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    _ids: np.ndarray
    _outlines: "tuple[IO[bytes], np.ndarray] | None"

    def objects(self, images: Iterable[int]) -> list[dict[str, Any]]:
        """The annotated objects of some images, as COCO's evaluation wants them."""
        found = []
        for image in images:
            rows = slice(self.bounds[image], self.bounds[image + 1])
            columns = (self._ids, self.category_numbers, self.boxes_xywh, self.areas, self.crowds)
            found += [
                {"id": id, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": int(crowd)}
                for id, category, box, area, crowd in zip(*(column[rows].tolist() for column in columns))
            ]
        if self._outlines:
            file, ends = self._outlines
            for entry in found:
                start, end = ends[entry["id"] - 1 : entry["id"] + 1].tolist()
                entry["segmentation"] = marshal.loads(os.pread(file.fileno(), end - start, start))
        return found


def read_annotations(path: str, iou: IouType) -> Annotations:
    """Reads an `instances.json`, entry by entry; outlines wait in a temporary file.

    `iscrowd` is 0 where it's missing. Annotations are numbered from 1: COCO's evaluation takes a match with id 0 for
    none.

    Args:
      path: on disk or in a store.
      iou: `segm` needs masks in the annotations.

    Raises:
      UsageError: if there's no such file, or it isn't what COCO's format demands; names the entry and the key.
    """
    try:
        with files.open_to_read(path) as file:
            return _read(path, io.TextIOWrapper(file, "utf-8-sig"), iou)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"--annotations {path}: no such file; expected an instances.json in COCO's format") from None
    except ValueError as error:  # of JSON or of UTF-8
        raise UsageError(f"--annotations {path}: isn't valid JSON in COCO's format ({error})") from error


def _read(path: str, stream: io.TextIOWrapper, iou: IouType) -> Annotations:
    counts = dict.fromkeys(_NEEDED, -1)
    images, categories, image_of, category_of = [], [], [], []
    numbers, crowds, ends = array("d"), array("b"), array("q", [0])
    outlines = TemporaryFile() if iou == "segm" else None  # noqa: SIM115 - lives as long as the annotations
    for key, entry in iter_items(stream, _NEEDED):
        counts[key] += 1
        if counts[key] == 0:  # the list itself
            continue
        needed = _NEEDED[key] + (("segmentation",) if key == "annotations" and outlines else ())
        missing = [name for name in needed if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise UsageError(
                f"--annotations {path}: number {counts[key]} of {key!r} has no {', '.join(map(repr, missing))}"
            )
        if key == "images":
            images.append((entry["id"], str(entry["file_name"]), (entry.get("height"), entry.get("width"))))
        elif key == "categories":
            categories.append((entry["id"], str(entry["name"])))
        else:
            try:
                x, y, w, h = entry["bbox"]
                numbers.extend((x, y, w, h, entry["area"]))
            except (TypeError, ValueError):
                raise UsageError(
                    f"--annotations {path}: annotation {counts[key]}: expected four numbers as bbox and a number as "
                    f"area, got {entry['bbox']} and {entry['area']}"
                ) from None
            image_of.append(entry["image_id"])
            category_of.append(entry["category_id"])
            crowds.append(bool(entry.get("iscrowd")))
            if outlines:
                ends.append(ends[-1] + outlines.write(marshal.dumps(entry["segmentation"])))
    for key, count in counts.items():
        if count < 0:
            raise UsageError(
                f"--annotations {path}: has no list {key!r}; expected COCO's format: an object with the lists "
                f"{', '.join(_NEEDED)}"
            )
        if not count and key != "annotations":
            raise UsageError(f"--annotations {path}: the list {key!r} is empty")
    for entries in (images, categories):
        entries.sort(key=lambda entry: (isinstance(entry[0], str), entry[0]))
    image_numbers = _numbers_of(path, "image", image_of, [image[0] for image in images])
    category_numbers = _numbers_of(path, "category", category_of, [category[0] for category in categories])
    if outlines:
        outlines.flush()
    order = np.argsort(image_numbers, kind="stable")
    boxes = np.frombuffer(numbers, np.float64).reshape(-1, 5)[order]
    return Annotations(
        [id for id, _, _ in images],
        [name for _, name, _ in images],
        [size for _, _, size in images],
        categories,
        np.searchsorted(image_numbers[order], np.arange(len(images) + 1)),
        category_numbers[order],
        boxes[:, :4],
        boxes[:, 4],
        np.frombuffer(crowds, np.bool_)[order],
        order + 1,
        (outlines, np.frombuffer(ends, np.int64)) if outlines else None,
    )


def _numbers_of(path: str, what: str, wanted: Sequence[int | str], ids: Sequence[int | str]) -> np.ndarray:
    """The numbers of the images or categories that annotations belong to."""
    numbers = {id: number for number, id in enumerate(ids)}
    try:
        return np.fromiter((numbers[id] for id in wanted), np.int32, len(wanted))
    except KeyError as error:
        annotation = next(number for number, id in enumerate(wanted, start=1) if id not in numbers)
        raise UsageError(
            f"--annotations {path}: annotation {annotation} belongs to {what} {error.args[0]!r}, which isn't among the "
            f"{'categories' if what == 'category' else 'images'}"
        ) from None


class FileNames:
    """Finds the annotated image that a URI stands for, by the longest suffix of its path.

    Raises:
      UsageError: if two images have one file name.
    """

    def __init__(self, annotations: Annotations):
        self._numbers: dict[tuple[str, ...], int] = {}
        ids = annotations.image_ids
        for number, file_name in enumerate(annotations.file_names):
            parts = _parts(file_name.replace("\\", "/"))
            if not parts:
                raise UsageError(f"annotations: image {ids[number]!r} has no usable file name: {file_name!r}")
            if parts in self._numbers:
                raise UsageError(
                    f"annotations: the images {ids[self._numbers[parts]]!r} and {ids[number]!r} have one file name, "
                    f"{file_name}; say which URI is which image with --image-ids"
                )
            self._numbers[parts] = number
        self._longest = max(map(len, self._numbers), default=0)

    def find(self, uri: str) -> int | None:
        """The image's number in the annotations, or None if they don't have it."""
        parts = _parts(_path(uri))
        for length in range(min(len(parts), self._longest), 0, -1):
            found = self._numbers.get(parts[-length:])
            if found is not None:
                return found
        return None


class ImageIdTable:
    """Finds the annotated image that a URI stands for in a CSV file with the columns `uri` and `id`.

    Args:
      path: of the CSV file, on disk or in a store.

    Raises:
      UsageError: if the file can't be read, lacks a column, or names an image that isn't in the annotations.
    """

    def __init__(self, path: str, annotations: Annotations):
        try:
            text = files.read(path).decode("utf-8-sig")
        except (FileNotFoundError, IsADirectoryError):
            raise UsageError(
                f"--image-ids {path}: no such file; expected a CSV file with the columns uri and id"
            ) from None
        except UnicodeDecodeError as error:
            raise UsageError(f"--image-ids {path}: isn't UTF-8 text ({error})") from error
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if not {"uri", "id"} <= set(reader.fieldnames or ()):
            raise UsageError(
                f"--image-ids {path}: expected the columns uri and id, got {', '.join(reader.fieldnames or ())}"
            )
        by_text = {str(id): number for number, id in enumerate(annotations.image_ids)}
        self._numbers: dict[str, int] = {}
        for row in reader:
            if row["id"] not in by_text:
                raise UsageError(
                    f"--image-ids {path}, line {reader.line_num}: the annotations have no image with the id "
                    f"{row['id']!r}"
                )
            self._numbers[row["uri"]] = by_text[row["id"]]

    def find(self, uri: str) -> int | None:
        return self._numbers.get(uri)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _path(uri: str) -> str:
    """The path in a URI, a container's member included; without the query of an http(s) URI."""
    if (container := container_of(uri)) is not None:
        return f"{_path(container)}/{uri[len(container) + 1 :]}"
    if uri.startswith(("http://", "https://")):
        return unquote(urlsplit(uri).path)
    return uri
