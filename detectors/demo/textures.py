"""Procedural surfaces for the demo scenes: what the objects lie on, and what they are made of.

Everything is computed from a `numpy.random.Generator`, so the repository needs no photographs and no licences for
them. The patterns only have to look plausible at a few hundred pixels; don't use them where a texture must tile or be
band-limited.

Colours are float32 RGB in [0, 1]; a surface is float32 [H, W, 3], a pattern float32 [H, W].
"""

import colorsys

import numpy as np
from PIL import Image


def noise(
    rng: np.random.Generator, size_hw: tuple[int, int], cell_hw: tuple[float, float], octaves: int = 4
) -> np.ndarray:
    """Fractal value noise in [0, 1]: random grids, enlarged bicubically, each finer and fainter than the one before.

    Args:
        rng: source of randomness.
        size_hw: size of the result in pixels.
        cell_hw: size of the coarsest grid's cells in pixels; unequal sides give grain.
        octaves: number of grids; each halves the cells and the amplitude.
    """
    total = np.zeros(size_hw, np.float32)
    for octave in range(octaves):
        grid_hw = [
            int(np.ceil(side / max(cell / 2**octave, 1.0))) + 3 for side, cell in zip(size_hw, cell_hw, strict=True)
        ]
        grid = Image.fromarray(rng.random(grid_hw, dtype=np.float32))
        # A margin of one cell is cut away, where bicubic enlargement has nothing to look at.
        window = (1, 1, grid.width - 1, grid.height - 1)
        total += np.asarray(grid.resize(size_hw[::-1], Image.Resampling.BICUBIC, box=window)) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, 1e-6)


def random_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """A colour of any hue, float32 [3]."""
    return np.float32(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)))


def _near(rng: np.random.Generator, colour: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(colour + rng.uniform(-spread, spread, 3), 0, 1).astype(np.float32)


def _ramp(pattern: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    return dark + (light - dark) * pattern[..., None]


def _turned_grid(rng: np.random.Generator, size_hw: tuple[int, int], max_tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates along and across a direction near one of the axes."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    angle = rng.integers(2) * np.pi / 2 + rng.uniform(-max_tilt, max_tilt)
    return x * np.cos(angle) + y * np.sin(angle) + 1000, y * np.cos(angle) - x * np.sin(angle) + 1000


def _bricks(along: np.ndarray, across: np.ndarray, length: float, height: float, shift: float):
    """Row and column of the brick below each pixel, and the distance in pixels to the brick's edge."""
    row = np.floor(across / height).astype(np.int32)
    offset = along + row * shift * length
    column = np.floor(offset / length).astype(np.int32)
    in_x, in_y = offset - column * length, across - row * height
    return row, column, np.minimum(np.minimum(in_x, length - in_x), np.minimum(in_y, height - in_y))


def wood(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Planks with grain, each a little lighter or darker than the next."""
    along, across = _turned_grid(rng, size_hw, 0.06)
    upright = abs(float(along[-1, 0] - along[0, 0])) > abs(float(along[0, -1] - along[0, 0])) * size_hw[0] / size_hw[1]
    cell_hw = (120.0, 7.0) if upright else (7.0, 120.0)
    grain, warp = noise(rng, size_hw, cell_hw, 3), noise(rng, size_hw, (cell_hw[0] * 1.5, cell_hw[1] * 1.5), 2)
    row, column, edge = _bricks(along, across, rng.uniform(200, 500), rng.uniform(34, 80), 0.37)
    shade = rng.uniform(-0.5, 0.5, (64, 64)).astype(np.float32)[row % 64, column % 64]
    rings = 0.5 + 0.5 * np.sin(across * rng.uniform(0.2, 0.5) + warp * 14 + shade * 40)
    dark = np.float32(colorsys.hsv_to_rgb(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.65), rng.uniform(0.25, 0.55)))
    surface = _ramp(0.55 * grain + 0.3 * rings + 0.3 * shade, dark, np.clip(dark * 1.9, 0, 1))
    return surface * (0.45 + 0.55 * np.clip(edge / 1.5, 0, 1))[..., None]


def brickwork(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """A wall of bricks or setts, with rough mortar."""
    along, across = _turned_grid(rng, size_hw, 0.1)
    height = rng.uniform(18, 40)
    row, column, edge = _bricks(along, across, height * rng.uniform(1.4, 2.6), height, 0.5)
    tint = rng.random((64, 64), dtype=np.float32)[row % 64, column % 64]
    rough = noise(rng, size_hw, (12, 12), 4)
    base = random_colour(rng, (0.15, 0.6), (0.4, 0.7))
    bricks = _ramp(0.5 * tint + 0.5 * rough, base * 0.6, np.clip(base * 1.25, 0, 1))
    mortar = _ramp(rough, np.float32([0.45, 0.43, 0.4]), np.float32([0.72, 0.7, 0.66]))
    blend = np.clip((edge - 1.5 - 2 * rough) / 1.5, 0, 1)[..., None]
    return mortar + (bricks - mortar) * blend


def marble(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Stone with veins."""
    along, _ = _turned_grid(rng, size_hw, 0.8)
    cloud = noise(rng, size_hw, (90, 90), 5)
    veins = np.abs(np.sin(along * rng.uniform(0.01, 0.03) + cloud * rng.uniform(6, 12))) ** 0.4
    base = random_colour(rng, (0.02, 0.35), (0.55, 0.9))
    return _ramp(0.65 * veins + 0.35 * cloud, base * rng.uniform(0.35, 0.65), np.clip(base * 1.15, 0, 1))


def cloth(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Woven stripes or a tartan, with folds."""
    along, across = _turned_grid(rng, size_hw, 0.5)
    warp = noise(rng, size_hw, (130, 130), 2)
    base = random_colour(rng, (0.1, 0.6), (0.3, 0.85))
    other = _near(rng, base, 0.35)
    period = rng.uniform(22, 60)
    stripes = _steps(along + 18 * warp, period)
    if rng.random() < 0.6:
        stripes = 0.5 * stripes + 0.5 * _steps(across + 18 * warp, period)
    weave = 0.9 + 0.1 * np.sin(along * 1.9) * np.sin(across * 1.9)
    return _ramp(stripes, base, other) * (weave * (0.75 + 0.4 * warp))[..., None]


def _steps(position: np.ndarray, period: float) -> np.ndarray:
    """Soft-edged stripes in [0, 1]."""
    return np.clip(0.5 + 2.5 * np.sin(position * (2 * np.pi / period)), 0, 1)


def ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Grass, sand, gravel or snow: fine noise over coarse patches."""
    fine = noise(rng, size_hw, (rng.uniform(4, 10), rng.uniform(3, 7)), 3)
    patches = noise(rng, size_hw, (80, 80), 3)
    base = random_colour(rng, (0.15, 0.6), (0.35, 0.75))
    return _ramp(0.65 * fine + 0.35 * patches, base * 0.45, np.clip(base * 1.35, 0, 1))


def tiles(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Square tiles of two colours with grout, as in a kitchen."""
    along, across = _turned_grid(rng, size_hw, 0.78)
    side = rng.uniform(36, 80)
    row, column, edge = _bricks(along, across, side, side, 0.0)
    light = random_colour(rng, (0.02, 0.3), (0.65, 0.92))
    dark = _near(rng, light * rng.uniform(0.45, 0.9), 0.08)
    checks = ((row + column) % 2).astype(np.float32)
    surface = _ramp(np.clip(checks + 0.35 * (noise(rng, size_hw, (40, 40), 4) - 0.5), 0, 1), dark, light)
    grout = 0.6 + 0.4 * np.clip((edge - 0.6) / 1.2, 0, 1)
    return surface * grout[..., None]


def haze(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """An unfocused backdrop: a gradient, clouds and discs of light."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    slope = (y / size_hw[0] * rng.uniform(0.3, 1) + x / size_hw[1] * rng.uniform(-0.5, 0.5) + 0.5) / 2
    dark = random_colour(rng, (0.3, 0.8), (0.1, 0.4))
    surface = _ramp(
        0.7 * slope + 0.3 * noise(rng, size_hw, (110, 110), 3), dark, random_colour(rng, (0.1, 0.6), (0.5, 0.95))
    )
    for _ in range(rng.integers(0, 14)):
        centre_y, centre_x, radius = rng.uniform(0, size_hw[0]), rng.uniform(0, size_hw[1]), rng.uniform(8, 34)
        disc = np.clip((radius - np.hypot(y - centre_y, x - centre_x)) / rng.uniform(3, 10) + 0.5, 0, 1)
        surface = surface + disc[..., None] * random_colour(rng, (0.1, 0.6), (0.5, 1.0)) * rng.uniform(0.05, 0.22)
    return surface


BACKGROUNDS = (wood, brickwork, marble, cloth, ground, tiles, haze)


def paint(rng: np.random.Generator, colour: np.ndarray, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """The material of one object around `colour`: plain, striped, dotted, veined or grained.

    Args:
        rng: source of randomness.
        colour: float32 [3].
        x, y: float32 [H, W], pixels in the object's own, turned coordinates.
        size: the object's size in pixels, to which the pattern is scaled.

    Returns:
        float32 [H, W, 3], not yet shaded.
    """
    kind = rng.choice(["plain", "stripes", "dots", "veins", "grain"], p=[0.35, 0.2, 0.15, 0.15, 0.15])
    other = np.clip(colour * 0.45 + np.float32(rng.choice([0.02, 0.5])), 0, 1)
    if kind == "stripes":
        pattern = np.clip(0.5 + size / 12 * np.sin(x * (2 * np.pi * rng.uniform(2, 4) / size)), 0, 1)
    elif kind == "dots":
        pitch = size / rng.uniform(3.5, 6)
        from_dot = np.hypot((x + 0.5 * pitch) % pitch - pitch / 2, (y + 0.5 * pitch) % pitch - pitch / 2)
        pattern = np.clip(pitch * 0.3 - from_dot + 0.5, 0, 1)
    elif kind == "veins":
        pattern = np.abs(np.sin(x * 5 / size + 8 * noise(rng, x.shape, (size / 2, size / 2), 4)))
    elif kind == "grain":
        pattern = 0.7 * noise(rng, x.shape, (max(size / 3, 4), max(size / 25, 2)), 3)
    else:
        pattern = 0.25 * noise(rng, x.shape, (size, size), 3)
    return _ramp(pattern.astype(np.float32), colour, other.astype(np.float32))
