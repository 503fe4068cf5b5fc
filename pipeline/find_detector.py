"""From what a command says of a detector to one that is prepared; its configuration and its weights may lie in a store.

The configuration is read here, once. The weights are looked at here, in the machine's cache, and named to the workers
as they were given, so that each machine fetches them itself (`detectors/weights/find.py`).
"""

import logging
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..detectors.config import (
    DetectorConfig,
    detector_names,
    load_config,
    parse_config,
    read_content,
    read_labels,
    shipped_labels,
)
from ..detectors.from_model import labels_beside, resize_beside
from ..detectors.load import DetectorSpec, prepare
from ..detectors.onnx.model import OnnxModel, guessed_options, names_inside, open_model
from ..detectors.python import detector as python_detector
from ..detectors.python import package as python_package
from ..detectors.weights.find import local_weights
from ..detectors.weights.kaggle import canonical
from ..detectors.weights.source import WeightsSource
from ..storage.errors import ConfigError
from ..storage.uris import absolute

_log = logging.getLogger(__name__)


def find_detector(
    detector: str, *, labels: str | None = None, weights: str | None = None, package: str | None = None, **options
) -> DetectorSpec:
    """Finds a configuration and its weights, and prepares the detector.

    Args:
      detector: a name that `labelbeam detectors` lists; the path or URI of a YAML file; a model itself, as
        `detectors/weights/find.py` takes it; or `module:Class`.
      labels: path or URI of a label map, instead of the configuration's.
      weights: instead of the configuration's.
      package: file or folder of the module in `module:Class`, which then goes along to workers.
      options: of `detectors.load.prepare`.

    Raises:
      UsageError: as `prepare`; or if the configuration can't be read.
    """
    archive = None if package is None else _pack(package, detector)
    config, onnx_model = read_config(detector)
    if weights is not None:
        config, onnx_model = replace(config, weights=canonical(weights), weights_sha256=None, mirrors=()), None
    if labels is not None:
        config = replace(config, labels=read_labels(labels))
    elif not config.labels and config.engines == ("saved_model",):
        with local_weights(config.sources) as path:
            config = _with_facts_beside(config, path)
    if 0 in config.labels and "saved_model" in config.engines:
        _log.warning(
            "The label map has an id 0 (%s), and models of the TF Object Detection API begin at 1: look whether names "
            "are off by one.",
            config.labels[0],
        )
    return replace(prepare(config, onnx_model=onnx_model, **options), package=archive)


def _pack(package: str, detector: str) -> bytes:
    """The archive of a detector's module, which can be imported here from now on."""
    if not python_detector.is_class_name(detector):
        raise ConfigError(f"--detector-package {package}: goes with --detector module:Class, and not with {detector}")
    archive = python_package.pack(package, detector.partition(":")[0])
    python_package.make_importable(archive)
    return archive


def _with_facts_beside(config: DetectorConfig, path: str) -> DetectorConfig:
    """The configuration of a model that has none, with what lies beside the model."""
    config = replace(config, labels=labels_beside(path, shipped_labels("coco")))
    if config.input_size_hw is None and (found := resize_beside(path)):
        size_hw, resize = found
        return replace(config, input_size_hw=size_hw, resize=resize)
    return config


def read_config(detector: str) -> tuple[DetectorConfig, OnnxModel | None]:
    """Reads a configuration, or makes one for what needs none; see `find_detector`. With it comes an ONNX file that was
    opened for that."""
    if python_detector.is_class_name(detector) and not Path(detector).exists():
        cls = python_detector.find_class(detector)
        size = getattr(cls, "input_size_hw", None)
        config = DetectorConfig(
            cls.__name__,
            detector,
            ("python",),
            masks=True,
            labels=python_detector.class_names(cls),
            input_size_hw=size,
            resize=None if size is None else "stretch",
        )
        return config, None
    if not detector.endswith((".yaml", ".yml")) and _is_model(detector):
        uri = canonical(detector)
        name = PurePosixPath(uri.rstrip("/")).name.partition(".")[0] or "model"
        uri = uri if "://" in uri else absolute(uri)
        if uri.endswith(".onnx"):
            return _onnx_config(name, uri)
        return DetectorConfig(name, uri, ("saved_model",), masks=False, labels={}), None
    return _read_yaml(detector), None


def _onnx_config(name: str, uri: str) -> tuple[DetectorConfig, OnnxModel]:
    """The configuration of an ONNX file that has none, by what it says of itself; and the file, opened."""
    with local_weights([WeightsSource(uri)]) as path:
        model = open_model(path)
    options = guessed_options(model)
    if options is None:
        raise ConfigError(
            f"detector {uri}: what its outputs {model.described_outputs} mean can't be told; write a YAML file with "
            "`weights`, `labels` and `onnx: {decoder: …}` (docs/own-detector.md)"
        )
    masks = options.decoder == "yolo" and model.has_prototypes
    config = DetectorConfig(
        name, uri, ("onnx",), masks=masks, labels=names_inside(model), input_size_hw=model.input_hw,
        resize=None if model.input_hw is None else "letterbox", onnx=options,
    )  # fmt: skip
    return config, model


def _is_model(detector: str) -> bool:
    """Whether this names a model rather than a configuration: a URI, a handle of Kaggle's, or a path that exists."""
    if "://" in detector or canonical(detector) != detector:
        return True
    return detector not in detector_names() and Path(detector).exists()


def _read_yaml(name_or_yaml: str) -> DetectorConfig:
    if "://" not in name_or_yaml:
        return load_config(name_or_yaml)
    return parse_config(read_content("detector configuration", name_or_yaml), name_or_yaml)
