"""Imports tensorflow_hub wherever setuptools no longer has `pkg_resources`, of which it wants one function."""

import sys
from types import ModuleType

from packaging.version import parse

from ..quiet import import_tensorflow


def import_tensorflow_hub() -> ModuleType:
    """The module `tensorflow_hub`.

    Version 0.16.1 imports `parse_version` from `pkg_resources`, which setuptools 80.9 calls deprecated and 82 lacks.
    Unless the process has the real module already, tensorflow_hub sees one that holds this function alone, and only
    while it is imported.
    """
    import_tensorflow()
    stand_in = ModuleType("pkg_resources")
    vars(stand_in)["parse_version"] = parse
    if sys.modules.setdefault("pkg_resources", stand_in) is not stand_in:
        import tensorflow_hub

        return tensorflow_hub
    try:
        import tensorflow_hub
    finally:
        del sys.modules["pkg_resources"]
    return tensorflow_hub
