"""Scenes: repeatable, labelled exactly, as varied as promised."""

import json

import numpy as np
import pytest
from labelbeam.detectors.demo.dataset import coco_instances, run_lengths, write_scenes
from labelbeam.detectors.demo.large_scenes import draw_large_scene, patch_run_lengths
from labelbeam.detectors.demo.scenes import EVALUATION_SEEDS, TRAINING_SEEDS_START, draw_scene
from labelbeam.detectors.demo.shapes import CLASS_NAMES, polygon_distance, random_shape
from labelbeam.detectors.demo.toys import tight_box
from PIL import Image


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(seed) for seed in range(40)]


def test_a_seed_always_gives_the_same_scene(scenes):
    again = draw_scene(scenes[3].seed)
    for name in ("image", "boxes_yxyx", "class_ids", "masks"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scenes[3], name))
    assert not np.array_equal(draw_scene(4, size_hw=(240, 240)).image, draw_scene(5, size_hw=(240, 240)).image)


def test_boxes_are_tight_around_the_visible_regions(scenes):
    for scene in scenes:
        count = len(scene.class_ids)
        assert scene.image.dtype == np.uint8 and scene.boxes_yxyx.dtype == np.float32
        assert scene.boxes_yxyx.shape == (count, 4) and scene.masks.shape == (count, *scene.image.shape[:2])
        assert scene.masks.sum(axis=0).max(initial=0) <= 1, "two objects are visible in one pixel"
        assert np.isin(scene.class_ids, np.arange(1, len(CLASS_NAMES) + 1)).all()
        for box, mask in zip(scene.boxes_yxyx.astype(int), scene.masks, strict=True):
            ymin, xmin, ymax, xmax = box
            assert mask.sum() == mask[ymin:ymax, xmin:xmax].sum()
            inside = mask[ymin:ymax, xmin:xmax]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            assert max(ymax - ymin, xmax - xmin) >= 12


def test_images_and_objects_have_many_sizes(scenes):
    shapes = np.array([scene.image.shape[:2] for scene in scenes])
    assert shapes.min() >= 240 and shapes.max() <= 480
    aspects = shapes[:, 0] / shapes[:, 1]
    assert aspects.min() < 0.8 and aspects.max() > 1.25 and aspects.min() >= 0.5 and aspects.max() <= 2
    longer = [np.max(scene.boxes_yxyx[:, 2:] - scene.boxes_yxyx[:, :2], axis=1) for scene in scenes]
    shares = [sides / min(scene.image.shape[:2]) for sides, scene in zip(longer, scenes, strict=True)]
    assert np.concatenate(longer).min() < 24
    assert 0.4 < np.concatenate(shares).max() <= 0.52
    assert {int(class_id) for scene in scenes for class_id in scene.class_ids} == set(range(1, len(CLASS_NAMES) + 1))


def test_objects_overlap_in_some_scenes(scenes):
    def overlapping(scene):
        low = np.maximum(scene.boxes_yxyx[:, None, :2], scene.boxes_yxyx[None, :, :2])
        high = np.minimum(scene.boxes_yxyx[:, None, 2:], scene.boxes_yxyx[None, :, 2:])
        return ((high - low) > 4).all(axis=-1).sum() > len(scene.class_ids)

    assert sum(overlapping(scene) for scene in scenes) > len(scenes) / 4


def test_options():
    assert draw_scene(1, size_hw=(100, 300), num_objects=0).image.shape == (100, 300, 3)
    assert draw_scene(1, size_hw=(100, 300), num_objects=0).masks.shape == (0, 100, 300)
    with pytest.raises(ValueError, match="64 pixels"):
        draw_scene(1, size_hw=(20, 300))
    with pytest.raises(ValueError, match="at most 16"):
        draw_scene(1, num_objects=17)


def test_evaluation_scenes_are_not_trained_on():
    assert max(EVALUATION_SEEDS) < TRAINING_SEEDS_START


def test_polygon_distance_of_a_square():
    square = np.float32([(-2, -2), (2, -2), (2, 2), (-2, 2)])
    x, y = np.float32([0, 1, 3, 5]), np.float32([0, 0, 0, 6])
    np.testing.assert_allclose(polygon_distance(square, x, y), [-2, -1, 1, 5])


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_placed_shapes_have_the_size_asked_for(class_name):
    shape = random_shape(class_name, np.random.default_rng(0)).placed(60.0, 0.7)
    x, y = np.meshgrid(np.arange(-40, 40, dtype=np.float32) + 0.5, np.arange(-40, 40, dtype=np.float32) + 0.5)
    ymin, xmin, ymax, xmax = tight_box(shape.distance(x, y) < 0)
    assert 58 <= max(ymax - ymin, xmax - xmin) <= 61


def test_run_lengths_go_down_the_columns_and_start_with_false():
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}
    assert run_lengths(np.zeros((2, 3), bool)) == {"size": [2, 3], "counts": [6]}


def test_ground_truth_says_the_same_to_pycocotools(scenes):
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = coco_instances(scenes[:3])
    coco.createIndex()
    for scene in scenes[:3]:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=scene.seed))
        assert len(annotations) == len(scene.class_ids)
        for annotation, mask in zip(annotations, scene.masks, strict=True):
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            assert annotation["area"] == mask.sum()


def test_written_scenes(tmp_path):
    paths = write_scenes(tmp_path, [7, 8])
    truth = json.loads((tmp_path / "instances.json").read_text())
    assert [image["file_name"] for image in truth["images"]] == [path.name for path in paths]
    for image, path in zip(truth["images"], paths, strict=True):
        assert Image.open(path).size == (image["width"], image["height"])
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_scenes(tmp_path / "again", [7, 8], with_truth=False)] == first
    assert not (tmp_path / "again" / "instances.json").exists()


@pytest.mark.heavy
def test_large_scenes_follow_from_their_seed_and_keep_masks_as_patches():
    scene, again = (draw_large_scene(3, size_hw=(700, 1000)) for _ in range(2))
    np.testing.assert_array_equal(scene.image, again.image)
    assert scene.image.shape == (700, 1000, 3) and len(scene.class_ids) >= 20
    covered = np.zeros((700, 1000), np.int32)
    for box, (origin_yx, patch) in zip(scene.boxes_yxyx, scene.masks, strict=True):
        mask = np.zeros((700, 1000), bool)
        mask[origin_yx[0] : origin_yx[0] + patch.shape[0], origin_yx[1] : origin_yx[1] + patch.shape[1]] = patch
        assert tight_box(mask) == tuple(box)
        assert patch_run_lengths(origin_yx, patch, (700, 1000)) == run_lengths(mask)
        covered += mask
    assert covered.max() == 1
