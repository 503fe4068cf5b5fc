"""Weights that lie in a store (`s3://`, `gs://`, `hdfs://`): fetched once a machine into a cache, whatever the engine.

TensorFlow reads few stores by itself, and each process anew. Here the processes of a machine wait for the first one,
and a copy that broke off goes on where it stopped.
"""

import hashlib
import logging
from pathlib import Path

from ...storage import files as output_files
from ...storage.errors import WeightsError
from ...storage.file_info import FileInfo
from ...storage.installation import cache_folder
from .locks import locked

_log = logging.getLogger(__name__)


def local_copy(weights: str) -> str:
    """The path on this machine of weights in a store, fetched into the cache.

    A copy is found again by names, sizes and times of the files in the store; so when one is replaced there, it's
    fetched anew.

    Args:
      weights: URI of a folder, a file, or a checkpoint without the endings of its files.

    Raises:
      WeightsError: if there's nothing of this name.
      UsageError, OSError: if the store refuses, or can't be reached.
    """
    weights = weights.rstrip("/")
    files = _files_of(weights)
    if not files:
        raise WeightsError(
            f"weights {weights}: there's nothing of this name; expected a SavedModel's folder, a checkpoint or a "
            ".weights.h5 file. `labelbeam stage` puts weights into a store"
        )
    listed = [f"{name} {file.size_in_bytes} {file.last_updated_in_seconds}\n" for name, file in sorted(files.items())]
    key = hashlib.sha256("".join([f"{weights}\n", *listed]).encode()).hexdigest()[:16]
    folder = cache_folder() / "weights" / key
    with locked(folder):
        part = folder if folder.is_dir() else folder.with_suffix(".part")
        if lacking := {name: file for name, file in files.items() if not _is_there(part / name, file)}:
            _log.info("Fetching weights %s into %s", weights, folder)
            for name, file in lacking.items():
                output_files.write_atomically(str(part / name), output_files.read(file.path))
        if part != folder:
            part.rename(folder)
    return str(folder / weights.rpartition("/")[2])


def _files_of(weights: str) -> dict[str, FileInfo]:
    """The files of the weights: path behind the last name of `weights` (or with it, as in `ckpt-0.index`) -> file."""
    above = weights.rpartition("/")[0] + "/"
    found = {}
    for pattern in (f"{weights}*", f"{weights}/*", f"{weights}/*/*"):  # Beam's match sees one level at a time on HDFS
        for file in output_files.list_metadata(pattern):
            rest = file.path.removeprefix(weights)
            if rest == "" or rest[0] == "/" or (rest[0] == "." and "/" not in rest):
                found[file.path.removeprefix(above)] = file
    inside = {name: file for name, file in found.items() if "/" in name}
    return inside or found


def _is_there(path: Path, file: FileInfo) -> bool:
    return path.is_file() and path.stat().st_size == file.size_in_bytes
