"""From a `LabelConfig` to a detector that has been found and checked: `prepare_label_config`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..detectors.config import DetectorConfig
from ..detectors.load import DetectorSpec
from ..detectors.protocol import DetectOptions
from ..labelset.label_set_file import LabelSet
from ..storage.errors import UsageError
from ..transforms.execution_options import ExecutionOptions
from ..transforms.fetch.options import DecodeOptions, ModelInput
from ..transforms.sources.box_prompts import BoxTables, open_tables
from ..transforms.sources.carry import CarriedType
from ..transforms.sources.inputs import ListOptions
from ..transforms.to_rows import RowOptions
from .find_detector import find_detector
from .settings import LabelConfig

# What was done before there was such a setting: a label set without it has this value.
_DEFAULTS = {
    "exif_orientation": "apply",
    "background_rgb": [255, 255, 255],
    "boxes_sha256": None,
    "keep": [],
    "tiles": None,
    "box_format": "yxyx_normalised",
    "onnx": None,
}


@dataclass(frozen=True)
class PreparedLabelConfig:
    """A `LabelConfig` whose detector has been found and checked.

    Attributes:
      config: what was asked for.
      detector: what a worker needs to load it.
      boxes: the tables of box prompts; None without.
    """

    config: LabelConfig
    detector: DetectorSpec
    boxes: BoxTables | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What two jobs must have in common to share an output folder; JSON types."""
        config, detector, options = self.config, self.detector, self.detector.options
        return {
            "detector": detector.config.name,
            "engine": detector.engine,
            "precision": detector.precision,
            "weights_sha256": detector.fingerprint,
            "labels": {str(i): name for i, name in sorted(detector.config.labels.items())},
            "min_score": options.min_score,
            "max_detections": options.max_detections,
            "mask_format": config.mask_format,
            "keep": sorted(options.keep),
            "decode": self._decoding,
            "exif_orientation": config.exif_orientation,
            "background_rgb": list(config.background_rgb),
            "boxes_sha256": self.boxes.sha256 if self.boxes else None,
            "box_format": detector.config.box_format,
            "onnx": _onnx_settings(detector.config),
            "tiles": None
            if detector.tiles is None
            else {**asdict(detector.tiles), "size_hw": [*detector.tiles.size_hw]},
        }

    @property
    def _decoding(self) -> str:
        if self._model_input is None:
            return "exact"
        return "fast, for {}×{} {}".format(*self._model_input.size_hw, self._model_input.resize)

    @property
    def _model_input(self) -> ModelInput | None:
        """The size that images are decoded for; None if they are decoded in full."""
        return _model_input(self.detector.config) if self.config.decode == "fast" else None

    def decode_options(self, max_pixels: int = DecodeOptions.max_pixels, read_exif: bool = False) -> DecodeOptions:
        """How images are decoded; those with more than `max_pixels` fail."""
        return DecodeOptions(
            max_pixels, self.config.exif_orientation, self.config.background_rgb, self._model_input, read_exif
        )

    def row_options(self, carry: Mapping[str, CarriedType] | None = None) -> RowOptions:
        """How rows are made; `carry` are further columns of `images`."""
        mask_format = self.config.mask_format if self.detector.has_masks else "none"
        return RowOptions(self.detector.config.labels, mask_format, carry or {})

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
    config: LabelConfig,
    execution: ExecutionOptions = ExecutionOptions(),
    listing: ListOptions = ListOptions(),
    processes: int = 1,
) -> PreparedLabelConfig:
    """Finds and checks a detector; downloads published weights where they aren't in the cache yet.

    Args:
      config: what decides the labels.
      execution: how the detector is to be called.
      listing: names the column of the URIs in tables of box prompts.
      processes: worker processes on one machine that load a detector each.

    Raises:
      UsageError: names what can't be used, what was expected and what to do.
    """
    spec = config.detector
    if isinstance(spec, str):
        options = DetectOptions(
            config.min_score,
            config.max_detections,
            masks=config.mask_format != "none",
            keep=tuple(dict.fromkeys(config.keep)),
        )
        spec = find_detector(
            spec,
            engine=config.engine,
            precision=config.precision,
            weights=config.weights,
            labels=config.labels,
            package=config.detector_package,
            options=options,
            max_batch_size=execution.batch_size,
            processes=1 if execution.share_model else processes,
            tiles=config.tiles,
            tile_overlap=config.tile_overlap,
            tiles_only=config.tiles_only,
            backend=execution.backend,
        )
    if config.decode == "fast":
        _model_input(spec.config)  # which says so if the configuration lacks it
    if config.boxes and not spec.takes_boxes:
        raise UsageError(
            f"--boxes: {spec.config.name} with engine {spec.engine} finds boxes in its own way; give a detector with "
            "proposals, which is mask_rcnn_inception_resnet_v2_1024x1024, and --engine keras"
        )
    boxes = open_tables(config.boxes, listing.uri_column) if config.boxes else None
    return PreparedLabelConfig(config, spec, boxes)


def _onnx_settings(config: DetectorConfig) -> dict[str, Any] | None:
    """What goes into an ONNX model and what its outputs mean, but not where it runs."""
    if config.onnx is None:
        return None
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config.onnx).items()}
    return {name: value for name, value in settings.items() if name != "providers"}


def _model_input(config: DetectorConfig) -> ModelInput:
    if config.input_size_hw is None or config.resize is None:
        raise UsageError(
            f"--decode fast: the configuration of detector {config.name} doesn't say to which size it resizes "
            "images; add input_size_hw and resize to its YAML file, or use --decode exact"
        )
    return ModelInput(config.input_size_hw, config.resize)
