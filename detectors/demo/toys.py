"""Toys with a place in a scene: drawn at random, painted with their shadows, and what a camera adds to the whole."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .shapes import CLASS_NAMES, PlacedShape, random_shape
from .textures import BACKGROUNDS, noise, paint, random_colour

_MIN_VISIBLE_SHARE, _MIN_VISIBLE_SIDES = 0.4, (6, 12)


@dataclass(frozen=True, eq=False)
class Toy:
    """An object with its place: `distance` covers the patch whose first pixel is `origin_yx`, margin for the shadow
    included."""

    class_name: str
    shape: PlacedShape
    size: float
    angle: float
    centre_yx: tuple[float, float]
    origin_yx: tuple[int, int]
    distance: np.ndarray


def place(rng: np.random.Generator, size_hw: tuple[int, int], sizes: tuple[float, float]) -> Toy:
    """A toy of any class at a random place of the image; up to a fifth of it may lie outside.

    Args:
        rng: source of randomness.
        size_hw: of the image, in pixels.
        sizes: the longer side of the smallest and of the largest toy, in pixels.
    """
    height, width = size_hw
    smallest, largest = sizes
    class_name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
    # Between uniform in the logarithm (mostly small) and uniform (hardly any small).
    size = float(smallest * (largest / smallest) ** (rng.random() ** 0.6))
    angle = rng.uniform(0, 2 * np.pi)
    shape = random_shape(class_name, rng).placed(size, angle)
    centre_y, centre_x = rng.uniform(0.3 * size, height - 0.3 * size), rng.uniform(0.3 * size, width - 0.3 * size)
    reach = size / 2 + 4 + 0.25 * size
    top, left = int(np.floor(centre_y - reach)), int(np.floor(centre_x - reach))
    side = int(np.ceil(2 * reach)) + 1
    y = (np.arange(top, top + side) + 0.5 - centre_y).astype(np.float32)
    x = (np.arange(left, left + side) + 0.5 - centre_x).astype(np.float32)
    distance = shape.distance(*np.meshgrid(x, y))
    return Toy(class_name, shape, size, angle, (centre_y, centre_x), (top, left), distance)


def visible_part(toy: Toy, covered: np.ndarray) -> np.ndarray | None:
    """What can be seen of a toy, bool of its patch's part inside the image; None if that is too little to label.

    Args:
        toy: the foremost that isn't painted yet.
        covered: bool [H, W], what toys before it cover. Its own outline is added if it can be seen.
    """
    inside = toy.distance < 0
    target, source = overlap(toy.origin_yx, inside.shape, covered.shape)
    visible = inside[source] & ~covered[target]
    if visible.sum() < max(_MIN_VISIBLE_SHARE * inside.sum(), 1):
        return None
    ymin, xmin, ymax, xmax = tight_box(visible)
    sides = (ymax - ymin, xmax - xmin)
    if min(sides) < _MIN_VISIBLE_SIDES[0] or max(sides) < _MIN_VISIBLE_SIDES[1]:
        return None
    covered[target] |= inside[source]
    return visible


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Edges (ymin, xmin, ymax, xmax) in pixels around the True cells of a bool [H, W] mask, which must have some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def overlap(origin_yx: tuple[int, int], patch_hw: tuple[int, int], size_hw: tuple[int, int]):
    """Slices of the image and of a patch at `origin_yx` where they overlap."""
    target, source = [], []
    for start, length, limit in zip(origin_yx, patch_hw, size_hw, strict=True):
        low, high = max(start, 0), min(start + length, limit)
        target.append(slice(low, max(high, low)))
        source.append(slice(low - start, max(high, low) - start))
    return tuple(target), tuple(source)


def paint_scene(rng: np.random.Generator, toys: list[Toy], size_hw: tuple[int, int]) -> np.ndarray:
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


def _cast_shadow(canvas: np.ndarray, toy: Toy, light: np.ndarray, strength: float) -> None:
    offset_yx = [round(-light[axis] * (1.5 + 0.07 * toy.size)) for axis in (1, 0)]
    origin_yx = (toy.origin_yx[0] + offset_yx[0], toy.origin_yx[1] + offset_yx[1])
    target, source = overlap(origin_yx, toy.distance.shape, canvas.shape[:2])
    softness = 2 + 0.06 * toy.size
    shade = np.clip(0.5 - toy.distance[source] / (2 * softness), 0, 1)
    canvas[target] *= (1 - strength * shade**1.5)[..., None]


def _paint_toy(rng: np.random.Generator, canvas: np.ndarray, toy: Toy, light: np.ndarray, ambient: float) -> None:
    target, source = overlap(toy.origin_yx, toy.distance.shape, canvas.shape[:2])
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


def _shading(toy: Toy, light: np.ndarray, bevel: float) -> tuple[np.ndarray, np.ndarray]:
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
