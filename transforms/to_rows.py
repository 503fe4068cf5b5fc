"""ToRows: what a detector found in an image becomes the image's rows for every table, as columns.

Boxes get the image's pixels, classes their names, masks are pasted and encoded, in threads that go on while the model
has the next images. Detections are taken as they are: the detector has applied the score's threshold and the limit.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.utils.windowed_value import WindowedValue

from ..detectors.device_share import processors
from ..labelset.masks import EncodedMask, encode_box_masks, png_bytes
from ..labelset.rows import MASK_FORMATS, ImageRows, MaskFormat
from ..labelset.schemas import build_table
from ..storage.errors import UsageError, check_own_resources, shorten
from ..storage.redaction import redact, without_credentials
from ..storage.uris import as_text
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
    """Batches of DetectOutcomes in, each in one window; ImageRows out, one an image: a failed image has one row, in
    `images`.

    Timestamps and windows are kept.

    Args:
      options: how rows are made.
      clock: returns the time for `labelled_at`, with a time zone.
    """

    def __init__(self, options: RowOptions, clock: Callable[[], datetime] = _utc_now):
        super().__init__()
        self._options = options
        self._clock = clock

    def expand(self, batches: beam.PCollection[list[DetectOutcome]]) -> beam.PCollection[ImageRows]:
        return batches | beam.ParDo(ToRowsFn(self._options, self._clock))  # pyright: ignore[reportReturnType]  # its annotation says PValue


_Image = LabelledImage | FailedImage


class _Making(NamedTuple):
    """A batch's rows, which threads make."""

    rows: list[Future[list[ImageRows]]]
    num_bytes: int  # that its masks take until then
    placed: WindowedValue  # the batch


@beam.typehints.with_input_types(list[DetectOutcome])
@beam.typehints.with_output_types(ImageRows)
class ToRowsFn(beam.DoFn):
    """Puts out rows with a later batch's, or with the bundle's last: by then the model has its next images.

    Each image of a batch with masks keeps a thread busy by itself; images without go to a thread together, since many
    rows at once cost little more than one image's (`benchmarks/jobs/pipeline_overhead.py`).
    """

    def __init__(self, options: RowOptions, clock: Callable[[], datetime]):
        self._options = options
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None

    def setup(self):
        self._threads = ThreadPoolExecutor(processors(), thread_name_prefix="labelbeam-rows")

    def start_bundle(self):
        self._making: deque[_Making] = deque()  # in the order in which they came
        self._waiting_bytes = 0

    def process(self, batch: Sequence[_Image], placed: Any = beam.DoFn.WindowedValueParam):
        assert self._threads is not None  # since `setup`
        num_bytes, now = sum(image.num_bytes_in_memory for image in batch), self._clock()
        together = [[image] for image in batch] if num_bytes else [batch]
        rows = [self._threads.submit(_rows_of_any, images, self._options, now) for images in together]
        self._making.append(_Making(rows, num_bytes, placed))
        self._waiting_bytes += num_bytes
        yield from self._made(MAX_WAITING_BYTES)

    def finish_bundle(self):
        yield from self._made(-1)

    def teardown(self):
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _made(self, waiting_bytes: int) -> Iterator[WindowedValue]:
        """The rows of the first batches that are made; waits for them while more than `waiting_bytes` wait."""
        while self._making and (
            self._waiting_bytes > waiting_bytes or all(rows.done() for rows in self._making[0].rows)
        ):
            made = self._making.popleft()
            self._waiting_bytes -= made.num_bytes
            for rows in made.rows:
                yield from map(made.placed.with_value, rows.result())


def _rows_of_any(images: Sequence[_Image], options: RowOptions, labelled_at: datetime) -> list[ImageRows]:
    """`rows_of_images`; an image of whose detections no rows can be made fails alone."""
    try:
        return rows_of_images(images, options, labelled_at)
    except UsageError:
        raise
    except Exception as error:
        check_own_resources(getattr(error, "errno", None), error)
        if len(images) > 1:
            return [rows for image in images for rows in _rows_of_any([image], options, labelled_at)]
        image = images[0]
        if isinstance(error, MemoryError):
            kind, message = "out_of_memory", "making its rows, memory ran out"
        elif isinstance(error, ValueError):
            kind, message = "inference", f"no rows can be made of what the detector gave: {error}"
        else:
            _log.exception("Making an image's rows failed by a fault of labelbeam's own; please report it.")
            kind, message = "internal", f"making its rows failed: {type(error).__name__}: {error}"
    return [image_rows(FailedImage(image.reference, image.facts, kind, message), options, labelled_at)]


def image_rows(image: LabelledImage | FailedImage, options: RowOptions, labelled_at: datetime) -> ImageRows:
    """The rows of one image: see `rows_of_images`."""
    return rows_of_images([image], options, labelled_at)[0]


def rows_of_images(
    images: Sequence[LabelledImage | FailedImage], options: RowOptions, labelled_at: datetime
) -> list[ImageRows]:
    """The rows of each image.

    In `png` masks, `ImageRows.files` holds the files `masks_png/<two hex digits>/<detection_id>.png`, and the rows of
    `masks` say area and box as always but leave `counts` null.

    Raises:
      UsageError: if a further output of the model that was asked for isn't numeric.
      ValueError: if the masks aren't grids.
    """
    found = _detection_columns([image for image in images if isinstance(image, LabelledImage)], options.class_names)
    made = []
    for image in images:
        uri = as_text(without_credentials(image.reference.uri))
        columns = {**_image_columns(image, uri, labelled_at), **_carried_columns(image.reference, options.carry)}
        rows = ImageRows(image.reference.image_id, {"images": columns})
        if isinstance(image, LabelledImage):
            _add_detections(rows, image, uri, next(found), options.mask_format)
        made.append(rows)
    return made


def _add_detections(
    rows: ImageRows, image: LabelledImage, uri: str, columns: Mapping[str, Any], mask_format: MaskFormat
) -> None:
    detections = image.detections
    ids = [f"{rows.image_id}-{rank}" for rank in range(len(detections))]
    mask_refs = [None] * len(ids)
    if detections.masks is not None and mask_format != "none":
        height, width = image.size_hw
        mask_boxes = detections.boxes_yxyx if detections.mask_boxes_yxyx is None else detections.mask_boxes_yxyx
        masks = encode_box_masks(detections.masks, mask_boxes, height, width)
        mask_refs = ids
        if mask_format == "png":
            mask_refs = [f"masks_png/{rows.image_id[:2]}/{detection_id}.png" for detection_id in ids]
            rows.files.update((ref, png_bytes(mask.counts, height, width)) for ref, mask in zip(mask_refs, masks))
            masks = [mask._replace(counts=None) for mask in masks]
        rows.tables["masks"] = {"mask_ref": mask_refs, **_mask_columns(rows.image_id, ids, masks, height, width)}
    rows.tables["detections"] = {
        "detection_id": ids,
        "image_id": [rows.image_id] * len(ids),
        "uri": [uri] * len(ids),
        "rank": range(len(ids)),
        **columns,
        "mask_ref": mask_refs,
    }
    if detections.extras:
        rows.tables["tensors"] = _tensor_columns(rows.image_id, detections.extras)


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
        "error_message": (shorten(redact(as_text(failure.message)), MAX_MESSAGE_LENGTH) if failure else None,),
        "attempts": (facts.attempts,),
        "width": (facts.width,),
        "height": (facts.height,),
        "num_bytes": (facts.num_bytes,),
        "sha256": (facts.sha256,),
        "num_detections": (len(image.detections) if isinstance(image, LabelledImage) else None,),
        "fetch_ms": (facts.fetch_ms,),
        "decode_ms": (facts.decode_ms,),
        "time_s": (image.reference.location.time_s if image.reference.location else None,),
        "captured_at": (facts.captured_at,),
        "camera": (facts.camera,),
        "latitude": (facts.latitude,),
        "longitude": (facts.longitude,),
        "labelled_at": (labelled_at,),
        "modified_at": (facts.version.modified_us,),
        "etag": (facts.version.etag,),
    }


def _detection_columns(images: Sequence[LabelledImage], class_names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Classes, scores and boxes of each image's detections, computed together: NumPy takes as long for five boxes as
    for a thousand.
    """
    if not images:
        return
    detections = [image.detections for image in images]
    counts = [len(found) for found in detections]
    boxes = np.concatenate([found.boxes_yxyx for found in detections])
    class_ids = np.concatenate([found.class_ids for found in detections])
    sizes = np.repeat(np.array([image.size_hw * 2 for image in images], np.float64), counts, axis=0)
    # In float64: the difference of two large coordinates would lose digits.
    in_pixels = boxes * sizes
    in_pixels[:, 2:] -= in_pixels[:, :2]
    columns: dict[str, Any] = {
        "class_id": class_ids,
        "class_name": [class_names.get(class_id, f"class_{class_id}") for class_id in class_ids.tolist()],
        "score": np.concatenate([found.scores for found in detections]),
        **dict(zip(("ymin", "xmin", "ymax", "xmax"), np.ascontiguousarray(boxes.T))),
        **dict(zip(("y", "x", "h", "w"), in_pixels.T.astype(np.float32, order="C"))),
    }
    start = 0
    for count in counts:
        yield {name: column[start : start + count] for name, column in columns.items()}
        start += count


def _mask_columns(image_id: str, ids: list[str], masks: list[EncodedMask], height: int, width: int) -> dict[str, Any]:
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
    return None if reference.listed_as is None else as_text(without_credentials(reference.listed_as))
