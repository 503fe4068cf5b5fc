"""Files with results that a command was asked to write: checked before the work, written whole after it."""

import json
import os
from typing import Any

from ..storage import files as output_files
from ..storage.errors import UsageError
from ..storage.uris import is_local


def check_result_file(option: str, path: str | None) -> None:
    """Finds out before the work what would keep the result from being written there.

    Raises:
      UsageError: if the path is a folder, or a local one that can't be written to.
    """
    if path is None or not is_local(path):
        return
    if not os.path.basename(path) or os.path.isdir(path):
        raise UsageError(f"{option} {path}: is a folder; give the name of a file")
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path}: can't be written to: {folder} is not a folder that this user may write to")


def write_json(path: str, result: dict[str, Any]) -> None:
    """Writes a result as indented JSON, UTF-8.

    Raises:
      OSError: if the disk is full, … (stores raise their clients' errors)
    """
    output_files.write_atomically(path, json.dumps(result, indent=1, ensure_ascii=False).encode("utf-8"))
