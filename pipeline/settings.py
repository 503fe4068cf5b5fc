"""What a person decides of a job, as plain values: `LabelConfig` (what decides the labels) and `JobSpec` (all of it).

`ExecutionOptions` (how the work is done) is in `transforms/execution_options.py`, for the steps that take it. Each
default is stated once, where the lowest layer needs it. Importing this module loads neither Beam nor TensorFlow.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..detectors.config import Engine
from ..detectors.load import DetectorSpec, Precision
from ..detectors.protocol import DetectOptions
from ..detectors.tiling.options import TileOptions
from ..labelset.rows import ERROR_KINDS, ErrorKind, MaskFormat
from ..storage.errors import UsageError
from ..transforms.execution_options import ExecutionOptions
from ..transforms.fetch.options import DecodeOptions
from ..transforms.sources.inputs import ListOptions

Decoding = Literal["exact", "fast"]


@dataclass(frozen=True)
class LabelConfig:
    """Exactly what decides the labels of an image. An output folder holds the labels of one configuration.

    Args:
      detector: a name that `labelbeam detectors` lists; the path or URI of a YAML file of the same form; a model
        itself; `module:Class`; or a prepared `DetectorSpec`.
      weights: folder, archive, URL or handle of a SavedModel (for the Keras engine also a checkpoint or a weights
        file), instead of those that the detector's configuration names.
      labels: path or URI of a label map, instead of the configuration's.
      engine: `saved_model` runs the published graph as it is, `keras` labelbeam's own network with the same weights,
        `python` a class; None for the first that the detector names.
      precision: of the Keras engine's convolutions, `float32` or `bfloat16`.
      detector_package: file or folder of the module in `module:Class`, which then goes along to workers.
      min_score: detections with a lower score are dropped, in [0, 1].
      max_detections: the best so many detections of an image are kept.
      mask_format: `rle` writes COCO run-length encodings to the table `masks`, `png` one file a mask, `none` no masks.
      keep: names of further outputs of the model, written to the table `tensors`.
      decode: `exact` decodes in full; `fast` decodes JPEGs much larger than the detector's input at 1/2, 1/4 or 1/8 of
        their size, never below that input. Labels differ a little.
      exif_orientation: `apply` turns images as their EXIF data says, `ignore` leaves them as they are stored.
      background_rgb: the colour under transparent images, three numbers from 0 to 255.
      boxes: paths of Parquet or CSV tables with box prompts, which take the place of the detector's own proposals.
      tiles: side in pixels of the tiles into which large images are cut; `auto` for the detector's input size; None
        looks at whole images only. Not together with `keep`, `boxes` or `decode="fast"`.
      tile_overlap: share of a tile's side that it has in common with the next.
      tiles_only: without larger tiles up to the whole image, which find what is larger than a tile.

    Raises:
      UsageError: if a value is out of its range; the message names it and what was expected.

    Example:
      >>> labelbeam.LabelConfig("demo", min_score=0.5).max_detections
      100
    """

    detector: str | DetectorSpec
    weights: str | None = None
    labels: str | None = None
    detector_package: str | None = None
    engine: Engine | None = None
    precision: Precision = "float32"
    min_score: float = DetectOptions.min_score
    max_detections: int = DetectOptions.max_detections
    mask_format: MaskFormat = "rle"
    keep: Sequence[str] = DetectOptions.keep
    decode: Decoding = "exact"
    exif_orientation: Literal["apply", "ignore"] = DecodeOptions.exif_orientation
    background_rgb: tuple[int, int, int] = DecodeOptions.background_rgb
    boxes: Sequence[str] = ()
    tiles: int | Literal["auto"] | None = None
    tile_overlap: float = TileOptions.overlap
    tiles_only: bool = False

    def __post_init__(self):
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"--min-score {self.min_score}: expected a number from 0 to 1")
        if self.max_detections < 1:
            raise UsageError(f"--max-detections {self.max_detections}: expected 1 or more")
        if self.engine is not None:
            _one_of("--engine", self.engine, Engine)
        _one_of("--precision", self.precision, Precision)
        _one_of("--mask-format", self.mask_format, MaskFormat)
        _one_of("--decode", self.decode, Decoding)
        if self.tiles is None and (self.tiles_only or self.tile_overlap != TileOptions.overlap):
            raise UsageError("--tile-overlap and --tiles-only say how images are cut: give --tiles with them")
        if self.tiles is not None and self.boxes:
            raise UsageError("--boxes: box prompts belong to whole images; leave out --tiles")
        if self.tiles is not None and self.decode == "fast":
            raise UsageError("--decode fast: decodes large images smaller, which --tiles wants in full; use exact")


@dataclass(frozen=True)
class JobSpec:
    """One job, as plain values: what is labelled, where the labels go, what decides them, how the work is done.

    Args:
      inputs: images, folders, globs, lists of URIs and containers, in any mix.
      output: the output folder, on a disk or in a store.
      labels: what decides the labels.
      execution: how the work is done.
      listing: how lists and Parquet files among the inputs are read.
      limit: label at most so many of the images listed, the same ones each time; None for all.
      retry_failed: error kinds of images that failed earlier and are labelled again; None leaves them failed.
      relabel_changed: whether images whose files have changed since are labelled again.

    Raises:
      UsageError: if `retry_failed` names no error kind, `limit` isn't above 0, or `relabel_changed` meets masks as PNG
        files.
    """

    inputs: Sequence[str]
    output: str
    labels: LabelConfig
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    listing: ListOptions = field(default_factory=ListOptions)
    limit: int | None = None
    retry_failed: Collection[ErrorKind] | None = None
    relabel_changed: bool = False

    def __post_init__(self):
        if self.relabel_changed and self.labels.mask_format == "png":
            raise UsageError(
                "--relabel-changed: masks that are PNG files would be overwritten before the new labels count; use "
                "--mask-format rle, in another output folder"
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: expected 1 or more")
        for name in self.retry_failed or ():
            if name not in ERROR_KINDS:
                raise UsageError(
                    f"--retry-failed {name}: not a kind of error; expected some of {', '.join(ERROR_KINDS)}, or none "
                    "for all of them"
                )


def _one_of(option: str, value: str, literal) -> None:
    if value not in get_args(literal):
        raise UsageError(f"{option} {value}: expected one of {', '.join(get_args(literal))}")
