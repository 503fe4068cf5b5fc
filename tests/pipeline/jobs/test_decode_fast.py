"""`--decode fast`: labels of reduced images, in the full image's pixels."""

import json

import numpy as np
import pytest
from labelbeam.detectors.demo.scenes import draw_scene
from labelbeam.labelset.masks import decode_rle
from labelbeam.results.matching import box_iou
from PIL import Image

from tests.fixtures.jobs import configured

SIZE_HW = (1283, 1717)  # odd, and more than four times what the demo detector sees


@pytest.fixture
def large_scenes(tmp_path):
    """Three scenes as a camera held upright stores them: turned, with orientation 6."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for seed in (3, 4, 5):
        upright = Image.fromarray(draw_scene(seed, size_hw=SIZE_HW, num_objects=7).image)
        upright.transpose(Image.Transpose.ROTATE_90).save(folder / f"{seed}.jpg", quality=90, exif=exif)
    return folder


@pytest.mark.heavy
def test_labels_of_large_images_are_nearly_those_of_exact_decoding(large_scenes, label):
    found = {}
    for way in ("exact", "fast"):
        code, printed, labels = label(large_scenes, detector="demo", output=way, options=["--decode", way])
        assert code == 0, printed
        images = labels.frame("images")
        assert (images["height"] == SIZE_HW[0]).all() and (images["width"] == SIZE_HW[1]).all()
        masks = labels.frame("masks")
        assert (masks["height"] == SIZE_HW[0]).all() and (masks["width"] == SIZE_HW[1]).all()
        found[way] = labels.frame("detections").merge(masks[["mask_ref", "counts"]], on="mask_ref")
    exact, fast = found["exact"], found["fast"]
    certain = exact[exact["score"] >= 0.5]
    assert len(certain) >= 9
    for row in certain.itertuples():
        same = fast[(fast["image_id"] == row.image_id) & (fast["class_id"] == row.class_id)]
        boxes = same[["x", "y", "w", "h"]].to_numpy(float)
        overlaps = box_iou(np.repeat([[row.x, row.y, row.w, row.h]], len(boxes), axis=0), boxes)
        assert overlaps.max() > 0.9, row
        pasted, other = (
            decode_rle(counts, *SIZE_HW) for counts in (row.counts, same["counts"].iloc[overlaps.argmax()])
        )
        assert (pasted & other).sum() / (pasted | other).sum() > 0.9, row


def test_it_is_part_of_the_label_set(image_folder, label, tmp_path):
    assert label(image_folder, options=["--decode", "fast"])[0] == 0
    settings = json.loads((tmp_path / "out" / "_label_set.json").read_text())["settings"]
    assert settings["decode"] == "fast, for 64×64 stretch"
    code, printed, _ = label(image_folder)
    assert code == 2
    assert 'decode ("fast, for 64×64 stretch" there, "exact" now)' in printed


def test_a_detector_of_unknown_input_size_is_refused(image_folder, label, tmp_path):
    path = configured(tmp_path)
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("input_size_hw: [64, 64]\nresize: stretch\n", ""))
    code, printed, _ = label(image_folder, detector=path, options=["--decode", "fast"])
    assert code == 2
    assert "detector fake doesn't say to which size it resizes" in printed and "--decode exact" in printed
    assert label(image_folder, detector=path)[0] == 0
