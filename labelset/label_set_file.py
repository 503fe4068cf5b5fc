"""`_label_set.json`: which label set an output folder holds, and in which version of the format.

An output folder holds one label set. Whoever adds to it must have the same settings, those that decide the labels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..storage import files
from ..storage.errors import UsageError, shorten
from ..storage.uris import join

LABEL_SET_FILE = "_label_set.json"
METADATA_KEY = "labelbeam.label_set"  # in each Parquet file's key-value metadata
FORMAT_VERSION = 1  # of all that an output folder holds; a labelbeam refuses folders with a newer one


@dataclass(frozen=True)
class LabelSet:
    """What decides the labels.

    Attributes:
      settings: by name, JSON types.
      defaults: a setting that is absent has this value: what was done before there was such a setting.
    """

    settings: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hex digits of SHA-256 over the settings, those that have their default left out."""
        telling = {
            name: value
            for name, value in self.settings.items()
            if name not in self.defaults or value != self.defaults[name]
        }
        return hashlib.sha256(json.dumps(telling, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def metadata(self) -> dict[str, str]:
        """Key-value metadata for each Parquet file."""
        content = {"fingerprint": self.fingerprint, **self.settings}
        return {METADATA_KEY: json.dumps(content, ensure_ascii=False)}

    def differences(self, held: Mapping[str, Any]) -> list[str]:
        """Settings that differ from those that a folder holds, each with both values, for a person."""
        mine, theirs = {**self.defaults, **self.settings}, {**self.defaults, **held}
        return [
            f"{name} ({_shown(theirs.get(name))} there, {_shown(mine.get(name))} now)"
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]


def write_label_set(output: str, label_set: LabelSet) -> None:
    """Makes `output` the folder of this label set, or checks that it is.

    Raises:
      UsageError: as `check_label_set`.
    """
    path = join(output, LABEL_SET_FILE)
    content = {"version": FORMAT_VERSION, "fingerprint": label_set.fingerprint, "settings": dict(label_set.settings)}
    if not files.create_exclusive(path, json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8")):
        check_label_set(output, label_set)


def check_label_set(output: str, label_set: LabelSet) -> bool:
    """Whether `output` is the folder of this label set; False if it isn't one yet. Writes nothing.

    Raises:
      UsageError: if the folder holds another label set (naming the settings that differ), or tables of unknown origin.
    """
    existing = find_label_set(output)
    if existing is None:
        there_are_tables = files.list_files(join(output, "images", "*.parquet"))
        existing = find_label_set(output)  # which another job may just have written, with its first tables
        if existing is None and there_are_tables:
            raise UsageError(
                f"--output {output}: there are tables in images/ but no {LABEL_SET_FILE}, so what made them "
                "isn't known; give a new folder"
            )
    if existing is None:
        return False
    if differing := label_set.differences(existing.get("settings", {})):
        raise UsageError(
            f"--output {output} holds another label set. What differs: {'; '.join(differing)}. Give a new folder, "
            "or the same settings"
        )
    return True


def read_label_set_file(output: str) -> dict[str, Any]:
    """The content of `_label_set.json`: `version`, `fingerprint`, and the `settings` of the label set.

    Raises:
      UsageError: if `output` is no folder of a label set, or one of a newer version.
    """
    content = find_label_set(output)
    if content is None:
        raise UsageError(
            f"{output}: not the output folder of a label set: there's no {LABEL_SET_FILE}. Give the folder that "
            "`labelbeam label` was given as --output"
        )
    return content


def find_label_set(output: str) -> dict[str, Any] | None:
    """Like `read_label_set_file`, None if there is no such file."""
    path = join(output, LABEL_SET_FILE)
    try:
        content = json.loads(files.read(path))
    except FileNotFoundError:
        return None
    except UsageError:  # of the place
        raise
    except ValueError as error:
        raise UsageError(
            f"{output}: {LABEL_SET_FILE} isn't valid JSON ({error}), so what made its labels isn't known; give "
            "another folder"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("settings", {}), dict):
        raise UsageError(f"{output}: {LABEL_SET_FILE} isn't as it was written, so what made its labels isn't known")
    check_version(path, content.get("version", FORMAT_VERSION))
    return content


def check_version(path: str, version: Any) -> None:
    """Raises `UsageError` if a file was written in a version of the format that this labelbeam doesn't know."""
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UsageError(
            f"{path}: written by a newer labelbeam (format version {version}; this one knows versions up to "
            f"{FORMAT_VERSION}). Install a newer labelbeam"
        )


def _shown(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), 40)
