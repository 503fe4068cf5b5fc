"""Ground truth in COCO's format (`instances.json`): read, checked, and its images found among a label set's URIs.

An image belongs to the annotations whose `file_name` is the longest suffix of its path, folder by folder: with `a.jpg`
and `night/a.jpg` annotated, `/data/night/a.jpg` is the second one. Or a table says which is which. Not for scoring: see
`evaluate.py`.
"""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from ...storage import files as output_files
from ...storage.errors import UsageError
from ...transforms.sources.inputs import container_of

IouType = Literal["bbox", "segm"]
ImageId = int | str

_NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox", "area"),
    "categories": ("id", "name"),
}


def read_annotations(path: str, iou: IouType) -> dict[str, Any]:
    """The content of an `instances.json`, as pycocotools wants it.

    `iscrowd` is 0 where it's missing. Annotations are numbered from 1: pycocotools takes a match with id 0 for no
    match.

    Args:
      path: on any store that Beam knows.
      iou: `segm` needs masks in the annotations.

    Raises:
      UsageError: if there's no such file, or it isn't what COCO's format demands; names the entry and the key.
    """
    try:
        content = json.loads(output_files.read(path))
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"--annotations {path}: no such file; expected an instances.json in COCO's format") from None
    except ValueError as error:  # of JSON or of UTF-8
        raise UsageError(f"--annotations {path}: isn't valid JSON ({error})") from error
    for key, needed in _NEEDED.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UsageError(
                f"--annotations {path}: has no list {key!r}; expected COCO's format: an object with the lists "
                f"{', '.join(_NEEDED)}"
            )
        if key == "annotations" and iou == "segm":
            needed += ("segmentation",)
        _check_entries(path, key, entries, needed)
    image_ids = {image["id"] for image in content["images"]}
    for number, annotation in enumerate(content["annotations"], start=1):
        if annotation["image_id"] not in image_ids:
            raise UsageError(
                f"--annotations {path}: annotation {number} belongs to image {annotation['image_id']!r}, which "
                "isn't among the images"
            )
        annotation["id"] = number
        annotation.setdefault("iscrowd", 0)
    return content


def _check_entries(path: str, key: str, entries: list, needed: tuple[str, ...]) -> None:
    if not entries and key != "annotations":
        raise UsageError(f"--annotations {path}: the list {key!r} is empty")
    for number, entry in enumerate(entries, start=1):
        missing = [name for name in needed if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise UsageError(f"--annotations {path}: number {number} of {key!r} has no {', '.join(map(repr, missing))}")


class FileNames:
    """Finds the annotated image that a URI stands for, by the longest suffix of its path.

    Args:
      images: the list `images` of the annotations.

    Raises:
      UsageError: if two images have one file name.
    """

    def __init__(self, images: Iterable[dict[str, Any]]):
        self._ids: dict[tuple[str, ...], ImageId] = {}
        for image in images:
            parts = _parts(str(image["file_name"]).replace("\\", "/"))
            if not parts:
                raise UsageError(f"annotations: image {image['id']!r} has no usable file name: {image['file_name']!r}")
            if parts in self._ids:
                raise UsageError(
                    f"annotations: the images {self._ids[parts]!r} and {image['id']!r} have one file name, "
                    f"{image['file_name']}; say which URI is which image with --image-ids"
                )
            self._ids[parts] = image["id"]
        self._longest = max(map(len, self._ids), default=0)

    def find(self, uri: str) -> ImageId | None:
        """The image's id in the annotations, or None if they don't have it."""
        parts = _parts(_path(uri))
        for length in range(min(len(parts), self._longest), 0, -1):
            found = self._ids.get(parts[-length:])
            if found is not None:
                return found
        return None


class ImageIdTable:
    """Finds the annotated image that a URI stands for in a CSV file with the columns `uri` and `id`.

    Args:
      path: of the CSV file, on any store that Beam knows.
      images: the list `images` of the annotations.

    Raises:
      UsageError: if the file can't be read, lacks a column, or names an image that isn't in the annotations.
    """

    def __init__(self, path: str, images: Iterable[dict[str, Any]]):
        try:
            text = output_files.read(path).decode("utf-8-sig")
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
        by_text = {str(image["id"]): image["id"] for image in images}
        self._ids: dict[str, ImageId] = {}
        for row in reader:
            if row["id"] not in by_text:
                raise UsageError(
                    f"--image-ids {path}, line {reader.line_num}: the annotations have no image with the id "
                    f"{row['id']!r}"
                )
            self._ids[row["uri"]] = by_text[row["id"]]

    def find(self, uri: str) -> ImageId | None:
        return self._ids.get(uri)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path).parts if part != "/")


def _path(uri: str) -> str:
    """The path in a URI, a container's member included; without the query of an http(s) URI."""
    if (container := container_of(uri)) is not None:
        return f"{_path(container)}/{uri[len(container) + 1 :]}"
    if uri.startswith(("http://", "https://")):
        return unquote(urlsplit(uri).path)
    return uri
