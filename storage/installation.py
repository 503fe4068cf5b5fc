"""This installation of labelbeam: where it keeps what it fetched, and how to add what an extra brings."""

import functools
import os
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def cache_folder() -> Path:
    """Of what is fetched or converted once: `$LABELBEAM_CACHE`, else `~/.cache/labelbeam`."""
    return Path(os.environ.get("LABELBEAM_CACHE") or Path.home() / ".cache" / "labelbeam")


@functools.cache
def install_hint(extra: str) -> str:
    """`pip install …` with an extra's requirements, as the installed labelbeam has them.

    They are named themselves: `labelbeam[…]` is known to an index only where labelbeam was installed from one.

    Args:
      extra: as in setup.py.
    """
    try:
        requirements = [Requirement(line) for line in metadata.requires("labelbeam") or ()]
    except metadata.PackageNotFoundError:  # a checkout that was put into the path
        return f"pip install '.[{extra}]' in labelbeam's folder"
    named = [
        f"'{requirement.name}{_bracketed(requirement.extras)}{requirement.specifier}'"
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    return f"pip install {' '.join(named)}"


def _bracketed(extras: set[str]) -> str:
    return f"[{','.join(sorted(extras))}]" if extras else ""
