"""What decides the labels: one detector with one configuration.

`prepare_label_config` turns names into a checked `LabelConfig`. Settings that change only speed (threads, batch size) or the
choice of images don't belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ..detectors.config import DetectorConfig, Engine
from ..detectors.load import DetectorSpec, Precision
from ..detectors.protocol import DetectOptions
from ..labelset.label_set_file import LabelSet
from ..storage.errors import UsageError
from ..transforms.fetch.options import DecodeOptions, ModelInput
from ..transforms.sources.box_prompts import BoxTables
from ..transforms.to_rows import MaskFormat
from .find_detector import find_detector

Decoding = Literal["exact", "fast"]

# What was done before there was such a setting: a label set without it has this value.
_DEFAULTS = {"exif_orientation": "apply", "background_rgb": [255, 255, 255], "boxes_sha256": None, "keep": []}


@dataclass(frozen=True)
class LabelConfig:
    """A detector and everything else that changes what is written of an image.

    Attributes:
      detector: the prepared detector.
      mask_format: `rle`, `png` or `none`.
      decode: how images are decoded.
      boxes: tables of boxes that take the place of the detector's own proposals; None if there are none.
    """

    detector: DetectorSpec
    mask_format: MaskFormat = "rle"
    decode: DecodeOptions = DecodeOptions()
    boxes: BoxTables | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What two jobs must have in common to share an output folder; JSON types."""
        detector, options = self.detector, self.detector.options
        return {
            "detector": detector.config.name,
            "engine": detector.engine,
            "precision": detector.precision,
            "weights_sha256": detector.fingerprint,
            "labels": {str(i): name for i, name in sorted(detector.config.labels.items())},
            "min_score": options.min_score,
            "max_detections": options.max_detections,
            "mask_format": self.mask_format,
            "keep": sorted(options.keep),
            "decode": self._decoding,
            "exif_orientation": self.decode.exif_orientation,
            "background_rgb": list(self.decode.background_rgb),
            "boxes_sha256": self.boxes.sha256 if self.boxes else None,
        }

    @property
    def _decoding(self) -> str:
        if (fitted := self.decode.reduce_for) is None:
            return "exact"
        return "fast, for {}×{} {}".format(*fitted.size_hw, fitted.resize)

    @cached_property
    def label_set(self) -> LabelSet:
        """The label set that jobs with these settings make."""
        return LabelSet(self.settings, _DEFAULTS)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that this label set writes."""
        masks = ("masks",) if self.detector.has_masks else ()
        tensors = ("tensors",) if self.detector.options.keep else ()
        return ("images", "detections", *masks, *tensors)


def prepare_label_config(
    detector: str,
    *,
    weights: str | None = None,
    engine: Engine = "saved_model",
    precision: Precision = "float32",
    min_score: float = 0.3,
    max_detections: int = 100,
    mask_format: MaskFormat = "rle",
    keep: Sequence[str] = (),
    max_batch_size: int | Literal["auto"] = "auto",
    decode: DecodeOptions = DecodeOptions(),
    decoding: Decoding = "exact",
    boxes: BoxTables | None = None,
    processes: int = 1,
) -> LabelConfig:
    """Finds and checks a detector; downloads published weights where they aren't in the cache yet.

    Args:
      detector: a configuration's name (`labelbeam detectors` lists them), or the path or URI of a YAML file.
      weights: TF Hub handle or folder of a SavedModel, instead of the configuration's.
      min_score: detections below are dropped, in [0, 1].
      max_detections: at most so many an image.
      keep: further outputs of the model, written to the table `tensors`.
      decode: how images are decoded; `reduce_for` is left to `decoding`.
      decoding: `fast` decodes JPEGs at a half, a quarter or an eighth of their size where the detector makes them no larger.
      boxes: from `given_boxes.open_tables`.
      processes: processes that load a detector on one machine.

    Raises:
      UsageError: names what can't be used, what was expected and what to do.
    """
    if not 0 <= min_score <= 1:
        raise UsageError(f"--min-score {min_score}: expected a number from 0 to 1")
    if max_detections < 1:
        raise UsageError(f"--max-detections {max_detections}: expected 1 or more")
    options = DetectOptions(min_score, max_detections, masks=mask_format != "none", keep=tuple(dict.fromkeys(keep)))
    spec = find_detector(
        detector,
        engine=engine,
        precision=precision,
        weights=weights,
        options=options,
        max_batch_size=max_batch_size,
        processes=processes,
    )
    if decoding == "fast":
        decode = replace(decode, reduce_for=_model_input(spec.config))
    if boxes and not spec.takes_boxes:
        raise UsageError(
            f"--boxes: {detector} with engine {engine} finds boxes in its own way; give a detector with proposals, "
            "which is mask_rcnn_inception_resnet_v2_1024x1024, and --engine keras"
        )
    return LabelConfig(spec, mask_format, decode, boxes)


def _model_input(config: DetectorConfig) -> ModelInput:
    if config.input_size_hw is None:
        raise UsageError(
            f"--decode fast: the configuration of detector {config.name} doesn't say to which size it resizes "
            "images; add input_size_hw and resize to its YAML file, or use --decode exact"
        )
    return ModelInput(config.input_size_hw, config.resize)
