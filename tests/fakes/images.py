"""Small image files, made from a seed."""

import numpy as np
from PIL import Image

IMAGES, BAD = 300, 10  # of `save_images_some_bad`


def save_image(path, seed, size_hw=(48, 64)):
    """Writes an image of random pixels, in the format of its name, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)).save(path, quality=90)
    return path


def save_images_some_bad(folder):
    """290 small images, and 10 that aren't images or are cut short; returns the folder."""
    for number in range(IMAGES):
        path = save_image(folder / f"{number:04}.jpg", number, (24 + number % 7, 20 + number % 11))
        if number % (IMAGES // BAD) == 0:
            path.write_bytes(path.read_bytes()[:60] if number % 60 else b"no image")
    return folder
