"""Draws scenes of toys on textured surfaces, with exact boxes and masks: the training and test data of the demo
detector.

A scene is a function of its seed alone, so that a data set is a range of integers. The objects overlap, cast shadows,
reach over the border, and measure from 16 pixels to half the image. The ground truth is modal: the mask is what can
be seen of an object, the box is tight around it. Scores on these scenes only tell whether a pipeline labels well
what it was given.
"""

from dataclasses import dataclass

import numpy as np

from .shapes import CLASS_NAMES
from .toys import Toy, overlap, paint_scene, place, tight_box, visible_part

EVALUATION_SEEDS = range(200)
"""The unseen scenes that scores are quoted for."""
TRAINING_SEEDS_START = 1_000_000
"""Training scenes have this seed and higher ones."""

MIN_SIZE = 16
"""Longer side of the smallest object before anything hides it, in pixels."""
MAX_OBJECTS = 16
"""The largest number of objects in a scene."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what is in it. N objects, ordered from the hindmost to the foremost.

    Attributes:
        seed: what it was drawn from.
        image: uint8 [H, W, 3], RGB.
        boxes_yxyx: float32 [N, 4], pixels: edges of the visible region, so that `ymax - ymin` counts its rows.
        class_ids: int32 [N], 1 is `CLASS_NAMES[0]`.
        masks: bool [N, H, W], the visible regions; they don't overlap.
    """

    seed: int
    image: np.ndarray
    boxes_yxyx: np.ndarray
    class_ids: np.ndarray
    masks: np.ndarray


def draw_scene(seed: int, *, size_hw: tuple[int, int] | None = None, num_objects: int | None = None) -> Scene:
    """Draws the scene of a seed.

    Args:
        seed: non-negative integer; the same seed and options give the same scene. size_hw: size of the image; by
          default both sides are drawn from 240 to 480 pixels, at most 2:1 apart. num_objects: how many objects to
          place, at most `MAX_OBJECTS`; by default 1 to 14. Those that end up mostly hidden are taken
            away, so a scene may have fewer (and, rarely, none).

    Raises:
        ValueError: a side is under 64 pixels, or there are too many objects.
    """
    rng = np.random.default_rng(seed)
    height, width = size_hw or _random_size(rng)
    if min(height, width) < 64:
        raise ValueError(f"size_hw={size_hw}: both sides must be at least 64 pixels")
    if num_objects is None:
        num_objects = int(np.ceil(14 * rng.random() ** 1.3 + 1e-9))
    if num_objects > MAX_OBJECTS:
        raise ValueError(f"num_objects={num_objects}: at most {MAX_OBJECTS}")
    sizes = (MIN_SIZE, min(height, width) / 2)
    toys = [place(rng, (height, width), sizes) for _ in range(num_objects)]
    # Mostly large below small, as things are put on a table, but not always.
    toys.sort(key=lambda toy: -toy.size * rng.uniform(0.6, 1.7))
    toys, masks = _without_hidden(toys, (height, width))
    image = paint_scene(rng, toys, (height, width))
    boxes_yxyx = np.array([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    class_ids = np.array([CLASS_NAMES.index(toy.class_name) + 1 for toy in toys], np.int32)
    return Scene(seed, image, boxes_yxyx, class_ids, masks)


def _random_size(rng: np.random.Generator) -> tuple[int, int]:
    while True:
        height, width = (int(side) for side in rng.integers(240, 481, 2))
        if max(height, width) <= 2 * min(height, width):
            return height, width


def _without_hidden(toys: list[Toy], size_hw: tuple[int, int]) -> tuple[list[Toy], np.ndarray]:
    """Takes away what is mostly hidden, foremost first, so that everything painted is also labelled."""
    covered = np.zeros(size_hw, bool)
    kept, masks = [], []
    for toy in reversed(toys):
        visible = visible_part(toy, covered)
        if visible is None:
            continue
        mask = np.zeros(size_hw, bool)
        target, _ = overlap(toy.origin_yx, toy.distance.shape, size_hw)
        mask[target] = visible
        kept.append(toy)
        masks.append(mask)
    return kept[::-1], np.array(masks[::-1], bool).reshape(-1, *size_hw)
