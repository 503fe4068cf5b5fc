"""Engine `python`: anybody's class that fulfils `Detector`, named `module:Class`.

The class is made without arguments, once a process. It may have, beside `batches` and `detect`:

    class_names     class id -> name
    input_size_hw   (height, width) to which it resizes images, for `--tiles auto`
    version         a text that changes whenever its labels would, such as its weights' date
"""

import hashlib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...storage.errors import ConfigError, UsageError
from ..protocol import Detections, DetectOptions, Detector, num_dropped

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_class_name(name: str) -> bool:
    """Whether a detector's name is of the form `module:Class`."""
    return _NAME.fullmatch(name) is not None


def find_class(name: str) -> type:
    """The class that `module:Class` names.

    Raises:
      ConfigError: if there's no such module or class, importing it fails, or it lacks `batches` or `detect`.
    """
    if not is_class_name(name):
        raise ConfigError(f"--weights {name}: of engine python, expected module:Class, as in my_package.detectors:Mine")
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"--detector {name}: {module_name} needs {error.name}, which isn't installed") from error
        raise ConfigError(
            f"--detector {name}: {error}; give the module's file or folder with --detector-package, or install the "
            "package that has it"
        ) from error
    except Exception as error:  # whatever somebody's module does while it is imported
        raise ConfigError(
            f"--detector {name}: importing {module_name} fails: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [n for n, c in vars(module).items() if inspect.isclass(c) and hasattr(c, "detect")]
        there = f"it has {', '.join(classes)}" if classes else "it has no class with a method detect"
        raise ConfigError(f"--detector {name}: module {module_name} has no class {class_name}; {there}")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ConfigError(
            f"--detector {name}: expected a class that is made without arguments; {found.__name__}(): {error}"
        ) from error
    except ValueError:  # of a class that is written in C
        pass
    for attribute in ("batches", "detect"):
        if not hasattr(found, attribute):
            raise ConfigError(f"--detector {name}: expected a class with batches and detect; it lacks {attribute}")
    return found


def made(cls: type, name: str) -> Detector:
    """An instance of the class that `name` means.

    Raises:
      ConfigError: if making it fails.
    """
    try:
        return cls()
    except MemoryError:
        raise
    except Exception as error:  # whatever somebody's class raises
        raise ConfigError(
            f"--detector {name}: making a {cls.__name__} fails: {type(error).__name__}: {error}; "
            f"`labelbeam detectors --check {name}` tries it alone"
        ) from error


def class_names(cls: type) -> dict[int, str]:
    """What the class calls its classes; empty if it doesn't say.

    Raises:
      ConfigError: if `class_names` isn't a mapping of ids to names.
    """
    names: Any = getattr(cls, "class_names", {})
    if not isinstance(names, Mapping) or not all(isinstance(i, int) and isinstance(n, str) for i, n in names.items()):
        raise ConfigError(f"{cls.__name__}.class_names: expected a mapping of class ids to names, got {names!r:.60}")
    return dict(names)


def fingerprint(cls: type) -> str:
    """SHA-256 over the class's module and its `version`, as hex."""
    file = inspect.getsourcefile(cls)
    source = Path(file).read_bytes() if file else b""
    return hashlib.sha256(source + f"\0{cls.__name__}\0{getattr(cls, 'version', '')}".encode()).hexdigest()


class PythonDetector:
    """Somebody's detector, of which only what is wanted is taken.

    Args:
      detector: fulfils `Detector`.
      options: what is wanted of it.

    Raises:
      UsageError: if `options.keep` wants further outputs, which only the class itself could give.
    """

    def __init__(self, detector: Detector, options: DetectOptions):
        if options.keep:
            raise UsageError(f"--keep {options.keep[0]}: engine python has no further outputs")
        self._detector = detector
        self._options = options

    @property
    def batches(self) -> bool:
        return self._detector.batches

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        return [self._wanted(found) for found in self._detector.detect(images)]

    def _wanted(self, found: Detections) -> Detections:
        # Best first: the count of those above the threshold is where to cut.
        kept = min(int(np.count_nonzero(found.scores >= self._options.min_score)), self._options.max_detections)
        masks = found.masks[:kept] if found.masks is not None and self._options.masks else None
        mask_boxes = None if masks is None or found.mask_boxes_yxyx is None else found.mask_boxes_yxyx[:kept]
        return replace(
            found,
            boxes_yxyx=found.boxes_yxyx[:kept],
            class_ids=found.class_ids[:kept],
            scores=found.scores[:kept],
            masks=masks,
            mask_boxes_yxyx=mask_boxes,
            extras={},
            num_dropped=num_dropped(found.scores, self._options.min_score),
        )
