"""From what a user asks for (a configuration, an engine, weights) to a loaded detector, in two steps.

`prepare` runs before the job: it resolves and checks everything and gives a small picklable `DetectorSpec`, which
travels to the workers. `DetectorSpec.load` runs there, once per process or device.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from ..storage.errors import ConfigError, UsageError, WeightsError
from .config import DetectorConfig, Engine
from .device_share import processors, take_share
from .keras.backend import Backend, use_backend
from .onnx.model import OnnxModel
from .protocol import DetectOptions, Detector, InvalidDetections
from .python import detector as python_detector
from .python.package import make_importable
from .tiling.options import TileOptions, tile_options
from .weights.source import WeightsSource

Precision = Literal["float32", "bfloat16"]
AUTO_BATCH_SIZE = 8  # with `auto`, of engines that don't find out by trying


@dataclass(frozen=True)
class DetectorSpec:
    """All that a worker needs to load a detector.

    Attributes:
      config: the detector's configuration.
      engine: how it runs.
      precision: of the convolutions.
      weights: where they can be had, as given: a worker elsewhere resolves it again, into its own cache.
      fingerprint: of the weights, as `prepare` found them.
      has_masks: whether masks are wanted and the model gives them.
      takes_boxes: whether the loaded detector is a `BoxClassifier`.
      options: what is wanted of the detector.
      max_batch_size: images a call of the model at most, where it takes several; `auto` leaves it to the engine.
      processes: processes that load a detector on one machine, each with its share of processors and GPUs.
      tiles: how large images are cut; None looks at whole images only.
      backend: what Keras computes with, of engine keras; None leaves it to `KERAS_BACKEND`.
      package: archive with the module of engine python, of `python.package.pack`; None where workers have it anyway.
    """

    config: DetectorConfig
    engine: Engine
    precision: Precision
    weights: str
    fingerprint: str
    has_masks: bool
    takes_boxes: bool
    options: DetectOptions
    max_batch_size: int | Literal["auto"] = "auto"
    processes: int = 1
    tiles: TileOptions | None = None
    backend: Backend | None = None
    package: bytes | None = field(default=None, repr=False)

    @property
    def sources(self) -> tuple[WeightsSource, ...]:
        """Where the weights can be had."""
        return self.config.sources if self.weights == self.config.weights else (WeightsSource(self.weights),)

    def load(self) -> Detector:
        """Loads the detector; seconds to a minute.

        Raises:
          WeightsError: if the weights have vanished or changed since `prepare`.
        """
        if self.tiles is None:
            return self._load(self.options)
        limit = max(self.options.max_detections, DetectOptions.max_detections)  # of a tile
        detector = self._load(replace(self.options, max_detections=limit))
        from .tiling.detector import TiledDetector  # and Pillow with it, which settings do without

        return TiledDetector(detector, self.tiles, self.options.max_detections)

    def _load(self, options: DetectOptions) -> Detector:
        if self.engine == "python":
            if self.package is not None:
                make_importable(self.package)
            cls = python_detector.find_class(self.weights)
            self._check_fingerprint(python_detector.fingerprint(cls))
            return python_detector.PythonDetector(python_detector.made(cls, self.weights), options)
        if self.engine != "onnx":
            take_share(self.processes, use_backend(self.backend) if self.engine == "keras" else "tensorflow")
        from .weights.find import local_weights

        with local_weights(self.sources) as path:
            return self._load_from(path, options)

    def _load_from(self, path: str, options: DetectOptions) -> Detector:
        if self.engine == "keras":
            from .keras.detector import KerasDetector
            from .keras.weights import find_weights_file

            detector = KerasDetector(
                self.config.network,
                find_weights_file(self.config.network, path),
                options,
                precision=self.precision,
                max_batch_size=self.max_batch_size,
            )
            self._check_fingerprint(detector.fingerprint)
            return detector
        if self.engine == "onnx":
            from .onnx.detector import OnnxDetector
            from .onnx.model import fingerprint

            self._check_fingerprint(fingerprint(path))
            return OnnxDetector(path, self.config, options, max_batch_size=self._batch_size, threads=self._threads)
        from . import saved_model
        from .weights import hub

        self._check_fingerprint(hub.fingerprint(path))
        box_format = self.config.box_format
        return saved_model.SavedModelDetector(path, options, box_format, max_batch_size=self._batch_size)

    @property
    def _batch_size(self) -> int:
        return AUTO_BATCH_SIZE if self.max_batch_size == "auto" else self.max_batch_size

    @property
    def _threads(self) -> int:
        return max(1, processors() // self.processes) if self.processes > 1 else 0

    def _check_fingerprint(self, found: str) -> None:
        if found != self.fingerprint:
            raise WeightsError(
                f"weights {self.weights}: not those that the job was started with (SHA-256 {found[:16]}…, "
                f"expected {self.fingerprint[:16]}…); labels of both would be mixed. Start the job again"
            )


def prepare(
    config: DetectorConfig,
    *,
    engine: Engine | None = None,
    precision: Precision = "float32",
    weights: str | None = None,
    options: DetectOptions = DetectOptions(),
    max_batch_size: int | Literal["auto"] = "auto",
    processes: int = 1,
    tiles: int | Literal["auto"] | None = None,
    tile_overlap: float = TileOptions.overlap,
    tiles_only: bool = False,
    backend: Backend | None = None,
    onnx_model: OnnxModel | None = None,
) -> DetectorSpec:
    """Checks that this detector can do what is asked, without loading it.

    Args:
      engine: None for the first that the configuration names.
      weights: instead of the configuration's.
      processes: see `DetectorSpec`.
      tiles, tile_overlap, tiles_only: see `tile_options`; with None, images aren't cut.
      backend: see `DetectorSpec`.
      onnx_model: the configuration's, where it has been opened already.

    Raises:
      UsageError: if the engine or the precision isn't to be had, or the weights aren't right (`WeightsError`).
    """
    engine = engine or config.engines[0]
    if engine not in config.engines:
        published = "; if `labelbeam detectors` lists it, give its name there with --detector, and this with --weights"
        raise UsageError(
            f"--engine {engine}: detector {config.name} runs on {', '.join(config.engines)}"
            f"{published if engine == 'keras' and not config.source else ''}"
        )
    if engine != "keras" and precision != "float32":
        raise UsageError(
            f"--precision {precision}: engine {engine} runs a model in the precision it was exported in; "
            f"use --precision float32{', or --engine keras' * ('keras' in config.engines)}"
        )
    if backend is not None and engine != "keras":
        raise UsageError(f"--backend {backend}: is of engine keras, and this detector runs on engine {engine}")
    if engine == "keras":
        use_backend(backend)  # before the weights are looked at, which imports Keras
    if tiles is not None and options.keep:
        raise UsageError(
            f"--keep {options.keep[0]}: is an output of one call of the model, and with --tiles an image takes many; "
            "leave out one of the two"
        )
    expected = None if weights else config.weights_sha256
    sources = (WeightsSource(weights),) if weights else config.sources
    weights = weights or config.weights
    found = _inspect(config, engine, sources, options, expected, onnx_model)
    return DetectorSpec(
        config,
        engine,
        precision,
        weights,
        found.fingerprint,
        options.masks and found.has_masks,
        found.takes_boxes,
        options,
        max_batch_size,
        processes,
        None if tiles is None else tile_options(tiles, tile_overlap, tiles_only, config.input_size_hw),
        backend,
    )


class _Found(NamedTuple):
    """What there is to know of weights and their network without loading them."""

    fingerprint: str
    has_masks: bool
    takes_boxes: bool = False


def _inspect(
    config: DetectorConfig,
    engine: Engine,
    sources: tuple[WeightsSource, ...],
    options: DetectOptions,
    expected: str | None,
    onnx_model: OnnxModel | None,
) -> _Found:
    """Fetches the weights where needed, and compares them with the expected fingerprint."""
    if engine == "python":
        return _Found(python_detector.fingerprint(python_detector.find_class(sources[0].uri)), config.masks)
    from .weights.find import local_weights

    what = f"weights {sources[0].uri}"
    with local_weights(sources) as path:
        if path.endswith(".onnx") != (engine == "onnx"):
            raise WeightsError(
                f"{what}: engine {engine} can't run this; an ONNX model is given as --detector FILE.onnx"
            )
        if engine == "onnx":
            found = _inspect_onnx(config, path, options, what, onnx_model)
        else:
            inspect = _inspect_keras if engine == "keras" else _inspect_saved_model
            found = inspect(config, path, options, what)
        if expected not in (None, found.fingerprint):
            raise WeightsError(
                f"{what}: not those that {config.name} was configured with (SHA-256 {found.fingerprint[:16]}…, "
                f"expected {expected[:16]}…). Fetch or stage them again, or take weights_sha256 out of its file"
            )
        return found


def _inspect_saved_model(config: DetectorConfig, folder: str, options: DetectOptions, what: str) -> _Found:
    from . import signature
    from .weights import hub
    from .weights.whole import check_whole

    found = signature.read_signature(folder)
    check_whole(folder, what)
    signature.check_outputs(found, options, config.masks, where=what)
    return _Found(hub.fingerprint(folder), found.has_masks)


def _inspect_onnx(
    config: DetectorConfig, path: str, options: DetectOptions, what: str, onnx_model: OnnxModel | None
) -> _Found:
    """Loads the model and tries it on a black image, so that a wrong one is refused before the job starts."""
    from .onnx.detector import OnnxDetector
    from .onnx.model import fingerprint

    detector = OnnxDetector(onnx_model or path, config, options)
    try:
        detector.detect([np.zeros((64, 64, 3), np.uint8)])
    except InvalidDetections as error:
        decoder = config.onnx and config.onnx.decoder
        raise ConfigError(
            f"{what}: its outputs don't fit decoder {decoder}: {error}. Name the right one in the configuration's "
            "`onnx: {decoder: …}` (docs/own-detector.md)"
        ) from error
    return _Found(fingerprint(path), detector.has_masks)


def _inspect_keras(config: DetectorConfig, path: str, options: DetectOptions, what: str) -> _Found:
    """Published weights are imported here, once, so that wrong ones are refused before the job starts."""
    from .keras import networks
    from .keras.weights import find_weights_file, read_fingerprint

    network = networks.find_network(config.network)
    networks.check_outputs(config.network, options.keep)
    fingerprint = read_fingerprint(find_weights_file(config.network, path), config.network)
    return _Found(fingerprint, network.mask_size_hw is not None, network.has_proposals)
