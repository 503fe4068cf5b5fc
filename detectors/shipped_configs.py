"""The YAML files that labelbeam ships in `configs/`, found by name; a path finds one's own.

What a file must say is the business of those who read it: `config.py` for detectors,
`pipeline/running/runner_config.py` for runners.
"""

import difflib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from ..storage.errors import ConfigError

Kind = Literal["detectors", "labels", "runners"]


def shipped_names(kind: Kind) -> list[str]:
    """Names of the files of a kind, without `.yaml`, sorted."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder(kind).iterdir() if path.name.endswith(".yaml"))


def find_config(kind: Kind, name_or_yaml: str, what: str, more: Iterable[str] = ()) -> Any:
    """The file that a user means: a `Path`, or a `Traversable` of `importlib.resources`.

    Args:
      name_or_yaml: one of `shipped_names(kind)`, or the path of a YAML file.
      what: what the user calls it, for errors: `detector`, or the option that names it.
      more: names that are known otherwise, to suggest for a misspelt one.

    Raises:
      ConfigError: if there's no such file; it names the nearest that there is.
    """
    if name_or_yaml.endswith((".yaml", ".yml")):
        if not Path(name_or_yaml).is_file():
            raise ConfigError(f"{what} {name_or_yaml}: no such file")
        return Path(name_or_yaml)
    known = shipped_names(kind)
    if name_or_yaml not in known:
        near = difflib.get_close_matches(name_or_yaml, [*known, *more], n=1)
        there_are = "`labelbeam detectors` lists those that are" if more else f"Known: {', '.join(known)}"
        raise ConfigError(
            f"{what} {name_or_yaml}: not known{f'; did you mean {near[0]}?' if near else '.'} "
            f"{there_are}; or give the path of a .yaml file"
        )
    return _folder(kind) / f"{name_or_yaml}.yaml"


def _folder(kind: Kind) -> Any:
    return resources.files("labelbeam.configs") / kind
