"""Files with several pages among the inputs: pages are labelled as images are."""

import numpy as np
import pytest
from labelbeam.pipeline.cli import main
from PIL import Image

from tests.fakes.images import save_image
from tests.transforms.sources.paged_files import number_of, write_pages


@pytest.fixture
def scans(tmp_path):
    """Three pages, an animation of two frames, and an image."""
    folder = tmp_path / "scans"
    folder.mkdir()
    write_pages(folder / "a.tif", 3, compression="tiff_lzw")
    write_pages(folder / "b.gif", 2)
    save_image(folder / "image.jpg", 1)
    return folder


@pytest.mark.heavy
def test_pages_are_images(label, scans, tmp_path):
    code, printed, labels = label(scans)
    assert code == 0 and len(labels.frame("images")) == 3, printed
    code, printed, labels = label(scans, options=["--pages", "all"])
    assert code == 0, printed
    images = labels.frame("images").set_index("uri")
    pages = [f"{scans}/a.tif#page={i}" for i in (1, 2, 3)]
    frames = [f"{scans}/b.gif#page={i}" for i in (1, 2)]
    assert set(images.index) == {*pages, *frames, f"{scans}/a.tif", f"{scans}/b.gif", f"{scans}/image.jpg"}
    assert set(images.status) == {"ok"} and images.sha256[pages].nunique() == 3 and images.sha256[frames].isna().all()
    code, printed, _ = label(scans, options=["--pages", "all"])
    assert code == 0 and "Nothing to do: 6 images, labelled already" in printed

    out = str(labels.folder)
    for uri, name in [(pages[1], "page.png"), (frames[1], "frame.png")]:
        assert main(["show", out, uri, "--output", str(tmp_path / name)]) == 0
        assert Image.open(tmp_path / name).width >= 48
    assert main(["report", out, "--output", str(tmp_path / "report.html")]) == 0
    code, printed, other = label(scans, options=["--pages", "all", "--min-score", "0.9"], output="other")
    assert code == 0, printed
    assert main(["compare", out, str(other.folder), "--html", str(tmp_path / "compare.html")]) == 0
    for page in ("report.html", "compare.html"):
        assert "can't be read" not in (tmp_path / page).read_text()
    coco = tmp_path / "coco"
    assert main(["export", out, "--format", "coco", "--to", str(coco), "--copy-images"]) == 0
    copied = {
        path.name: np.asarray(Image.open(path).convert("RGB")) for path in coco.rglob("*.*") if path.suffix != ".json"
    }
    assert len(copied) == 8
    [page] = [pixels for name, pixels in copied.items() if "page=3" in name and name.endswith(".tif")]
    [frame] = [pixels for name, pixels in copied.items() if "b.gif" in name and "page=2" in name]
    assert number_of(page) == 3 and number_of(frame) == 2
