"""A detector that costs nothing, so that what is left of a job is labelbeam; and a job of it, as `labelbeam label`
runs it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.config import DetectorConfig, load_config
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections, DetectOptions
from labelbeam.pipeline.job import JobResult, run_job
from labelbeam.pipeline.prepare_job import prepare_job
from labelbeam.pipeline.settings import ExecutionOptions, JobSpec, LabelConfig

BOXES = 5


class FreeDetector:
    """Finds the same boxes in every image, without looking."""

    batches = True

    def __init__(self, boxes: int = BOXES):
        corners = np.linspace(0, 0.5, boxes, dtype=np.float32)
        self._found = Detections(
            boxes_yxyx=np.stack([corners, corners, corners + 0.4, corners + 0.4], axis=1),
            class_ids=np.ones(boxes, np.int32),
            scores=np.linspace(0.9, 0.5, boxes, dtype=np.float32),
        )

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self._found] * len(images)


@dataclass(frozen=True)
class FreeDetectorSpec(DetectorSpec):
    """Loads a `FreeDetector`, in no time."""

    def load(self) -> FreeDetector:
        return FreeDetector()


class KeptDetectorSpec(DetectorSpec):
    """Gives a detector that this process has loaded before, whatever it is."""

    kept: ClassVar[Any] = None

    def load(self) -> Any:
        return KeptDetectorSpec.kept


def without_weights(cls: type[DetectorSpec], config: DetectorConfig) -> DetectorSpec:
    """A spec, as `prepare` gives it, of a class that loads a detector in its own way."""
    return cls(config, "keras", "float32", "", "", has_masks=False, takes_boxes=False, options=DetectOptions())


def job_seconds(config: DetectorConfig, images: Path, output: Path, count: int, execution: ExecutionOptions) -> float:
    """How long a job of `count` images takes with the kept detector, on the FnApiRunner."""
    labels = LabelConfig(without_weights(KeptDetectorSpec, config), mask_format="none")
    return labels_seconds(labels, images, output, count, execution)


def labels_seconds(
    labels: LabelConfig, images: Path, output: Path, count: int, execution: ExecutionOptions = ExecutionOptions()
) -> float:
    """How long a job of `count` images takes on the FnApiRunner."""
    options = PipelineOptions(["--runner=FnApiRunner"])
    prepared = prepare_job(JobSpec([str(images)], str(output), labels, execution, limit=count), options)
    began = time.monotonic()
    run_job(prepared, options)
    return time.monotonic() - began


def free_label_config(**settings: Any) -> LabelConfig:
    """With the demo detector's names of classes, and without masks; `settings` are a `LabelConfig`'s."""
    spec = without_weights(FreeDetectorSpec, load_config("demo"))
    return LabelConfig(spec, **{"mask_format": "none", **settings})


def run_free_job(images: Path, output: Path, count: int, **settings: Any) -> JobResult:
    """Labels what isn't labelled yet of a folder or list of `count` images on the FnApiRunner; `settings` are a
    `JobSpec`'s."""
    options = PipelineOptions(["--runner=FnApiRunner"])
    result = run_job(
        prepare_job(JobSpec([str(images)], str(output), free_label_config(), **settings), options), options
    )
    fresh = count - result.record["skipped"]
    if result.record["rows"] != {"images": fresh, "detections": fresh * BOXES}:
        raise AssertionError(f"not every image was labelled: {result.record}")
    return result
