"""What a model without a configuration says of itself: its labels and its input size, from the files beside it."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ..storage.errors import ConfigError
from .labels import parse_labels

NUM_COCO_IDS = 90
_LABEL_FILES = ("*label*.pbtxt", "*.pbtxt", "*label*.txt", "*classes*.txt", "*label*.json", "*label*.yaml")
_FIXED = re.compile(r"fixed_shape_resizer\s*\{\s*(?:(height|width):\s*(\d+)\s*){2}\}")
_SIDE = re.compile(r"\b(height|width):\s*(\d+)")
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


def input_size_beside(path: str) -> tuple[int, int] | None:
    """(height, width) of the fixed size that the `pipeline.config` beside a model says; None if it doesn't."""
    if found := _FIXED.search(_pipeline_config(Path(path))):
        sides = dict(_SIDE.findall(found[0]))
        if len(sides) == 2:
            return int(sides["height"]), int(sides["width"])
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
