"""The models of the TF2 detection model zoo, as configurations: all are made of one table, `configs/tf2_zoo.yaml`."""

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from .strict_yaml import build, read_mapping

_DOWNLOADS = "http://download.tensorflow.org/models/object_detection/tf2/"
_PAGE = "https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf2_detection_zoo.md"


@dataclass(frozen=True)
class ZooModel:
    """A row of the table, whose first lines say what its columns mean."""

    architecture: str
    archive: str
    ap: float
    ms: float
    size: int | None = None
    resize: Literal["stretch", "letterbox"] | None = None
    keypoint_ap: float | None = None


# By the first word of an architecture: from which score on its detections are usually worth keeping.
_USUAL_MIN_SCORES = {"CenterNet": (0.2, 0.4), "EfficientDet": (0.3, 0.5), "SSD": (0.3, 0.5), "Faster": (0.4, 0.7)}


@functools.cache
def zoo_models() -> dict[str, ZooModel]:
    """By name."""
    path = resources.files("labelbeam.configs") / "tf2_zoo.yaml"
    return {name: build(ZooModel, row, f"{path}, {name}") for name, row in read_mapping(path).items()}


def zoo_config(name: str) -> dict[str, Any]:
    """What a YAML file of this model would say: keys of `DetectorConfig`, JSON types."""
    model = zoo_models()[name]
    keypoints = "" if model.keypoint_ap is None else ", and keypoints with --keep detection_keypoints"
    family = model.architecture.replace("-", " ").replace(",", " ").split()[0]
    config: dict[str, Any] = {
        "name": name,
        "description": f"{model.architecture}: boxes of 90 COCO classes{keypoints}",
        "architecture": model.architecture,
        "weights": _DOWNLOADS + model.archive,
        "engines": ["saved_model"],
        "masks": False,
        "labels": "coco",
        "usual_min_score": list(_USUAL_MIN_SCORES[family]),
        "reference": {"dataset": "COCO 2017", "box_ap": model.ap, "source": "TF2 model zoo", "speed_ms": model.ms},
        "licence": "Apache-2.0",
        "source": _PAGE,
    }
    if model.size is not None:
        config |= {"input_size_hw": [model.size, model.size], "resize": model.resize}
    return config
