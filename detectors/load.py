"""From what a user asks for (a configuration, an engine, weights) to a loaded detector, in two steps.

`prepare` runs before the job: it resolves and checks everything and gives a small picklable `DetectorSpec`, which travels to
the workers. `DetectorSpec.load` runs there, once per process or device.
"""
from dataclasses import dataclass
from typing import Literal

from .config import DetectorConfig, Engine
from .detector import DetectOptions, Detector
from .errors import UsageError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class DetectorSpec:
    """All that a worker needs to load a detector.

    Attributes:
      config: the detector's configuration.
      engine: how it runs.
      precision: of the convolutions.
      weights: TF Hub handle or folder, as given: a worker elsewhere resolves it again, into its own cache.
      fingerprint: of the weights, as `prepare` found them.
      has_masks: whether masks are wanted and the model gives them.
      options: what is wanted of the detector.
      max_batch_size: pictures a call of the model at most, where it takes several.
    """

    config: DetectorConfig
    engine: Engine
    precision: Precision
    weights: str
    fingerprint: str
    has_masks: bool
    options: DetectOptions
    max_batch_size: int = 8

    def load(self) -> Detector:
        """Loads the detector; seconds to a minute.

        Raises:
          WeightsError: if the weights have vanished or changed since `prepare`.
        """
        from . import hub, saved_model  # TensorFlow: imported where a detector runs, not where a job is put together
        return saved_model.SavedModelDetector(hub.resolve(self.weights), self.options, max_batch_size=self.max_batch_size)


def prepare(config: DetectorConfig, *, engine: Engine = "saved_model", precision: Precision = "float32",
            weights: str | None = None, options: DetectOptions = DetectOptions(),
            max_batch_size: int = 8) -> DetectorSpec:
    """Checks that this detector can do what is asked, without loading it.

    Args:
      weights: instead of the configuration's.

    Raises:
      UsageError: if the engine or the precision isn't to be had, or the weights aren't right (`WeightsError`).
    """
    from . import hub, signature
    if engine not in config.engines:
        raise UsageError(f"--engine {engine}: detector {config.name} runs on {', '.join(config.engines)}")
    if engine == "saved_model" and precision != "float32":
        raise UsageError(f"--precision {precision}: a published graph runs in the precision it was exported in; "
                         "use --precision float32")
    weights = weights or config.weights
    folder = hub.resolve(weights)
    found = signature.read_signature(folder)
    signature.check_outputs(found, options, config.masks, where=f"weights {weights}")
    return DetectorSpec(config, engine, precision, weights, hub.fingerprint(folder),
                        has_masks=options.masks and found.has_masks, options=options, max_batch_size=max_batch_size)
