"""Exports read back by the packages of the tools that they are for: boxes to a hundredth of a pixel, masks bit for bit.

These packages want other versions of what labelbeam stands on, so each has an environment of its own: `make
export-readers`.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.results.export.outputs import labels_by_name, make_output, run_export

READERS = Path(os.environ.get("LABELBEAM_READERS", "build/export-readers"))


def read_with(tool, format, folder, home):
    python = READERS / tool / "bin" / "python"
    if not python.exists():
        pytest.skip(
            f"needs {tool} in an environment of its own: make export-readers, or LABELBEAM_READERS names their folder"
        )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HOME": str(home)}
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("readers.py")), tool, format, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "tool, format, has_masks, has_scores, flat",
    [
        ("datumaro", "coco", True, True, False),
        ("datumaro", "cvat", True, False, False),
        ("datumaro", "voc", False, False, True),
        ("datumaro", "yolo", False, False, True),
        ("label-studio-sdk", "label-studio", True, True, False),
        ("fiftyone", "fiftyone", False, True, True),
    ],
)
def test_a_tools_own_package_reads_what_was_labelled(tmp_path, tool, format, has_masks, has_scores, flat):
    output = make_output(tmp_path, second="a/3.jpg")  # Datumaro doesn't tell `a/1.jpg` from `a/1.png`
    assert run_export(output, format, tmp_path / "to", "--copy-images") == 0
    found = read_with(tool, format, tmp_path / "to", tmp_path)
    wanted = {
        name.rpartition(".")[0].replace("/", "__" if flat else "/"): labels
        for name, labels in labels_by_name(output).items()
    }
    assert found.keys() == wanted.keys()
    for name, labels in wanted.items():
        boxes = np.array([one["box"] for one in found[name]]).reshape(-1, 4)
        order = [
            int(np.abs(boxes - box).sum(axis=1).argmin()) for box in labels.boxes_xywh
        ]  # not every reader keeps it
        assert sorted(order) == list(range(len(boxes)))
        for rank, one in enumerate(found[name][place] for place in order):
            np.testing.assert_allclose(one["box"], labels.boxes_xywh[rank], atol=0.01)
            assert one["label"] == labels.class_names[rank]
            if has_scores:
                assert np.float32(one["score"]) == labels.scores[rank]
            assert (one["mask"] is not None) == has_masks
            if has_masks:
                mask = np.zeros(labels.size_hw, bool)
                mask.ravel()[one["mask"]["at"]] = True
                assert one["mask"]["shape"] == list(labels.size_hw)
                np.testing.assert_array_equal(mask, labels.mask(rank))
