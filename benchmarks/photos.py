"""Real photos for benchmarks, from scikit-image's wheel: the photos themselves, then crops of them."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = ("coffee", "astronaut", "chelsea", "rocket")


def photos(count: int) -> list[np.ndarray]:
    """RGB images, uint8 `[H, W, 3]`: the four photos over and over."""
    from skimage import data

    originals = [getattr(data, name)() for name in PHOTOS]
    return [originals[i % len(originals)] for i in range(count)]


def crops(count: int, seed: int = 0) -> list[np.ndarray]:
    """Different images: random windows of the photos, at least 200 pixels wide and high, some mirrored."""
    rng = np.random.default_rng(seed)
    made = []
    for image in photos(count):
        height, width = (int(rng.integers(200, side + 1)) for side in image.shape[:2])
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.shape[:2], (height, width)))
        window = image[top : top + height, left : left + width]
        made.append(np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window))
    return made


def write_crops(folder: Path, count: int, quality: int = 90) -> Path:
    """`crops` as JPEGs in a new folder, which is returned."""
    folder.mkdir(parents=True)
    for number, crop in enumerate(crops(count)):
        Image.fromarray(crop).save(folder / f"{number:05d}.jpg", quality=quality)
    return folder


def write_jpegs(folder: Path, count: int, size_wh: tuple[int, int], distinct: int = 20, quality: int = 85) -> Path:
    """JPEGs of one size in a new folder, which is returned: a few really drawn, the rest links to them."""
    folder.mkdir(parents=True)
    drawn = []
    for number, crop in enumerate(crops(min(count, distinct))):
        drawn.append(folder / f"{number:08d}.jpg")
        Image.fromarray(crop).resize(size_wh).save(drawn[-1], quality=quality)
    for number in range(distinct, count):
        os.link(drawn[number % distinct], folder / f"{number:08d}.jpg")
    return folder
