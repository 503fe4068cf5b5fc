"""The elements that travel through the pipeline, in the order in which an image becomes them.

    ImageReference ─ FetchImages ─ FetchedImage ─ Detect ─ LabelledImage ─ ToRows ─ ImageRows ─ WriteParts ─ Part
                                 └ FailedImage ───────── ┴ FailedImage ───┘

From `FetchImages` to `ToRows` a batch of images is one element. An image that fails in a step travels on as a
`FailedImage`, so that every reference ends as one row of `images`. How elements are encoded is in `coders.py`.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..detectors.protocol import Detections, PreparedImage
from ..labelset.rows import ErrorKind, image_id
from ..storage.file_info import FileVersion
from .decode.image_area import WHOLE, ImageArea

METRICS_NAMESPACE = "labelbeam"  # of all counters


class ImageError(Exception):
    """Why one image could not be labelled: `kind` of the closed list `ERROR_KINDS`, and a sentence for a person."""

    def __init__(self, kind: ErrorKind, message: str):
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message


@dataclass(frozen=True)
class MemberLocation:
    """Where the bytes of an image lie inside a container file.

    Attributes:
      container: path or URI of the container.
      format: `tar`, `tfrecord`, `parquet` or `video`; of pages `tiff` or `animation`.
      offset: first byte of the member (tar), of the record's data (tfrecord); the row's number in the file (parquet);
        the frame's time, in the units of its stream (video); the page's directory (tiff); the frame's number, from 0
        (animation).
      length: bytes of the member or of the record's data, of the frame's pixels (video, animation); unused for others.
      column: the column with the bytes, dotted for a struct's field (parquet); the feature with them (tfrecord).
      chunk: number of the stretch of the container, at most 128 images and 64 MiB, whose members are best read
        together and in order; never across a Parquet row group.
      keyframe: the time of the keyframe before, as `offset` (video).
      time_s: seconds from the video's first frame to this one; None for all others.
    """

    container: str
    format: Literal["tar", "tfrecord", "parquet", "video", "tiff", "animation"]
    offset: int
    length: int = 0
    column: str = ""
    chunk: int = 0
    keyframe: int = 0
    time_s: float | None = None


@dataclass(frozen=True)
class BoxPrompts:
    """Boxes of one image that somebody had before.

    Attributes:
      data: float32 `[P, 4]`, (ymin, xmin, ymax, xmax), C order: bytes, since references are compared and shuffled.
      unit: of the edges.
    """

    data: bytes = b""
    unit: Literal["normalised", "pixels"] = "normalised"

    def normalised_yxyx(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Float32 `[P, 4]`, normalised to an image of this size and clipped to it."""
        edges = np.frombuffer(self.data, np.float32).reshape(-1, 4)
        return np.clip(edges / np.array([*size_hw, *size_hw], np.float32) if self.unit == "pixels" else edges, 0, 1)


@dataclass(frozen=True)
class ImageReference:
    """An image that is to be labelled.

    Attributes:
      uri: of the image.
      location: where its bytes lie, if it is inside a container.
      boxes: where to look; None if the detector is to find them.
      listed_as: what stood in the list that names it; None if no list does.
      carried: values of the list's columns that come along into `images` (`ListOptions.carry`), in their order.
      version: of the file that holds its bytes, where it is asked whether that has changed.
      problem: what is wrong with the place in a list or container that should name or hold an image, which `uri` names
        then; empty for all others. Such a reference becomes a failed image.
    """

    uri: str
    location: MemberLocation | None = None
    boxes: BoxPrompts | None = None
    listed_as: str | None = None
    problem: str = ""
    carried: tuple[Any, ...] = ()
    version: FileVersion | None = None

    @functools.cached_property
    def image_id(self) -> str:
        return image_id(self.uri)


@dataclass(frozen=True)
class ImageFailure:
    """Why an image has no labels."""

    kind: ErrorKind
    message: str


@dataclass
class ImageFacts:
    """What is known of an image's file, for its row in `images`; None is what was never learnt.

    `width` and `height` are those of the full image (after EXIF orientation), in pixels; `fetch_ms` and `decode_ms` are
    milliseconds of wall time; `attempts` counts how often the bytes were asked for; `version` is that of the file that
    was read, of a container for its members; what EXIF data say is as `decode.exif.ExifFacts` has it.
    """

    attempts: int = 0
    width: int | None = None
    height: int | None = None
    num_bytes: int | None = None
    sha256: str | None = None
    fetch_ms: float | None = None
    decode_ms: float | None = None
    version: FileVersion = FileVersion()
    captured_at: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class FetchOutcome:
    """What `FetchImages` makes of a reference: a `FetchedImage` or a `FailedImage`."""

    @property
    def num_bytes_in_memory(self) -> int:
        """Of what can be large."""
        return 0


class DetectOutcome:
    """What `Detect` makes of a `FetchOutcome`: a `LabelledImage` or a `FailedImage`."""

    @property
    def num_bytes_in_memory(self) -> int:
        """Of what can be large."""
        return 0


@dataclass
class FetchedImage(FetchOutcome):
    """A decoded image.

    Attributes:
      reference: the image.
      facts: what is known of its file.
      pixels: uint8 RGB `[height, width, 3]`, or what the detector has made of them.
      runs_alone: whether the model gets it in a batch of its own, because a process may have died of it.
      area: where the image lies in `pixels`, which may be fewer than the file has.
    """

    reference: ImageReference
    facts: ImageFacts
    pixels: np.ndarray | PreparedImage
    runs_alone: bool = False
    area: ImageArea = WHOLE

    @property
    def num_bytes_in_memory(self) -> int:
        return self.pixels.nbytes


@dataclass
class LabelledImage(DetectOutcome):
    """An image and what the detector found in it. The pixels are gone."""

    reference: ImageReference
    facts: ImageFacts
    detections: Detections

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the full image, in pixels."""
        height, width = self.facts.height, self.facts.width
        if height is None or width is None:
            raise ValueError(f"image {self.reference.image_id} has detections but no size")
        return height, width

    @property
    def num_bytes_in_memory(self) -> int:
        return 0 if self.detections.masks is None else self.detections.masks.nbytes


@dataclass
class FailedImage(FetchOutcome, DetectOutcome):
    """An image that has no labels, with what is known of its file, and why."""

    reference: ImageReference
    facts: ImageFacts
    kind: ErrorKind
    message: str
