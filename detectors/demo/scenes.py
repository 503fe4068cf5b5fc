"""Draws scenes of toys on textured surfaces, with exact boxes and masks: the training and test data of the demo
detector.

A scene is a function of its seed alone, so that a data set is a range of integers. The objects overlap, cast shadows,
reach over the border, and measure from 16 pixels to half the image. The ground truth is modal: the mask is what can
be seen of an object, the box is tight around it. Don't take scores on these scenes for scores on photographs: they
only tell whether a pipeline labels well what it was given.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .shapes import CLASS_NAMES, PlacedShape, random_shape
from .textures import BACKGROUNDS, noise, paint, random_colour

EVALUATION_SEEDS = range(200)
"""The unseen scenes that scores are quoted for."""
TRAINING_SEEDS_START = 1_000_000
"""Training scenes have this seed and higher ones."""

MIN_SIZE = 16
"""Longer side of the smallest object before anything hides it, in pixels."""
MAX_OBJECTS = 16
"""The largest number of objects in a scene."""
_MIN_VISIBLE_SHARE, _MIN_VISIBLE_SIDES = 0.4, (6, 12)


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


@dataclass(frozen=True, eq=False)
class _Toy:
    """An object with its place: `distance` covers the patch whose first pixel is `origin_yx`, margin for the shadow
    included."""

    class_name: str
    shape: PlacedShape
    size: float
    angle: float
    centre_yx: tuple[float, float]
    origin_yx: tuple[int, int]
    distance: np.ndarray


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
    toys = [_place(rng, (height, width)) for _ in range(num_objects)]
    # Mostly large below small, as things are put on a table, but not always.
    toys.sort(key=lambda toy: -toy.size * rng.uniform(0.6, 1.7))
    toys, masks = _without_hidden(toys, (height, width))
    image = _paint_scene(rng, toys, (height, width))
    boxes_yxyx = np.array([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    class_ids = np.array([CLASS_NAMES.index(toy.class_name) + 1 for toy in toys], np.int32)
    return Scene(seed, image, boxes_yxyx, class_ids, masks)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Edges (ymin, xmin, ymax, xmax) in pixels around the True cells of a bool [H, W] mask, which must have some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def _random_size(rng: np.random.Generator) -> tuple[int, int]:
    while True:
        height, width = (int(side) for side in rng.integers(240, 481, 2))
        if max(height, width) <= 2 * min(height, width):
            return height, width


def _place(rng: np.random.Generator, size_hw: tuple[int, int]) -> _Toy:
    height, width = size_hw
    class_name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
    # Between uniform in the logarithm (mostly small) and uniform (hardly any small).
    size = float(MIN_SIZE * (min(size_hw) / 2 / MIN_SIZE) ** (rng.random() ** 0.6))
    angle = rng.uniform(0, 2 * np.pi)
    shape = random_shape(class_name, rng).placed(size, angle)
    # Up to a fifth of an object may lie outside the image.
    centre_y, centre_x = rng.uniform(0.3 * size, height - 0.3 * size), rng.uniform(0.3 * size, width - 0.3 * size)
    reach = size / 2 + 4 + 0.25 * size
    top, left = int(np.floor(centre_y - reach)), int(np.floor(centre_x - reach))
    side = int(np.ceil(2 * reach)) + 1
    y = (np.arange(top, top + side) + 0.5 - centre_y).astype(np.float32)
    x = (np.arange(left, left + side) + 0.5 - centre_x).astype(np.float32)
    distance = shape.distance(*np.meshgrid(x, y))
    return _Toy(class_name, shape, size, angle, (centre_y, centre_x), (top, left), distance)


def _without_hidden(toys: list[_Toy], size_hw: tuple[int, int]) -> tuple[list[_Toy], np.ndarray]:
    """Takes away what is mostly hidden, foremost first, so that everything painted is also labelled."""
    covered = np.zeros(size_hw, bool)
    kept, masks = [], []
    for toy in reversed(toys):
        inside = toy.distance < 0
        whole = np.zeros(size_hw, bool)
        target, source = _overlap(toy.origin_yx, inside.shape, size_hw)
        whole[target] = inside[source]
        visible = whole & ~covered
        if visible.sum() < max(_MIN_VISIBLE_SHARE * inside.sum(), 1):
            continue
        ymin, xmin, ymax, xmax = tight_box(visible)
        if (
            min(ymax - ymin, xmax - xmin) < _MIN_VISIBLE_SIDES[0]
            or max(ymax - ymin, xmax - xmin) < _MIN_VISIBLE_SIDES[1]
        ):
            continue
        covered |= whole
        kept.append(toy)
        masks.append(visible)
    return kept[::-1], np.array(masks[::-1], bool).reshape(-1, *size_hw)


def _overlap(origin_yx: tuple[int, int], patch_hw: tuple[int, int], size_hw: tuple[int, int]):
    """Slices of the image and of a patch at `origin_yx` where they overlap."""
    target, source = [], []
    for start, length, limit in zip(origin_yx, patch_hw, size_hw, strict=True):
        low, high = max(start, 0), min(start + length, limit)
        target.append(slice(low, max(high, low)))
        source.append(slice(low - start, max(high, low) - start))
    return tuple(target), tuple(source)


def _paint_scene(rng: np.random.Generator, toys: list[_Toy], size_hw: tuple[int, int]) -> np.ndarray:
    """Background, shadows, objects, then what a camera adds. Returns uint8 [H, W, 3]."""
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    canvas = np.clip(background(rng, size_hw), 0, 1).astype(np.float32)
    if rng.random() < 0.4:
        canvas = _blurred(canvas, rng.uniform(0.5, 2.5))
    light_angle = rng.uniform(0, 2 * np.pi)
    light = np.float32([np.cos(light_angle) * 0.6, np.sin(light_angle) * 0.6, 0.8])
    ambient, shadow_strength = rng.uniform(0.35, 0.6), rng.uniform(0.25, 0.6)
    for toy in toys:
        _cast_shadow(canvas, toy, light, shadow_strength)
        _paint_toy(rng, canvas, toy, light, ambient)
    return _photographed(rng, canvas)


def _cast_shadow(canvas: np.ndarray, toy: _Toy, light: np.ndarray, strength: float) -> None:
    offset_yx = [round(-light[axis] * (1.5 + 0.07 * toy.size)) for axis in (1, 0)]
    origin_yx = (toy.origin_yx[0] + offset_yx[0], toy.origin_yx[1] + offset_yx[1])
    target, source = _overlap(origin_yx, toy.distance.shape, canvas.shape[:2])
    softness = 2 + 0.06 * toy.size
    shade = np.clip(0.5 - toy.distance[source] / (2 * softness), 0, 1)
    canvas[target] *= (1 - strength * shade**1.5)[..., None]


def _paint_toy(rng: np.random.Generator, canvas: np.ndarray, toy: _Toy, light: np.ndarray, ambient: float) -> None:
    target, source = _overlap(toy.origin_yx, toy.distance.shape, canvas.shape[:2])
    below = canvas[target].mean(axis=(0, 1))
    for _ in range(6):  # Something one can tell from what lies below it.
        colour = random_colour(rng, (0.25, 0.95), (0.3, 1.0))
        if np.abs(colour - below).sum() > 0.55:
            break
    side = toy.distance.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    y, x = y + toy.origin_yx[0] + 0.5 - toy.centre_yx[0], x + toy.origin_yx[1] + 0.5 - toy.centre_yx[1]
    cos, sin = np.cos(toy.angle), np.sin(toy.angle)
    surface = paint(
        rng, colour, (x * cos + y * sin).astype(np.float32), (y * cos - x * sin).astype(np.float32), toy.size
    )
    diffuse, gloss = _shading(toy, light, rng.uniform(0.08, 0.2))
    shaded = surface * (ambient + (1.05 - ambient) * diffuse)[..., None] + (rng.uniform(0.0, 0.6) * gloss)[..., None]
    coverage = np.clip(0.5 - toy.distance, 0, 1)[..., None]
    canvas[target] = canvas[target] * (1 - coverage[source]) + np.clip(shaded[source], 0, 1) * coverage[source]


def _shading(toy: _Toy, light: np.ndarray, bevel: float) -> tuple[np.ndarray, np.ndarray]:
    """Lambert's diffuse and Blinn's specular term, float32 [H, W] each, of a rounded body above the outline."""
    depth = np.maximum(-toy.distance, 0)
    rounding = toy.size / 2 if toy.class_name == "ball" else max(bevel * toy.size, 2.0)
    rise = np.clip(depth / rounding, 0, 1)
    height = rounding * np.sqrt(1 - (1 - rise) ** 2)
    slope_y, slope_x = np.gradient(height)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    normal = -slope_x / length, -slope_y / length, 1 / length
    halfway = (light + np.float32([0, 0, 1])) / np.linalg.norm(light + np.float32([0, 0, 1]))
    diffuse = np.clip(sum(part * towards for part, towards in zip(normal, light, strict=True)), 0, 1)
    gloss = np.clip(sum(part * towards for part, towards in zip(normal, halfway, strict=True)), 0, 1) ** 30
    return diffuse.astype(np.float32), gloss.astype(np.float32)


def _photographed(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Uneven light, vignette, colour cast, slight blur and sensor noise."""
    height, width = canvas.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 + rng.uniform(-0.2, 0.2) * x + rng.uniform(-0.2, 0.2) * y - rng.uniform(0, 0.22) * (x**2 + y**2)
    light = light + rng.uniform(0, 0.2) * (noise(rng, (height, width), (160, 160), 2) - 0.5)
    canvas = canvas * light[..., None] * rng.uniform(0.92, 1.08, 3).astype(np.float32) * rng.uniform(0.85, 1.15)
    canvas = _blurred(np.clip(canvas, 0, 1), rng.uniform(0, 0.9))
    canvas = canvas + rng.normal(0, 1, canvas.shape).astype(np.float32) * rng.uniform(0, 0.02)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blurred(canvas: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((canvas * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
