"""Finds the folder of a SavedModel: TF Hub handles are downloaded once into tensorflow_hub's cache.

The cache lies in `TFHUB_CACHE_DIR`, else in the temporary folder. Nothing is loaded here: see `saved_model.py`.
"""

import hashlib
import os
import shutil
from pathlib import Path

from ...storage.errors import WeightsError
from ..quiet import import_tensorflow
from .tf_hub import import_tensorflow_hub

_CHUNK_BYTES = 1 << 20


def resolve(handle_or_folder: str) -> str:
    """Returns the local folder of a SavedModel, downloading it where needed.

    Args:
      handle_or_folder: `https://tfhub.dev/…` or another URL that serves a `.tar.gz` when asked with
        `?tf-hub-format=compressed`; or a folder that holds `saved_model.pb`, local or of any filesystem TensorFlow
        knows.

    Raises:
      WeightsError: if the download fails or breaks off, the archive is no SavedModel, or the folder holds none.
    """
    if not handle_or_folder.startswith(("http://", "https://")):
        return _checked_folder(handle_or_folder, f"weights {handle_or_folder}")
    hub = import_tensorflow_hub()

    try:
        folder = hub.resolve(handle_or_folder)
    except Exception as error:  # urllib, tarfile, zlib and OS errors: tensorflow_hub passes on whatever comes up
        raise WeightsError(
            f"weights {handle_or_folder}: the download failed ({type(error).__name__}: {error}). Expected a "
            ".tar.gz of a SavedModel. Check the handle and the network, or download it elsewhere, unpack it "
            "and give the folder with --weights"
        ) from error
    try:
        return _checked_folder(folder, f"weights {handle_or_folder}: the archive")
    except WeightsError:
        # tensorflow_hub caches whatever it unpacked; a wrong archive must not be what the next try finds.
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.descriptor.txt").unlink(missing_ok=True)
        raise


def _checked_folder(folder: str, what: str) -> str:
    tf = import_tensorflow()
    if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        there = sorted(tf.io.gfile.listdir(folder))[:10] if tf.io.gfile.isdir(folder) else "no such folder"
        raise WeightsError(f"{what}: expected a SavedModel, a folder with saved_model.pb and variables/; found {there}")
    return folder


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
