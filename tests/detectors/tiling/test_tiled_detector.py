"""Tiles through a detector that finds coloured rectangles exactly, so that what comes out can be foretold."""

from dataclasses import replace

import numpy as np
import pytest
from labelbeam.detectors.protocol import Detections, Detector
from labelbeam.detectors.tiling import detector
from labelbeam.detectors.tiling.detector import TiledDetector
from labelbeam.detectors.tiling.masks import relative_to_boxes
from labelbeam.detectors.tiling.options import TileOptions

TILE = TileOptions((100, 100), 0.3)


class Rectangles:
    """Finds each colour's rectangle, whose red value is its class; in an image shrunk to 100 pixels, as detectors do.

    Sides of less than 3 pixels after shrinking are missed. The score is higher the more pixels are seen.
    """

    batches = True

    def __init__(self):
        self.calls = []

    def detect(self, images):
        self.calls.append([image.shape[:2] for image in images])
        return [self._detect(image) for image in images]

    def _detect(self, image):
        factor = max(1.0, max(image.shape[:2]) / 100)
        rows = []
        red = np.where(image[..., 1] == 255, image[..., 0], 0)  # pixels that reducing has mixed have less green
        for class_id in np.unique(red[red > 0]):
            ys, xs = np.nonzero(red == class_id)
            box = np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1], np.float32)
            if min(box[2] - box[0], box[3] - box[1]) / factor >= 3:
                rows.append((len(ys) / factor**2 / 20_000, class_id, box / np.tile(image.shape[:2], 2)))
        rows.sort(key=lambda row: -row[0])
        return Detections(
            np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[1] for row in rows], np.int32),
            np.array([row[0] for row in rows], np.float32),
            np.array([np.full((4, 4), row[1] / 255) for row in rows], np.float32).reshape(-1, 4, 4),
        )


def scene(height, width, *boxes):
    image = np.zeros((height, width, 3), np.uint8)
    for class_id, (ymin, xmin, ymax, xmax) in enumerate(boxes, start=1):
        image[ymin:ymax, xmin:xmax] = (class_id, 255, 0)
    return image


def found(image, tiles=TILE, max_detections=100):
    [detections] = TiledDetector(Rectangles(), tiles, max_detections).detect([image])
    sizes = np.tile(np.array(image.shape[:2], np.float32), 2)
    return {
        int(class_id): tuple(np.round(box * sizes).astype(int).tolist())
        for class_id, box in zip(detections.class_ids, detections.boxes_yxyx, strict=True)
    }, detections


def test_is_a_detector():
    assert isinstance(TiledDetector(Rectangles(), TILE, 100), Detector)


def test_small_things_that_the_whole_image_hides_are_found_once_each():
    boxes = [(10, 10, 20, 22), (500, 700, 512, 708), (340, 65, 352, 80), (590, 790, 600, 800)]
    image = scene(600, 800, *boxes)
    assert len(Rectangles().detect([image])[0]) == 0
    assert found(image)[0] == dict(enumerate(boxes, start=1))
    assert len(found(image)[1]) == len(boxes)


def test_wherever_it_lies_an_object_that_fits_the_overlap_is_seen_whole():
    for y in range(0, 180, 7):
        box = (y, 2 * y, y + 20, 2 * y + 25)
        boxes, detections = found(scene(200, 400, box))
        assert boxes == {1: box} and len(detections) == 1


def test_what_is_larger_than_a_tile_is_one_object():
    box = (20, 30, 280, 350)
    boxes, detections = found(scene(300, 400, box))
    assert len(detections) == 1
    assert np.abs(np.array(boxes[1]) - box).max() <= 3  # seen in thirds


def test_without_the_whole_image_parts_stay():
    """None sees it whole: it isn't lost, and parts of one tile don't hide those of the next."""
    _, detections = found(scene(300, 400, (20, 30, 280, 350)), TileOptions((100, 100), 0.3, larger_tiles=False))
    assert len(detections) >= 1


def test_neighbours_of_a_class_stay_two():
    image = scene(200, 200, (50, 40, 80, 70), (50, 75, 80, 105))
    image[image[..., 0] == 2] = (1, 255, 0)

    class OneClass(Rectangles):
        def _detect(self, image):  # connected runs of columns
            columns = np.flatnonzero((image[..., 1] == 255).any(axis=0))
            parts = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
            rows = []
            for part in parts:
                ys = np.flatnonzero((image[:, part, 1] == 255).any(axis=1))
                rows.append([ys[0], part[0], ys[-1] + 1, part[-1] + 1])
            n = len(rows)
            boxes = np.array(rows, np.float32).reshape(-1, 4) / np.tile(np.array(image.shape[:2], np.float32), 2)
            return Detections(boxes, np.ones(n, np.int32), np.full(n, 0.5, np.float32))

    [detections] = TiledDetector(OneClass(), TILE, 100).detect([image])
    boxes = np.round(detections.boxes_yxyx * 200).astype(int).tolist()
    assert sorted(boxes) == [[50, 40, 80, 70], [50, 75, 80, 105]]
    assert detections.masks is None


def test_masks_and_classes_stay_with_their_boxes():
    image = scene(300, 300, *[(y, x, y + 12, x + 15) for y in (5, 90, 200) for x in (5, 88, 250)])
    _, detections = found(image)
    assert sorted(detections.class_ids) == list(range(1, 10))
    np.testing.assert_allclose(detections.masks[:, 0, 0], detections.class_ids / 255, rtol=1e-6)


def test_at_most_so_many_an_image_the_best_ones():
    boxes = [(y, x, y + 10 + x // 30, x + 12) for y in range(0, 180, 40) for x in range(0, 280, 40)]
    _, many = found(scene(200, 300, *boxes))
    _, few = found(scene(200, 300, *boxes), max_detections=2)
    assert len(many) == len(boxes) and len(few) == 2
    np.testing.assert_array_equal(few.scores, many.scores[:2])


def test_tiles_of_several_images_share_calls_and_results_dont_depend_on_it():
    images = [scene(150, 150, (10, 10, 30, 30)), scene(90, 100, (5, 5, 20, 20)), scene(250, 100, (200, 10, 240, 50))]
    inner = Rectangles()
    together = TiledDetector(inner, TILE, 100).detect(images)
    assert inner.calls == [[(100, 100)] * 4 + [(150, 150)] + [(90, 100)] + [(100, 100)] * 4 + [(250, 100)]]
    for image, detections in zip(images, together, strict=True):
        [alone] = TiledDetector(Rectangles(), TILE, 100).detect([image])
        np.testing.assert_array_equal(alone.boxes_yxyx, detections.boxes_yxyx)
    assert TiledDetector(Rectangles(), TILE, 100).detect([]) == []


def test_an_image_no_larger_than_a_tile_costs_one_look_and_is_the_detectors_own_answer():
    inner = Rectangles()
    image = scene(100, 80, (10, 10, 30, 30))
    [detections] = TiledDetector(inner, TILE, 100).detect([image])
    assert inner.calls == [[(100, 80)]]
    np.testing.assert_array_equal(detections.boxes_yxyx, Rectangles().detect([image])[0].boxes_yxyx)


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_found_is_nothing(whole):
    _, detections = found(scene(300, 300), TileOptions((100, 100), 0.3, whole))
    assert len(detections) == 0 and detections.boxes_yxyx.shape == (0, 4) and detections.masks.shape == (0, 4, 4)


def test_masks_of_whole_tiles_are_relative_to_the_boxes_afterwards():
    class LeftHalves(Rectangles):
        def _detect(self, image):
            found = super()._detect(image)
            masks = np.zeros((len(found), *image.shape[:2]), np.float32)
            for mask, box in zip(
                masks, np.round(found.boxes_yxyx * np.tile(image.shape[:2], 2)).astype(int), strict=True
            ):
                mask[box[0] : box[2], box[1] : (box[1] + box[3]) // 2] = 1
            return replace(found, masks=masks, mask_boxes_yxyx=np.tile(np.float32([0, 0, 1, 1]), (len(found), 1)))

    image = scene(170, 230, (10, 20, 40, 80), (120, 150, 160, 190), (60, 90, 120, 140))
    [detections] = TiledDetector(LeftHalves(), TILE, 100).detect([image])
    assert len(detections) == 3 and detections.mask_boxes_yxyx is None
    assert detections.masks.shape == (3, 64, 64)
    assert (detections.masks[:, 3:-3, 3:28] == 1).all() and (detections.masks[:, :, 36:] == 0).all()


def test_a_mask_s_grid_begins_and_ends_on_its_box_s_edges():
    ramp = np.broadcast_to(np.linspace(0, 1, 101, dtype=np.float32), (1, 51, 101))
    [grid] = relative_to_boxes(ramp, np.float32([[0, 0, 1, 1]]), np.float32([[0.1, 0.25, 0.9, 0.75]]))
    np.testing.assert_allclose(grid, np.broadcast_to(np.linspace(0.25, 0.75, 64), (64, 64)), atol=1e-5)


def test_of_large_tiles_fewer_are_handed_on_together(monkeypatch):
    image = scene(300, 400, (20, 30, 40, 50), (200, 310, 230, 350))
    expected, inner = found(image)[1], Rectangles()
    monkeypatch.setattr(detector, "TILE_BYTES_AT_ONCE", 4 * 3 * 100 * 100)
    [detections] = TiledDetector(inner, TILE, 100).detect([image])
    assert {len(call) for call in inner.calls[:-1]} == {4} and len(inner.calls[-1]) <= 4
    np.testing.assert_array_equal(detections.boxes_yxyx, expected.boxes_yxyx)
