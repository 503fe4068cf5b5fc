"""`--tiles`: small things in large images, in the large image's pixels."""

import json

import numpy as np
import pytest
from labelbeam.detectors.demo.large_scenes import draw_large_scene, write_large_scenes
from labelbeam.labelset.masks import decode_rle
from labelbeam.results.matching import box_iou
from PIL import Image

from tests.fakes.images import save_image
from tests.fakes.processes import labelbeam
from tests.pipeline.jobs.test_demo_accuracy import average_precision, coco_results
from tests.same_tables import read_tables

SIZE_HW = (900, 1350)


@pytest.fixture(scope="module")
def scene():
    return draw_large_scene(2000, size_hw=SIZE_HW)


def found_share(scene, detections) -> float:
    """Share of the scene's objects that have a detection of their class with an IoU of 0.5."""
    boxes = detections[["x", "y", "w", "h"]].to_numpy(float)
    hits = 0
    for (ymin, xmin, ymax, xmax), class_id in zip(scene.boxes_yxyx, scene.class_ids, strict=True):
        same = boxes[detections["class_id"] == class_id]
        true = np.repeat([[xmin, ymin, xmax - xmin, ymax - ymin]], len(same), axis=0)
        hits += bool(len(same) and box_iou(true, same).max() > 0.5)
    return hits / len(scene.class_ids)


@pytest.mark.heavy
def test_tiles_find_what_the_whole_image_hides(scene, label, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(scene.image).save(tmp_path / "in" / "large.png")
    shares = {}
    for way, options in (("whole", []), ("tiles", ["--tiles", "auto"]), ("only", ["--tiles", "300", "--tiles-only"])):
        code, printed, labels = label(tmp_path / "in", detector="demo", output=way, options=options)
        assert code == 0, printed
        detections, masks = labels.frame("detections"), labels.frame("masks")
        shares[way] = found_share(scene, detections)
        assert (masks["height"] == SIZE_HW[0]).all() and (masks["width"] == SIZE_HW[1]).all()
        best = detections.merge(masks[["mask_ref", "counts"]], on="mask_ref").sort_values("score").iloc[-1]
        mask = decode_rle(best["counts"], *SIZE_HW)
        y, x = np.nonzero(mask)
        assert abs(x.min() - best["x"]) < 4 and abs(y.max() + 1 - best["y"] - best["h"]) < 4
    assert shares["tiles"] > 0.7 and shares["tiles"] > shares["whole"] + 0.3, shares
    assert shares["only"] > shares["whole"]


def test_it_is_part_of_the_label_set(image_folder, label, tmp_path):
    assert label(image_folder, options=["--tiles", "auto"])[0] == 0
    settings = json.loads((tmp_path / "out" / "_label_set.json").read_text())["settings"]
    assert settings["tiles"] == {"size_hw": [64, 64], "overlap": 0.2, "larger_tiles": True}
    code, printed, _ = label(image_folder, options=["--tiles", "auto", "--tiles-only"])
    assert code == 2 and "tiles" in printed
    code, printed, _ = label(image_folder, options=["--tiles", "auto", "--tile-overlap", "0.3"])
    assert code == 2 and "tiles" in printed
    code, printed, _ = label(image_folder)
    assert code == 2 and "tiles" in printed


@pytest.mark.heavy
def test_tables_are_the_same_on_two_runners(label, fake_detector, tmp_path):
    for number in range(6):
        save_image(tmp_path / "in" / f"{number}.png", number, (150 + 40 * number, 300))
    assert label(tmp_path / "in", options=["--tiles", "auto"])[0] == 0
    several = ["--runner-config", "multi_process", "--tiles", "auto", "--detector", fake_detector]
    with labelbeam("label", str(tmp_path / "in"), "-o", str(tmp_path / "several"), *several) as job:
        _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    tables = read_tables(tmp_path / "out")
    assert len(tables["images"]) == 6 and len(tables["detections"]) > 6 and len(tables["masks"]) > 6
    assert tables == read_tables(tmp_path / "several")


@pytest.mark.parametrize(
    "options, named",
    [
        (["--tiles", "auto", "--keep", "anchors"], "--keep anchors: is an output of one call"),
        (["--tiles", "auto", "--decode", "fast"], "--decode fast: decodes large images smaller"),
        (["--tiles", "auto", "--boxes", "boxes.csv"], "--boxes: box prompts belong to whole images"),
        (["--tiles-only"], "give --tiles with them"),
        (["--tiles", "30"], "--tiles 30: expected 64 pixels or more"),
        (["--tiles", "auto", "--tile-overlap", "0.9"], "--tile-overlap 0.9: expected a share"),
    ],
)
def test_what_doesnt_go_together_is_refused(image_folder, label, options, named):
    code, printed, _ = label(image_folder, options=options)
    assert code == 2 and named in printed


@pytest.mark.heavy
def test_average_precision_of_large_scenes(tmp_path, label, record_property):
    """Of six unseen scenes; docs/large-images.md has the figures of forty."""
    write_large_scenes(tmp_path / "scenes", range(6))
    options = ["--tiles", "auto", "--min-score", "0.05", "--max-detections", "500"]
    code, printed, labels = label(tmp_path / "scenes" / "*.jpg", detector="demo", options=options)
    assert code == 0, printed
    results = coco_results(labels, {f"large-{seed:04d}.jpg": seed for seed in range(6)})
    found = average_precision(str(tmp_path / "scenes" / "instances.json"), results, max_detections=500)
    record_property("average precision", json.dumps(found))
    assert found["bbox"] >= 0.70 and found["segm"] >= 0.65, found
