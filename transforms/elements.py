"""The elements that travel through the pipeline, in the order in which an image becomes them.

    ImageReference ─ FetchImages ─ FetchedImage ─ Detect ─ LabelledImage ─ ToRows ─ ImageRows ─ WriteParts ─ Part

An image that fails anywhere travels on as an element with an `ImageFailure`, so that every reference ends as one row of
`images`. Nothing here does work; what makes each element is the transform of that name.
"""

import functools
import pickle
from dataclasses import dataclass
from typing import Any, Literal

import apache_beam as beam
import numpy as np

from ..detectors.protocol import Detections
from ..labelset.rows import ErrorKind, ImageRows, image_id
from .decode.image_area import WHOLE, ImageArea

METRICS_NAMESPACE = "labelbeam"  # of all counters


class ImageError(Exception):
    """Why one image could not be labelled: `kind` of the closed list `ERROR_KINDS`, and a sentence for a person."""

    def __init__(self, kind: ErrorKind, message: str):
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class MemberLocation:
    """Where the bytes of an image lie inside a container file.

    Attributes:
      container: path or URI of the container.
      format: `tar`, `tfrecord` or `parquet`.
      offset: first byte of the member (tar), of the record's data (tfrecord); the row's number in the file (parquet).
      length: bytes of the member or of the record's data; unused for parquet.
      column: the column with the bytes, dotted for a struct's field (parquet only).
      chunk: number of the stretch of the container, about 64 MiB, whose members are best read together and in order;
        never across a Parquet row group.
    """

    container: str
    format: Literal["tar", "tfrecord", "parquet"]
    offset: int
    length: int = 0
    column: str = ""
    chunk: int = 0


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
        return np.clip(edges / np.float32([*size_hw, *size_hw]) if self.unit == "pixels" else edges, 0, 1)


@dataclass(frozen=True)
class ImageReference:
    """An image that is to be labelled: its URI, for one inside a container where its bytes lie, and the boxes in which to
    look, None if the detector is to find them."""

    uri: str
    location: MemberLocation | None = None
    boxes: BoxPrompts | None = None

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
    milliseconds of wall time; `attempts` counts how often the bytes were asked for.
    """

    attempts: int = 0
    width: int | None = None
    height: int | None = None
    num_bytes: int | None = None
    sha256: str | None = None
    fetch_ms: float | None = None
    decode_ms: float | None = None


@dataclass
class FetchedImage:
    """A decoded image, uint8 RGB `[height, width, 3]`, or why there is none (`pixels` is None, `failure` says why).

    `area` is where the image lies in `pixels`, which may be fewer than the file has. A process may have died of a `suspect`
    once: the model gets it alone.
    """

    reference: ImageReference
    facts: ImageFacts
    pixels: np.ndarray | None = None
    failure: ImageFailure | None = None
    suspect: bool = False
    area: ImageArea = WHOLE

    @property
    def num_bytes_in_memory(self) -> int:
        return 0 if self.pixels is None else self.pixels.nbytes


@dataclass
class LabelledImage:
    """An image and what the detector found in it, or why it has no labels. The pixels are gone."""

    reference: ImageReference
    facts: ImageFacts
    detections: Detections | None = None
    failure: ImageFailure | None = None

    @property
    def num_bytes_in_memory(self) -> int:
        """Of what can be large."""
        found = self.detections
        return 0 if found is None or found.masks is None else found.masks.nbytes


class InMemoryCoder(beam.coders.Coder):
    """For elements within a fused stage: pickles where a runner insists on bytes; tells an element's size without doing so.

    Beam samples the sizes of elements between steps, with the default coder by pickling them. Not a subclass of one of Beam's
    fast coders: those have an implementation of their own, which never asks `estimate_size`.
    """

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        return pickle.loads(encoded)

    def estimate_size(self, value: "FetchedImage | LabelledImage | ImageRows") -> int:
        return value.num_bytes_in_memory + 256

    def is_deterministic(self) -> bool:
        return False


class FetchedImageCoder(InMemoryCoder):
    """Of its own class, so that a graph tells where pixels are."""


class ImageReferenceCoder(beam.coders.Coder):
    """Little more than the URI's own bytes: runners keep several copies of millions. Pickles where there is more than a URI."""

    def encode(self, value: ImageReference) -> bytes:
        if value.location is None and value.boxes is None:
            return b"u" + value.uri.encode("utf-8", "surrogatepass")  # file names may hold lone surrogates
        parts = (part and tuple(vars(part).values()) for part in (value.location, value.boxes))
        return b"p" + pickle.dumps((value.uri, *parts), pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> ImageReference:
        if encoded.startswith(b"u"):
            return ImageReference(encoded[1:].decode("utf-8", "surrogatepass"))
        uri, location, boxes = pickle.loads(encoded[1:])
        return ImageReference(uri, location and MemberLocation(*location), boxes and BoxPrompts(*boxes))

    def is_deterministic(self) -> bool:
        return False


beam.coders.registry.register_coder(ImageReference, ImageReferenceCoder)
beam.coders.registry.register_coder(FetchedImage, FetchedImageCoder)
beam.coders.registry.register_coder(LabelledImage, InMemoryCoder)
beam.coders.registry.register_coder(ImageRows, InMemoryCoder)
