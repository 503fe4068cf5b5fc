"""Where the tests find the stand-ins of the published detectors, and real photos."""

import os
from pathlib import Path

import pytest

ENVIRONMENT_VARIABLE = "LABELBEAM_STANDINS"


def standin(name: str) -> str:
    """Folder of the SavedModel `centernet` or `mask_rcnn`; skips the test that asks where there's none."""
    root = os.environ.get(ENVIRONMENT_VARIABLE)
    if not root:
        pytest.skip(f"{ENVIRONMENT_VARIABLE} names no folder with the stand-ins of the published detectors")
    folder = Path(root) / name
    assert (folder / "saved_model.pb").is_file(), f"{ENVIRONMENT_VARIABLE}={root}: there's no SavedModel in {folder}"
    return str(folder)


def photos(*names: str) -> list[Path]:
    """Real photos of different sizes and shapes, from scikit-image's wheel."""
    skimage_data = pytest.importorskip("skimage.data")
    folder = Path(skimage_data.__file__).parent
    return [folder / name for name in names]
