import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.results.export.outputs import labels_by_name, make_output, ring_and_pieces, run_export


@pytest.mark.parametrize("mask_format", ["rle", "png", "none"])
def test_pycocotools_reads_what_was_labelled(tmp_path, mask_format):
    output = make_output(tmp_path, mask_format)
    assert run_export(output, "coco", tmp_path / "labels.json") == 0
    coco, wanted = COCO(str(tmp_path / "labels.json")), labels_by_name(output)
    assert {image["file_name"] for image in coco.dataset["images"]} == set(wanted) and len(wanted) == 4
    assert {category["id"]: category["name"] for category in coco.dataset["categories"]} == {
        1: "ball",
        2: "box",
        7: "class_7",
    }
    for image in coco.dataset["images"]:
        labels, found = wanted[image["file_name"]], coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert (image["height"], image["width"]) == labels.size_hw and image["uri"] == labels.uri
        np.testing.assert_array_equal(np.float32([row["bbox"] for row in found]).reshape(-1, 4), labels.boxes_xywh)
        np.testing.assert_array_equal(np.float32([row["score"] for row in found]), labels.scores)
        assert [row["category_id"] for row in found] == labels.class_ids.tolist()
        for rank, row in enumerate(found):
            if mask_format == "none":
                assert "segmentation" not in row and row["area"] == pytest.approx(row["bbox"][2] * row["bbox"][3])
            else:
                np.testing.assert_array_equal(coco.annToMask(row), labels.mask(rank))
                assert row["area"] == labels.mask(rank).sum()
    if mask_format == "rle":  # the odd one is among them
        (image_id,) = (image["id"] for image in coco.dataset["images"] if image["file_name"] == "a/1.png")
        np.testing.assert_array_equal(
            coco.annToMask(coco.loadAnns(coco.getAnnIds(imgIds=image_id))[0]), ring_and_pieces(30, 40)
        )


def test_supervision_reads_it_with_its_images(tmp_path):
    supervision = pytest.importorskip("supervision")
    output = make_output(tmp_path)
    assert run_export(output, "coco", tmp_path / "to", "--copy-images") == 0
    annotations = tmp_path / "to" / "annotations" / "instances_default.json"
    dataset = supervision.DetectionDataset.from_coco(
        str(tmp_path / "to" / "images"), str(annotations), force_masks=True
    )
    wanted = labels_by_name(output)
    for path, pixels, found in dataset:
        labels = wanted[path.split("/images/")[1]]
        assert pixels.shape[:2] == labels.size_hw
        np.testing.assert_allclose(found.xyxy[:, :2], labels.boxes_xywh[:, :2], atol=0.01)
        np.testing.assert_allclose(found.xyxy[:, 2:] - found.xyxy[:, :2], labels.boxes_xywh[:, 2:], atol=0.01)
        for rank in range(len(labels.scores)):
            np.testing.assert_array_equal(found.mask[rank], labels.mask(rank))


def test_scores_and_classes_are_chosen(tmp_path):
    output = make_output(tmp_path)
    assert (
        run_export(output, "coco", tmp_path / "labels.json", "--min-score", "0.5", "--classes", "box", "class_7") == 0
    )
    written = json.loads((tmp_path / "labels.json").read_text())
    assert [category["name"] for category in written["categories"]] == ["box", "class_7"]
    assert sorted(row["score"] for row in written["annotations"]) == pytest.approx([0.5, 0.9])
    assert len(written["images"]) == 4  # those without detections are labels too
