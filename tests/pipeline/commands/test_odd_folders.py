"""What each command that reads an output folder says of one that is empty, of one where everything failed, of one
without masks, and of a folder that is none. `export` has its own tests, in every format."""

import json

import pytest
from labelbeam.pipeline.cli import main
from PIL import Image

from tests.fakes.output_folders import NAMES, detections, failed, labelled, write_part

SIZE_HW = (40, 60)
NO_FOLDER = "{out}: not the output folder of a label set: there's no _label_set.json"
EMPTY = "no job has finished a part yet"

COMMANDS = {
    "status": ("status", "{out}"),
    "repair": ("repair", "{out}"),
    "report": ("report", "{out}", "--output", "{folder}/page.html"),
    "show": ("show", "{out}", "a.png", "--output", "{folder}/a-labels.png"),
    "evaluate": ("evaluate", "{out}", "--annotations", "{folder}/instances.json"),
    "evaluate masks": ("evaluate", "{out}", "--annotations", "{folder}/instances.json", "--iou", "segm"),
    "compare": ("compare", "{out}", "{out}"),
    "compare masks": ("compare", "{out}", "{out}", "--iou", "segm"),
    "export": ("export", "{out}", "--format", "coco", "--to", "{folder}/coco.json"),
}


@pytest.fixture
def folder(tmp_path):
    """Holds an image, its annotations, and the output folders `nowhere`, `empty`, `failed`, `bare` (without masks)."""
    Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}]
    rows = [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": [0, 10, 30, 20],
            "area": 600,
            "iscrowd": 0,
            "segmentation": [[0, 10, 30, 10, 30, 30, 0, 30]],
        }
    ]
    (tmp_path / "instances.json").write_text(
        json.dumps(
            {
                "images": images,
                "annotations": rows,
                "categories": [{"id": i, "name": name} for i, name in NAMES.items()],
            }
        )
    )
    write_part(tmp_path / "failed", [failed(tmp_path / "a.png")], tables=("detections", "images"))
    write_part(
        tmp_path / "bare",
        [labelled(tmp_path / "a.png", SIZE_HW, detections([0.9, 0.8], [1, 2]))],
        "none",
        tables=("detections", "images"),
    )
    settings = {
        "detector": "demo",
        "engine": "saved_model",
        "precision": "float32",
        "labels": {str(i): name for i, name in NAMES.items()},
    }
    for name in ("empty", "failed", "bare"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "_label_set.json").write_text(json.dumps({"settings": settings}))
    (tmp_path / "nowhere").mkdir()
    return tmp_path


def run(folder, name, command, capsys):
    out = str(folder / name)
    code = main([word.format(out=out, folder=folder) for word in COMMANDS[command]])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_none(folder, command, capsys):
    code, said = run(folder, "nowhere", command, capsys)
    assert code == 2 and NO_FOLDER.format(out=folder / "nowhere") in said and "Give the folder that" in said


@pytest.mark.parametrize(
    "label_set, command, expected_code, words",
    [
        ("empty", "status", 0, EMPTY),
        ("empty", "repair", 0, "nothing to repair"),
        ("empty", "report", 2, EMPTY),
        ("empty", "show", 2, EMPTY),
        ("empty", "evaluate", 2, EMPTY),
        ("empty", "compare", 2, EMPTY),
        ("empty", "export", 2, EMPTY),
        ("failed", "status", 0, "1 truncated"),
        ("failed", "repair", 0, "nothing to repair"),
        ("failed", "report", 0, "Report of 1 image:"),
        ("failed", "show", 2, "has no labels, since it failed: truncated: cut short"),
        ("failed", "compare", 2, "1 failed in both"),
        ("failed", "evaluate", 2, "all 1 annotated images in it failed (1 truncated)"),
        ("failed", "export", 2, "images of this label set failed"),
        ("bare", "status", 0, "detections  2"),
        ("bare", "repair", 0, "nothing to repair"),
        ("bare", "report", 0, "Report of 1 image:"),
        ("bare", "show", 0, "detections  2, by demo"),
        ("bare", "evaluate", 0, "1 annotated, 1 with labels"),
        ("bare", "compare", 0, "all of them equal"),
        ("bare", "evaluate masks", 2, "holds detections without masks"),
        ("bare", "compare masks", 2, "use --iou bbox"),
        ("bare", "export", 0, "1 image with 2 detections"),
    ],
)
def test_label_sets_that_are_empty_or_all_failed_or_without_masks(
    folder, label_set, command, expected_code, words, capsys
):
    code, said = run(folder, label_set, command, capsys)
    assert code == expected_code and words in said
