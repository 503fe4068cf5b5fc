"""ToRows: what a detector found in an image becomes the image's rows for every table, as columns.

Boxes get the image's pixels, classes their names, masks are pasted and encoded, in threads that go on while the model
has the next images. Detections are taken as they are: the detector has applied the score's threshold and the limit.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import BoundedWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from ..detectors.device_share import processors
from ..labelset.masks import EncodedMask, encode_box_masks, png_bytes
from ..labelset.rows import MASK_FORMATS, ImageRows, MaskFormat
from ..labelset.schemas import build_table
from ..storage.errors import UsageError, shorten
from ..storage.redaction import redact, without_credentials
from . import coders  # noqa: F401  registers them
from .elements import DetectOutcome, FailedImage, ImageReference, LabelledImage
from .sources.carry import CARRIED_TYPES, CarriedType, as_type

MAX_MESSAGE_LENGTH = 500  # characters of `error_message`: a model's error may quote a whole graph
MAX_WAITING_BYTES = 256 << 20  # of masks that aren't encoded yet: more than that, and the model waits for them

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowOptions:
    """How rows are made.

    Attributes:
      class_names: the detector's label map; a class without a name is called `class_<id>`.
      mask_format: `rle` (run-length encodings in the table `masks`), `png` (a file a mask) or `none`.
      carry: further columns of `images`, in the order of `ImageReference.carried`, and their types.
    """

    class_names: Mapping[int, str] = field(default_factory=dict)
    mask_format: MaskFormat = "rle"
    carry: Mapping[str, CarriedType] = field(default_factory=dict)

    def __post_init__(self):
        if self.mask_format not in MASK_FORMATS:
            raise ValueError(f"mask_format: expected one of {', '.join(MASK_FORMATS)}, got {self.mask_format!r}")


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class ToRows(beam.PTransform):
    """DetectOutcomes in, ImageRows out, one for one: a failed image has one row, in `images`.

    Timestamps and windows are kept.

    Args:
      options: how rows are made.
      clock: returns the time for `labelled_at`, with a time zone.
    """

    def __init__(self, options: RowOptions, clock: Callable[[], datetime] = _utc_now):
        super().__init__()
        self._options = options
        self._clock = clock

    def expand(self, images: beam.PCollection[DetectOutcome]) -> beam.PCollection[ImageRows]:
        options, clock = self._options, self._clock
        step: beam.PTransform = beam.ParDo(ToRowsFn(options, clock))
        if options.mask_format == "none":  # other rows cost less than handing them over to threads
            step = beam.Map(lambda image: _rows_of_any(image, options, clock())).with_output_types(ImageRows)
        return images | step  # pyright: ignore[reportReturnType]  # its annotation says PValue


class _Making(NamedTuple):
    """Rows that a thread makes."""

    rows: Future[ImageRows]
    num_bytes: int  # that its masks take until then
    timestamp: Timestamp
    window: BoundedWindow


@beam.typehints.with_input_types(DetectOutcome)
@beam.typehints.with_output_types(ImageRows)
class ToRowsFn(beam.DoFn):
    """Puts out rows with a later image's, or with the bundle's last: by then the model has its next images."""

    def __init__(self, options: RowOptions, clock: Callable[[], datetime]):
        self._options = options
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None

    def setup(self):
        self._threads = ThreadPoolExecutor(processors(), thread_name_prefix="labelbeam-rows")

    def start_bundle(self):
        self._making: deque[_Making] = deque()  # in the order in which they came
        self._waiting_bytes = 0

    def process(
        self,
        image: LabelledImage | FailedImage,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ):
        assert self._threads is not None  # since `setup`
        rows = self._threads.submit(_rows_of_any, image, self._options, self._clock())
        self._making.append(_Making(rows, image.num_bytes_in_memory, timestamp, window))
        self._waiting_bytes += image.num_bytes_in_memory
        yield from self._made(MAX_WAITING_BYTES)

    def finish_bundle(self):
        yield from self._made(-1)

    def teardown(self):
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _made(self, waiting_bytes: int) -> Iterator[WindowedValue]:
        """The first rows that are made; waits for them while more than `waiting_bytes` wait."""
        while self._making and (self._waiting_bytes > waiting_bytes or self._making[0].rows.done()):
            made = self._making.popleft()
            self._waiting_bytes -= made.num_bytes
            yield WindowedValue(made.rows.result(), made.timestamp, (made.window,))


def _rows_of_any(image: LabelledImage | FailedImage, options: RowOptions, labelled_at: datetime) -> ImageRows:
    """`image_rows`; an image of whose detections no rows can be made fails alone."""
    try:
        return image_rows(image, options, labelled_at)
    except UsageError:
        raise
    except MemoryError:
        kind, message = "out_of_memory", "making its rows, memory ran out"
    except ValueError as error:
        kind, message = "inference", f"no rows can be made of what the detector gave: {error}"
    except Exception as error:
        _log.exception("Making an image's rows failed by a fault of labelbeam's own; please report it.")
        kind, message = "internal", f"making its rows failed: {type(error).__name__}: {error}"
    return image_rows(FailedImage(image.reference, image.facts, kind, message), options, labelled_at)


def image_rows(image: LabelledImage | FailedImage, options: RowOptions, labelled_at: datetime) -> ImageRows:
    """The rows of one image.

    In `png` masks, `ImageRows.files` holds the files `masks_png/<two hex digits>/<detection_id>.png`, and the rows of
    `masks` say area and box as always but leave `counts` null.

    Raises:
      UsageError: if a further output of the model that was asked for isn't numeric.
      ValueError: if the masks aren't grids.
    """
    uri = _as_text(without_credentials(image.reference.uri))
    images = {**_image_columns(image, uri, labelled_at), **_carried_columns(image.reference, options.carry)}
    rows = ImageRows(image.reference.image_id, {"images": images})
    if isinstance(image, FailedImage):
        return rows
    detections, (height, width) = image.detections, image.size_hw
    ids = tuple(f"{rows.image_id}-{rank}" for rank in range(len(detections)))
    mask_refs = (None,) * len(ids)
    if detections.masks is not None and options.mask_format != "none":
        mask_boxes = detections.boxes_yxyx if detections.mask_boxes_yxyx is None else detections.mask_boxes_yxyx
        masks = encode_box_masks(detections.masks, mask_boxes, height, width)
        mask_refs = ids
        if options.mask_format == "png":
            mask_refs = [f"masks_png/{rows.image_id[:2]}/{detection_id}.png" for detection_id in ids]
            rows.files.update((ref, png_bytes(mask.counts, height, width)) for ref, mask in zip(mask_refs, masks))
            masks = [mask._replace(counts=None) for mask in masks]
        rows.tables["masks"] = {"mask_ref": mask_refs, **_mask_columns(rows.image_id, ids, masks, height, width)}
    rows.tables["detections"] = {**_detection_columns(image, uri, ids, options.class_names), "mask_ref": mask_refs}
    if detections.extras:
        rows.tables["tensors"] = _tensor_columns(rows.image_id, detections.extras)
    return rows


def rows_as_dicts(rows: ImageRows, table: str) -> Iterator[dict[str, Any]]:
    """One image's rows of one table as dictionaries of plain Python values, for pipelines that go on with rows.

    Not on the way to Parquet files: columns stay columns there, which costs a fraction.
    """
    yield from build_table(table, [rows]).to_pylist()


def _image_columns(image: LabelledImage | FailedImage, uri: str, labelled_at: datetime) -> dict[str, tuple]:
    facts, failure = image.facts, image if isinstance(image, FailedImage) else None
    return {
        "image_id": (image.reference.image_id,),
        "uri": (uri,),
        "listed_as": (_listed_as(image.reference),),
        "status": ("failed" if failure else "ok",),
        "error_kind": (failure.kind if failure else None,),
        "error_message": (shorten(redact(_as_text(failure.message)), MAX_MESSAGE_LENGTH) if failure else None,),
        "attempts": (facts.attempts,),
        "width": (facts.width,),
        "height": (facts.height,),
        "num_bytes": (facts.num_bytes,),
        "sha256": (facts.sha256,),
        "num_detections": (len(image.detections) if isinstance(image, LabelledImage) else None,),
        "fetch_ms": (facts.fetch_ms,),
        "decode_ms": (facts.decode_ms,),
        "captured_at": (facts.captured_at,),
        "camera": (facts.camera,),
        "latitude": (facts.latitude,),
        "longitude": (facts.longitude,),
        "labelled_at": (labelled_at,),
        "modified_at": (facts.version.modified_us,),
        "etag": (facts.version.etag,),
    }


def _detection_columns(
    image: LabelledImage, uri: str, ids: tuple[str, ...], class_names: Mapping[int, str]
) -> dict[str, Any]:
    detections = image.detections
    ymin, xmin, ymax, xmax = detections.boxes_yxyx.T
    # In float64: the difference of two large coordinates would lose digits.
    in_pixels = detections.boxes_yxyx * np.array(image.size_hw * 2, np.float64)
    in_pixels[:, 2:] -= in_pixels[:, :2]
    y, x, h, w = in_pixels.astype(np.float32).T
    return {
        "detection_id": ids,
        "image_id": (image.reference.image_id,) * len(ids),
        "uri": (uri,) * len(ids),
        "rank": range(len(ids)),
        "class_id": detections.class_ids,
        "class_name": tuple(
            class_names.get(class_id, f"class_{class_id}") for class_id in detections.class_ids.tolist()
        ),
        "score": detections.scores,
        "ymin": ymin,
        "xmin": xmin,
        "ymax": ymax,
        "xmax": xmax,
        "x": x,
        "y": y,
        "w": w,
        "h": h,
    }


def _mask_columns(
    image_id: str, ids: tuple[str, ...], masks: list[EncodedMask], height: int, width: int
) -> dict[str, Any]:
    return {
        "detection_id": ids,
        "image_id": [image_id] * len(ids),
        "height": [height] * len(ids),
        "width": [width] * len(ids),
        **{name: [getattr(mask, name) for mask in masks] for name in EncodedMask._fields},
    }


def _tensor_columns(image_id: str, extras: Mapping[str, np.ndarray]) -> dict[str, Any]:
    for name, array in extras.items():
        if array.dtype.kind in "OSU":
            raise UsageError(
                f"output {name!r} of the model has dtype {array.dtype}; the table `tensors` holds numeric"
                " outputs only, so don't ask for this one to be kept"
            )
    return {
        "image_id": [image_id] * len(extras),
        "name": list(extras),
        "dtype": [array.dtype.name for array in extras.values()],
        "shape": [list(array.shape) for array in extras.values()],
        "data": [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in extras.values()],
    }


def _carried_columns(reference: ImageReference, carry: Mapping[str, CarriedType]) -> dict[str, pa.Array]:
    if not carry:
        return {}
    values = reference.carried or (None,) * len(carry)  # none of images that no list names
    return {
        name: pa.array([as_type(value, kind)], CARRIED_TYPES[kind])
        for (name, kind), value in zip(carry.items(), values, strict=True)
    }


def _listed_as(reference: ImageReference) -> str | None:
    return None if reference.listed_as is None else _as_text(without_credentials(reference.listed_as))


def _as_text(text: str) -> str:
    """Text that is valid UTF-8: Parquet's strings can't hold the lone surrogates of odd file names."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
