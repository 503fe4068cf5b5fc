"""Finds the folder of a SavedModel: TF Hub handles are downloaded once into tensorflow_hub's cache.

The cache lies in `TFHUB_CACHE_DIR`, else in the temporary folder. Nothing is loaded here: see `saved_model.py`.
"""

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

from ...storage.errors import WeightsError
from ...storage.installation import cache_folder
from ..quiet import import_tensorflow
from .model_in import model_in
from .tf_hub import import_tensorflow_hub
from .whole import check_whole

_CHUNK_BYTES = 1 << 20
_PATTERN = frozenset("*?[]{}\\")


def resolve(handle: str) -> str:
    """Returns the local folder of a SavedModel of TF Hub's, downloading it where needed.

    An entry of the cache that has lost files is fetched again.

    Args:
      handle: `https://tfhub.dev/…` or another URL that serves a `.tar.gz` when asked with `?tf-hub-format=compressed`.

    Raises:
      WeightsError: if the download fails or breaks off, or the archive is no whole SavedModel.
    """
    started = time.time()
    folder = _downloaded(handle)
    what = f"weights {handle}: the archive"
    try:
        check_whole(model_in(folder, what), what)
    except WeightsError:
        # tensorflow_hub caches whatever it unpacked, and doesn't see that files of it have gone since.
        descriptor = Path(f"{folder}.descriptor.txt")
        cached = descriptor.exists() and descriptor.stat().st_mtime < started
        shutil.rmtree(folder, ignore_errors=True)
        descriptor.unlink(missing_ok=True)
        if not cached:
            raise
        return resolve(handle)
    return folder


def _downloaded(handle: str) -> str:
    hub = import_tensorflow_hub()
    try:
        return hub.resolve(handle)
    except Exception as error:  # urllib, tarfile, zlib and OS errors: tensorflow_hub passes on whatever comes up
        raise WeightsError(
            f"weights {handle}: the download failed ({type(error).__name__}: {error}). Expected a .tar.gz of a "
            "SavedModel. Check the handle and the network, or download it elsewhere, unpack it and give the folder "
            "with --weights"
        ) from error


def without_pattern(path: str) -> str:
    """The path, or a link to it in the cache if TensorFlow's reader of variables would take it for a pattern."""
    if "://" in path or not _PATTERN.intersection(path):
        return path
    target = os.path.abspath(path)
    link = cache_folder() / "links" / hashlib.sha256(target.encode()).hexdigest()[:16]
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # the same one, of another process
        link.symlink_to(target)
    return str(link)


def fingerprint(folder: str) -> str:
    """SHA-256 over a SavedModel's graph, variables and assets, as hex: folders with one fingerprint label alike."""
    tf = import_tensorflow()
    digest = hashlib.sha256()
    for parent, _, names in sorted(tf.io.gfile.walk(folder)):
        relative = parent.removeprefix(folder).strip("/")
        if relative.split("/")[0] not in ("", "variables", "assets"):
            continue
        for name in sorted(names):
            if relative == "" and name not in ("saved_model.pb",):
                continue  # fingerprint.pb, READMEs: say nothing of the weights
            digest.update(f"{relative}/{name}\0".encode())
            with tf.io.gfile.GFile(os.path.join(parent, name), "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()
