"""Configurations of detectors: one YAML file a detector, read strictly into a `DetectorConfig`.

A name such as `demo` finds `configs/detectors/demo.yaml` of the package; a path to one's own YAML file works as well.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml

from ..storage import files
from ..storage.errors import ConfigError
from .box_format import BoxFormat
from .labels import ENDINGS, parse_labels
from .onnx.options import OnnxOptions
from .shipped_configs import find_config, shipped_names
from .strict_yaml import build, parse_mapping, read_mapping
from .weights import kaggle
from .weights.source import WeightsSource
from .zoo import zoo_config, zoo_models

Engine = Literal["saved_model", "keras", "onnx", "python"]
Resize = Literal["stretch", "letterbox"]


@dataclass(frozen=True)
class Reference:
    """Published accuracy, COCO AP@[.5:.95] in percent, and speed, milliseconds an image, as the source states them."""

    dataset: str
    box_ap: float
    source: str
    mask_ap: float | None = None
    speed_ms: float | None = None


@dataclass(frozen=True)
class DetectorConfig:
    """One detector, as its YAML file describes it. Keys of the file are the attributes' names.

    Attributes:
      name: short name, the file's stem.
      description, architecture, licence, source, intended_use, limits: what a model card says; optional.
      weights: where the weights can be had, see `weights/find.py` (a relative path starts at the YAML file's folder).
      onnx: what goes into an ONNX model and what its outputs mean.
      mirrors: where else the same weights can be had, tried in turn: `uri`, and `sha256` of an archive.
      weights_sha256: fingerprint of these weights, as the engine gives it: others are refused. None takes what is
        there.
      engines: engines that can run it.
      keras_network: name of the network in `detectors/keras` that engine keras runs it with; None if there's none.
      input_size_hw: (height, width) in pixels to which the network itself resizes an image; None if that isn't known,
        or differs.
      resize: how: `stretch` (aspect ratio not kept) or `letterbox` (kept, padded); goes with `input_size_hw`.
      masks: whether the detector gives instance masks.
      box_format: of a SavedModel's boxes.
      usual_min_score: from which score on its detections are usually worth keeping, from the least to the most.
      labels: class id -> class name; the file may name one of `configs/labels` instead, or the path of a file that
        `labels.parse_labels` reads.
      reference: published accuracy.
    """

    name: str
    weights: str
    engines: tuple[Engine, ...]
    masks: bool
    labels: dict[int, str]
    description: str = ""
    architecture: str = ""
    licence: str = ""
    source: str = ""
    intended_use: str = ""
    limits: str = ""
    input_size_hw: tuple[int, int] | None = None
    resize: Resize | None = None
    reference: Reference | None = None
    box_format: BoxFormat = "yxyx_normalised"
    usual_min_score: tuple[float, float] | None = None
    keras_network: str | None = None
    weights_sha256: str | None = None
    mirrors: tuple[WeightsSource, ...] = ()
    onnx: OnnxOptions | None = None

    @property
    def sources(self) -> tuple[WeightsSource, ...]:
        """Where the weights can be had, in the order in which the places are tried."""
        return (WeightsSource(self.weights), *self.mirrors)

    @property
    def network(self) -> str:
        """Name of the network that engine keras runs.

        Raises:
          ConfigError: if the detector has none.
        """
        if self.keras_network is None:
            raise ConfigError(f"detector {self.name}: it has no Keras network; its engines: {', '.join(self.engines)}")
        return self.keras_network

    def __post_init__(self):
        if ("onnx" in self.engines) != (self.onnx is not None):
            raise ConfigError(f"detector {self.name}: engine onnx and the key onnx go together")
        if not self.engines:
            raise ConfigError(f"detector {self.name}: engines: expected at least one")
        if ("keras" in self.engines) != (self.keras_network is not None):
            raise ConfigError(
                f"detector {self.name}: engine keras and the key keras_network go together; the file has "
                f"engines {list(self.engines)} and keras_network {self.keras_network}"
            )
        if (self.input_size_hw is None) != (self.resize is None):
            raise ConfigError(
                f"detector {self.name}: the keys input_size_hw and resize go together; give both, or neither"
            )
        if self.usual_min_score is not None:
            low, high = self.usual_min_score
            if not 0 <= low <= high <= 1:
                raise ConfigError(
                    f"detector {self.name}: usual_min_score: expected two scores from 0 to 1, the lower one first, got "
                    f"{[low, high]}"
                )
        if self.input_size_hw is not None and min(self.input_size_hw) < 1:
            raise ConfigError(
                f"detector {self.name}: input_size_hw: expected numbers of pixels, got {list(self.input_size_hw)}"
            )


def detector_names() -> list[str]:
    """Names of all detectors that labelbeam knows: those with a file of their own, and the TF2 model zoo's."""
    return sorted([*shipped_names("detectors"), *zoo_models()])


def configuration_text(name: str) -> str:
    """The YAML of one of `detector_names()`, to begin one's own with."""
    if name in zoo_models():
        return yaml.safe_dump(zoo_config(name), sort_keys=False, allow_unicode=True, width=120)
    return find_config("detectors", name, "detector", zoo_models()).read_text(encoding="utf-8")


def load_config(name_or_yaml: str) -> DetectorConfig:
    """Reads a detector's configuration.

    Args:
      name_or_yaml: one of `detector_names()`, or the path of a YAML file.

    Raises:
      ConfigError: if there's no such configuration, or it has an unknown key, a wrong type or a missing key.
    """
    if name_or_yaml in zoo_models():
        return _config(zoo_config(name_or_yaml), f"detector {name_or_yaml}")
    path = find_config("detectors", name_or_yaml, "detector", zoo_models())
    return _config(read_mapping(path), str(path))


def parse_config(content: bytes, where: str) -> DetectorConfig:
    """A configuration from the content of its YAML file.

    Args:
      where: path or URI of the file, at whose folder a relative path of weights starts.

    Raises:
      ConfigError: as `load_config`.
    """
    return _config(parse_mapping(content, where), where)


def _config(values: dict, where: str) -> DetectorConfig:
    if isinstance(values.get("labels"), str):
        values["labels"] = _label_map(values["labels"], where)
    config = build(DetectorConfig, values, where)
    mirrors = tuple(replace(source, uri=_absolute(where, source.uri)) for source in config.mirrors)
    return replace(config, weights=_absolute(where, config.weights), mirrors=mirrors)


def _absolute(where: str, weights: str) -> str:
    weights = kaggle.canonical(weights)
    return weights if "://" in weights else beside(where, weights)


def _label_map(name: str, used_by: str) -> dict[int, str]:
    if name.lower().endswith(ENDINGS):
        return read_labels(beside(used_by, name))
    try:
        path = find_config("labels", name, "label map")
    except ConfigError as error:
        raise ConfigError(
            f"{used_by}: labels: {error}; or write the map itself as `class id: name`, or name a file that ends in "
            f"{', '.join(ENDINGS)}"
        ) from error
    return read_mapping(path)


def shipped_labels(name: str) -> dict[int, str]:
    """The label map of a name in `configs/labels`."""
    return read_mapping(find_config("labels", name, "label map"))


def read_labels(path: str, first_id: int = 1) -> dict[int, str]:
    """The label map in a file of this machine or of a store; see `parse_labels`."""
    return parse_labels(read_content("labels", path), path, first_id)


def read_content(what: str, path: str) -> bytes:
    """A file of this machine or of a store that a user named.

    Raises:
      ConfigError: if it isn't there or can't be read; says `what` it was to be.
    """
    try:
        return files.read(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{what} {path}: no such file") from error
    except ValueError as error:  # of Beam's filesystems: no such scheme
        raise ConfigError(f"{what} {path}: can't be read: {error}") from error


def beside(file: str, path: str) -> str:
    """A path that a configuration names, from the folder of the configuration's own file."""
    if "://" in path or path.startswith("/"):
        return path
    return f"{file.rpartition('/')[0]}/{path}" if "://" in file else str((Path(file).parent / path).resolve())
