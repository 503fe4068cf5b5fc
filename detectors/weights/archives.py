"""Archives of weights (`.tar.gz`, `.zip`), unpacked once a machine into the cache."""

import hashlib
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from ...storage.errors import WeightsError, shorten
from ...storage.installation import cache_folder
from .locks import locked

ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")


def is_archive(name: str) -> bool:
    """Whether a path or URL names an archive, by its ending."""
    return name.partition("?")[0].lower().endswith(ENDINGS)


def unpack(archive: Path, what: str) -> str:
    """The folder that holds an archive's files; found again by the archive's path, size and time.

    Args:
      archive: on this machine.
      what: what the user calls it, for errors.

    Raises:
      WeightsError: if it is no archive, is cut short, or names files outside of it.
    """
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache_folder() / "weights" / f"unpacked-{key}"
    with locked(folder):
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _extract(archive, part, what)
            part.rename(folder)
    return str(folder)


def _extract(archive: Path, folder: Path, what: str) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as source:
                source.extractall(folder)  # which leaves out `..` and roots
        else:
            with tarfile.open(archive) as source:
                source.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise WeightsError(
            f"{what}: can't be unpacked ({type(error).__name__}: {shorten(' '.join(str(error).split()), 100)}); "
            "expected a whole .tar.gz or .zip. Fetch it again"
        ) from error
