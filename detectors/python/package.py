"""A user's module on its way to workers: an archive that travels with the detector's spec and is unpacked there."""

import hashlib
import importlib
import io
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from ...storage.errors import ConfigError
from ...storage.installation import cache_folder
from ..weights.locks import locked

MAX_BYTES = 8 << 20  # of a package: it travels inside the pipeline's graph


def pack(path: str, module: str) -> bytes:
    """A ZIP archive of the top-level module or package that `module` is in; the same bytes for the same files.

    Args:
      path: of its file or folder, or of the folder around it.
      module: dotted name.

    Raises:
      ConfigError: if it isn't there, or is too large.
    """
    top, place = module.partition(".")[0], Path(path)
    tried = [place] if place.name in (top, f"{top}.py") else []
    found = next((p for p in (*tried, place / top, place / f"{top}.py") if p.is_file() or any(p.glob("*.py"))), None)
    if found is None:
        raise ConfigError(
            f"--detector-package {path}: expected the file {top}.py, the folder {top} with Python files, or the folder "
            f"around one of them, since the detector is in module {module}"
        )
    files = [found] if found.is_file() else sorted(p for p in found.rglob("*") if p.is_file() and _travels(p, found))
    if (size := sum(file.stat().st_size for file in files)) > MAX_BYTES:
        raise ConfigError(
            f"--detector-package {path}: {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB of code go along. "
            "Weights belong where workers can read them, in a store or on a shared disk"
        )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in files:
            target.writestr(zipfile.ZipInfo(str(file.relative_to(found.parent))), file.read_bytes())
    return archive.getvalue()


def _travels(file: Path, folder: Path) -> bool:
    return not any(part == "__pycache__" or part.startswith(".") for part in file.relative_to(folder).parts)


def make_importable(archive: bytes) -> None:
    """Unpacks an archive of `pack` into this machine's cache, once, and lets Python import from there first."""
    folder = cache_folder() / "packages" / hashlib.sha256(archive).hexdigest()[:16]
    with locked(folder):
        if not folder.is_dir():
            unpacked = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                with zipfile.ZipFile(io.BytesIO(archive)) as source:
                    source.extractall(unpacked)
                unpacked.rename(folder)
            finally:
                shutil.rmtree(unpacked, ignore_errors=True)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
