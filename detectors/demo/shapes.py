"""The outlines of the objects in the demo scenes, as signed distances.

A signed distance (negative inside, in pixels) answers everything that the painter of `scenes` asks about an object:
anti-aliased coverage, a bevel for the shading, a soft shadow, and the exact mask. Don't use this for collision or
geometry elsewhere: distances are to the outline's straight segments, good to a fraction of a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CLASS_NAMES = ("ball", "block", "triangle", "star", "ring", "heart", "arrow")
"""Names of the classes, in the order of their ids: `CLASS_NAMES[0]` has id 1."""


@dataclass(frozen=True, eq=False)
class Shape:
    """One object's outline, before it is placed: a closed polygon or, for `ball` and `ring`, a circle of radius 1.

    Attributes:
        class_name: one of `CLASS_NAMES`.
        outline_xy: float32 [K, 2], the corners in order; for circles, points on the circle (only used to measure it).
        hole_radius: radius of the hole of a ring, as a share of its outer radius; 0 for everything else.
    """

    class_name: str
    outline_xy: np.ndarray
    hole_radius: float = 0.0

    @property
    def is_round(self) -> bool:
        return self.class_name in ("ball", "ring")

    def placed(self, size: float, angle: float) -> "PlacedShape":
        """Turns the outline by `angle` (radians) and scales it until the longer side of its box is `size` pixels."""
        cos, sin = np.cos(angle), np.sin(angle)
        turned = self.outline_xy @ np.array([[cos, sin], [-sin, cos]], np.float32)
        low, high = turned.min(axis=0), turned.max(axis=0)
        scale = size / float((high - low).max())
        return PlacedShape(self, (turned - (low + high) / 2) * scale, scale)


@dataclass(frozen=True, eq=False)
class PlacedShape:
    """A shape at its final size and angle, its box centred on (0, 0)."""

    shape: Shape
    outline_xy: np.ndarray
    scale: float

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance in pixels, float32, of points given relative to the middle of the box."""
        if not self.shape.is_round:
            return polygon_distance(self.outline_xy, x, y)
        radius = np.hypot(x, y)
        outside = radius - self.scale
        return np.maximum(outside, self.shape.hole_radius * self.scale - radius) if self.shape.hole_radius else outside


def polygon_distance(outline_xy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance of points to a closed polygon: negative inside by the even-odd rule.

    Args:
        outline_xy: [K, 2] corners.
        x, y: float32 arrays of one shape.

    Returns:
        float32 array of that shape.
    """
    squared = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(outline_xy, np.roll(outline_xy, -1, axis=0), strict=True):
        edge_x, edge_y = bx - ax, by - ay
        from_a_x, from_a_y = x - ax, y - ay
        along = np.clip((from_a_x * edge_x + from_a_y * edge_y) / (edge_x**2 + edge_y**2), 0, 1)
        np.minimum(squared, (from_a_x - along * edge_x) ** 2 + (from_a_y - along * edge_y) ** 2, out=squared)
        if edge_y != 0:
            inside ^= ((ay > y) != (by > y)) & (from_a_x < edge_x / edge_y * from_a_y)
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(squared)


def _ball(rng: np.random.Generator) -> Shape:
    return Shape("ball", _circle(48))


def _ring(rng: np.random.Generator) -> Shape:
    return Shape("ring", _circle(48), hole_radius=rng.uniform(0.45, 0.68))


def _block(rng: np.random.Generator) -> Shape:
    short = rng.uniform(0.5, 1.0)
    return Shape("block", _points([(-1, -short), (1, -short), (1, short), (-1, short)]))


def _triangle(rng: np.random.Generator) -> Shape:
    angles = np.pi * (np.array([0.5, 7 / 6, 11 / 6]) + rng.uniform(-0.08, 0.08, 3))
    return Shape("triangle", _points(np.stack([np.cos(angles), np.sin(angles)], axis=1)))


def _star(rng: np.random.Generator) -> Shape:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, rng.uniform(0.42, 0.56), 1.0)
    return Shape("star", _points(np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)))


def _heart(rng: np.random.Generator) -> Shape:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return Shape("heart", _points(np.stack([x * rng.uniform(0.9, 1.1), y], axis=1) / 16))


def _arrow(rng: np.random.Generator) -> Shape:
    neck, shaft, head = rng.uniform(-0.05, 0.25), rng.uniform(0.2, 0.3), rng.uniform(0.55, 0.75)
    top = [(1, 0), (neck, -head), (neck, -shaft), (-1, -shaft)]
    return Shape("arrow", _points(top + [(x, -y) for x, y in reversed(top[1:])]))


def _circle(corners: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return _points(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _points(corners) -> np.ndarray:
    return np.asarray(corners, np.float32)


_SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "ball": _ball,
    "block": _block,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "heart": _heart,
    "arrow": _arrow,
}


def random_shape(class_name: str, rng: np.random.Generator) -> Shape:
    """A shape of this class with proportions of its own. Raises `KeyError` for a name that is not in `CLASS_NAMES`."""
    return _SHAPES[class_name](rng)
