"""What every export format is written through: a `Writer`, given what is known of all images and then one image after
the other.

Memory must not grow with the number of images: what belongs at a file's end is spooled to disk. Not for reading labels:
a writer sees only what it is handed.
"""

import abc
import contextlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np

from ..stored_labels import StoredLabels
from .names import split_extension

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Dataset:
    """What is known before the first image.

    Attributes:
      categories: class id -> name, of every class that may occur, by id.
      has_masks: whether detections may have masks.
      settings: of the label set: see `LabelSet.settings`.
      final_folder: absolute path of where the export will lie when it's whole.
      polygon_tolerance_px: how far a polygon may be from its mask's outline, in pixels; 0 keeps every pixel.
    """

    categories: Mapping[int, str]
    has_masks: bool
    settings: Mapping[str, Any]
    final_folder: Path
    polygon_tolerance_px: float = 0.0


@dataclass(frozen=True)
class ExportedImage:
    """One image, with those of its detections that are asked for.

    Attributes:
      number: from 1, without gaps.
      name: relative path of the image, `/` between folders, different for each image; flat if the writer wants it so.
      image: relative path of the image's copy or link below the export's folder; None if there is none.
      labels: what was found in it. Its size is known: it was decoded.
    """

    number: int
    name: str
    image: str | None
    labels: StoredLabels

    @property
    def stem(self) -> str:
        """`name` without its extension."""
        return split_extension(self.name)[0]


class Writer(abc.ABC):
    """Writes one export into a folder. A context manager: `finish` is called when it's left without an error.

    Attributes:
      file_name: of formats that are one file: its path below the folder, with the extension by which --to is told to be
        a file.
      images_folder: where below the folder the tool expects images.
      flat_names: names have no folders, and differ in more than their extensions.
      needs_masks: there is nothing to write without masks.
      reads_uris: the tool can do with images that are neither in the export nor files on this machine.
      left_out: detections that the format can't hold, by reason.
    """

    file_name: ClassVar[str | None] = None
    images_folder: ClassVar[str] = "images"
    flat_names: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False
    reads_uris: ClassVar[bool] = True

    def __init__(self, folder: Path, dataset: Dataset):
        self.folder = folder
        self.dataset = dataset
        self.left_out: Counter[str] = Counter()
        self._files = contextlib.ExitStack()

    @staticmethod
    def class_name(name: str) -> str:
        """What a class is called in this format: a name of one line, unless the format can't hold some letter."""
        return name

    @abc.abstractmethod
    def add(self, image: ExportedImage) -> None:
        """Writes one image's labels, or spools them."""

    def finish(self) -> None:  # noqa: B027 - most formats have nothing to write last
        """Writes what comes last."""

    def __enter__(self):
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        with self._files:
            if exception_type is None:
                self.finish()

    def open(self, name: str) -> TextIO:
        """A new text file of the export, closed with the writer; makes its folders."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._files.enter_context(open(path, "w", encoding="utf-8"))

    def write_text(self, name: str, text: str) -> None:
        """A whole file of the export; makes its folders."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class JsonItems:
    """Writes the items of a JSON array to a file one by one; the brackets are the caller's."""

    def __init__(self, file: TextIO):
        self._file = file
        self._separator = ""

    def write(self, item: Any) -> None:
        self._file.write(self._separator + to_json(item))
        self._separator = ",\n"


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def xml_text(text: str) -> str:
    """Text in which what XML can't hold (control characters) is replaced."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def shortest(values: np.ndarray) -> Any:
    """float32 as (nested lists of) Python floats with the fewest digits that are still the same float32."""
    return (
        np.vectorize(lambda value: float(str(value)), otypes=[np.float64])(values).tolist()
        if values.size
        else values.tolist()
    )


def edges_xyxy(labels: StoredLabels) -> np.ndarray:
    """Float64 `[N, 4]`: left, top, right, bottom in pixels; not a rounding error beyond the image."""
    height, width = labels.image_size_hw
    boxes = labels.boxes_xywh.astype(np.float64)
    return np.clip(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), 0, [width, height] * 2)
