"""Configurations of detectors: one YAML file a detector, read strictly into a `DetectorConfig`.

A name such as `demo` finds `configs/detectors/demo.yaml` of the package; a path to one's own YAML file works as well.
Not for settings of a job (thresholds, batch size): those are options of the command.
"""
import difflib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from .errors import ConfigError
from .strict_yaml import build, parse_mapping, read_mapping

Engine = Literal["saved_model", "native"]
ENGINES: tuple[str, ...] = get_args(Engine)


@dataclass(frozen=True)
class Reference:
    """Published accuracy: COCO AP@[.5:.95] in percent, as the source states it."""

    dataset: str
    box_ap: float
    source: str
    mask_ap: float | None = None


@dataclass(frozen=True)
class DetectorConfig:
    """One detector, as its YAML file describes it. Keys of the file are the attributes' names.

    Attributes:
      name: short name, the file's stem.
      description: one line.
      architecture: network and paper.
      weights: TF Hub handle or folder of a SavedModel (a relative path starts at the YAML file's folder).
      weights_sha256: fingerprint of these weights, as the engine gives it: others are refused. None takes what is there.
      engines: engines that can run it.
      native_network: name of the network in `detectors/native` that engine native runs it with; None if there's none.
      input_size_hw: (height, width) in pixels to which the network itself resizes a picture.
      resize: `stretch` (aspect ratio not kept) or `letterbox` (kept, padded).
      masks: whether the detector gives instance masks.
      labels: name of a label map in `configs/labels`, or the map itself: class id -> class name.
      reference: published accuracy.
      licence: licence of the published weights.
      source: where the detector is described.
      intended_use, limits: from the model card; what it's for, and what it's not for.
    """

    name: str
    description: str
    architecture: str
    weights: str
    engines: tuple[Engine, ...]
    input_size_hw: tuple[int, int]
    resize: Literal["stretch", "letterbox"]
    masks: bool
    labels: dict[int, str]
    licence: str
    source: str
    intended_use: str
    limits: str
    reference: Reference | None = None
    native_network: str | None = None
    weights_sha256: str | None = None

    def __post_init__(self):
        if ("native" in self.engines) != (self.native_network is not None):
            raise ConfigError(f"detector {self.name}: engine native and the key native_network go together; the file has "
                              f"engines {list(self.engines)} and native_network {self.native_network}")


def configured_names() -> list[str]:
    """Names of the detectors that labelbeam ships configurations for, sorted."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder("detectors").iterdir() if path.name.endswith(".yaml"))


def load_config(name_or_yaml: str) -> DetectorConfig:
    """Reads a detector's configuration.

    Args:
      name_or_yaml: a name of `configured_names()`, or the path of a YAML file.

    Raises:
      ConfigError: if there's no such configuration, or it has an unknown key, a wrong type or a missing key.
    """
    if name_or_yaml.endswith((".yaml", ".yml")):
        path = Path(name_or_yaml)
        if not path.is_file():
            raise ConfigError(f"detector configuration {name_or_yaml}: no such file")
    elif name_or_yaml in configured_names():
        path = _folder("detectors") / f"{name_or_yaml}.yaml"
    else:
        near = difflib.get_close_matches(name_or_yaml, configured_names(), n=1)
        raise ConfigError(f"detector {name_or_yaml!r} is not known{f'; did you mean {near[0]!r}?' if near else ''} "
                          f"Known: {', '.join(configured_names())}; or give the path of a .yaml file")
    return parse_config(path.read_text(encoding="utf-8"), str(path))


def parse_config(text: str, where: str) -> DetectorConfig:
    """A configuration from the text of its YAML file.

    Args:
      where: path or URI of the file, at whose folder a relative path of weights starts.

    Raises:
      ConfigError: as `load_config`.
    """
    values = parse_mapping(text, where)
    if isinstance(values.get("labels"), str):
        values["labels"] = _label_map(values["labels"], where)
    config = build(DetectorConfig, values, where)
    if "://" not in config.weights and not config.weights.startswith("/"):
        weights = f"{where.rpartition('/')[0]}/{config.weights}" if "://" in where else str(
            (Path(where).parent / config.weights).resolve())
        config = replace(config, weights=weights)
    return config


def _folder(kind: str):
    return resources.files("labelbeam.configs") / kind


def _label_map(name: str, used_by) -> dict[int, str]:
    path = _folder("labels") / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.name.removesuffix(".yaml") for p in _folder("labels").iterdir() if p.name.endswith(".yaml"))
        raise ConfigError(f"{used_by}: labels: no label map {name!r}; known: {', '.join(known)}; or write the map itself "
                          "as `class id: name`")
    return read_mapping(path)
