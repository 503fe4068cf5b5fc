"""The examples run as they stand, over images that come with labelbeam."""

import contextlib
import io
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = sorted((ROOT / "pipeline" / "demo_images").glob("*.jpg"))[:3]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for image in IMAGES:
        shutil.copy(image, folder)
    return folder


@pytest.fixture(scope="module")
def labelled(photos, tmp_path_factory):
    """What examples/label_from_python.py prints, and the label set that it makes."""
    output = tmp_path_factory.mktemp("job") / "labels"
    (photos / "broken.jpg").write_bytes(b"no image")
    return run("label_from_python.py", photos, output), output


def run(example, *arguments):
    """What it prints, run as a script in this process, which has imported TensorFlow already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [example, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / example), run_name="__main__")
    return printed.getvalue()


def test_a_job_from_python(labelled):
    printed, _ = labelled
    assert "4 images in" in printed and "not_an_image" in printed
    assert "found, mean score" in printed and "pixels" in printed and "broken.jpg: " in printed


def test_a_pipeline_of_ones_own(photos, tmp_path):
    run("beam_pipeline.py", photos / "*.jpg", tmp_path / "found.jsonl", "--runner=FnApiRunner")
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert {Path(row["uri"]).name for row in found} == {image.name for image in IMAGES}
    assert all(row["count"] > 0 and row["class"] for row in found)


def test_the_notebook_queries_a_label_set(labelled, monkeypatch):
    _, output = labelled
    monkeypatch.setenv("LABEL_SET", str(output))
    notebook = json.loads((ROOT / "examples" / "query_label_set.ipynb").read_text())
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["images"]["status"].value_counts().to_dict() == {"ok": 3, "failed": 1}
    assert len(names["largest"]) == 3 and names["mask"].any()
