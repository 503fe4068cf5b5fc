"""What a model without a configuration says of itself: its labels and its input size, from the files beside it."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ..storage.errors import ConfigError
from .config import Resize
from .labels import parse_labels

NUM_COCO_IDS = 90
_LABEL_FILES = ("*label*.pbtxt", "*.pbtxt", "*label*.txt", "*classes*.txt", "*label*.json", "*label*.yaml")
_RESIZER = re.compile(r"\b(fixed_shape_resizer|keep_aspect_ratio_resizer)\s*\{([^{}]*)\}")
_SIDE = re.compile(r"\b(height|width|min_dimension|max_dimension):\s*(\d+)")
_CLASSES = re.compile(r"\bnum_classes:\s*(\d+)")

_log = logging.getLogger(__name__)


def labels_beside(path: str, coco: dict[int, str]) -> dict[int, str]:
    """The label map that lies with a model; COCO's if its `pipeline.config` has as many classes; else none.

    Args:
      path: of the model on this machine.
      coco: COCO's label map.
    """
    for file in _label_files(Path(path)):
        try:
            labels = parse_labels(file.read_bytes(), str(file))
        except (ConfigError, OSError):  # some other file that happens to be called so
            continue
        _log.warning("Labels are those of %s, which lies with the model; --labels gives others.", file)
        return labels
    if _number_of_classes(Path(path)) == NUM_COCO_IDS:
        _log.warning("The model has 90 classes and no label map: they are taken for COCO's; --labels gives others.")
        return coco
    _log.warning("The model's classes have no names; the tables call them class_<id>. Give a label map with --labels.")
    return {}


def resize_beside(path: str) -> tuple[tuple[int, int], Resize] | None:
    """((height, width), how) of the resize that the `pipeline.config` beside a model says; None if it says none, or one
    whose size depends on the image.
    """
    if (found := _RESIZER.search(_pipeline_config(Path(path)))) is None:
        return None
    sides = {name: int(pixels) for name, pixels in _SIDE.findall(found[2])}
    match found[1], sides:
        case "fixed_shape_resizer", {"height": height, "width": width}:
            return (height, width), "stretch"
        case "keep_aspect_ratio_resizer", {"min_dimension": least, "max_dimension": most} if least == most:
            return (most, most), "letterbox"
    return None


def _label_files(path: Path) -> Iterator[Path]:
    folder = path if path.is_dir() else path.parent
    for place in (folder / "assets", folder / "assets.extra", folder, folder.parent):
        for pattern in _LABEL_FILES:
            yield from sorted(place.glob(pattern))


def _number_of_classes(path: Path) -> int | None:
    found = _CLASSES.search(_pipeline_config(path))
    return int(found[1]) if found else None


def _pipeline_config(path: Path) -> str:
    for folder in (path, path.parent):
        if (file := folder / "pipeline.config").is_file():
            return file.read_text(encoding="utf-8", errors="replace")[:1_000_000]
    return ""
