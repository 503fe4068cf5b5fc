"""labelbeam labels images at scale, offline: image URIs in, tables of detections and masks out.

Three ways to use it:

    labelbeam label photos/ -o out --detector demo                     # the command line; `labelbeam help`

    labelbeam.label("photos/", "out", LabelConfig("demo"))             # a whole job from Python: survives crashes,
    label_set = labelbeam.open_label_set("out")                        # goes on where it stopped; its tables
    label_set.pandas("detections")

    tables = uris | labelbeam.LabelImages(LabelConfig("demo"))         # one step of your own Beam pipeline
    tables["detections"] | beam.io.WriteToParquet(...)

What decides the labels is a `LabelConfig`; how the work is done, an `ExecutionOptions`; which detectors there are,
`labelbeam detectors` lists. A detector of your own has the methods of `Detector` and gives `Detections`.

Nothing heavy is imported before a name is used. In a checkout that isn't installed, `import labelbeam` from the
repository's folder works as well.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # where labelbeam is installed, the packages lie in this folder
    from labelbeam.detectors.protocol import Detections, Detector  # pyright: ignore[reportMissingImports]
    from labelbeam.pipeline.api import export, label  # pyright: ignore[reportMissingImports]
    from labelbeam.pipeline.label_images import LabelImages  # pyright: ignore[reportMissingImports]
    from labelbeam.pipeline.settings import LabelConfig  # pyright: ignore[reportMissingImports]
    from labelbeam.results.reader import open_label_set  # pyright: ignore[reportMissingImports]
    from labelbeam.storage.errors import UsageError  # pyright: ignore[reportMissingImports]
    from labelbeam.transforms.execution_options import ExecutionOptions  # pyright: ignore[reportMissingImports]
    from labelbeam.transforms.sources.inputs import ListOptions  # pyright: ignore[reportMissingImports]

__all__ = [
    "Detections",
    "Detector",
    "ExecutionOptions",
    "LabelConfig",
    "LabelImages",
    "ListOptions",
    "UsageError",
    "__version__",
    "export",
    "label",
    "open_label_set",
]

_MODULES = {
    "Detections": ".detectors.protocol",
    "Detector": ".detectors.protocol",
    "ExecutionOptions": ".transforms.execution_options",
    "LabelConfig": ".pipeline.settings",
    "LabelImages": ".pipeline.label_images",
    "ListOptions": ".transforms.sources.inputs",
    "UsageError": ".storage.errors",
    "export": ".pipeline.api",
    "label": ".pipeline.api",
    "open_label_set": ".results.reader",
}

# In a checkout the packages lie beside this folder.
_checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_checkout, "setup.py")) and os.path.isdir(os.path.join(_checkout, "pipeline")):
    __path__.append(_checkout)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
