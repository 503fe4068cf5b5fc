"""Scenes as the network sees them in training: letterboxed pictures and their targets, drawn once and kept in one file.

The canvas, its letterboxing and the sampling grid of masks are defined here for training and repeated in TensorFlow by `export`;
`tests/detectors/demo` compares the two. Don't use this for anything but training: the pictures have been through a JPEG encoder.
"""
import io
import multiprocessing
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from .scenes import MAX_OBJECTS, Scene, draw_scene

CANVAS = 320
"""Side of the network's square input in pixels. Pictures lie in its top left corner."""
MASK_SIDE = 33
"""Rows and columns of a mask, as the published detectors have them."""
_JITTER = 0.06


@dataclass(frozen=True, eq=False)
class Examples:
    """S training examples. Rows of objects beyond those of a scene have class 0.

    Attributes:
        images: uint8 [S, CANVAS, CANVAS, 3].
        boxes_yxyx: float32 [S, MAX_OBJECTS, 4], edges in canvas pixels.
        class_ids: int32 [S, MAX_OBJECTS], from 1; 0 is no object.
        grids_yxyx: float32 [S, MAX_OBJECTS, 4], canvas positions of the first and the last row and column of the mask's samples.
        masks: uint8 [S, MAX_OBJECTS, MASK_SIDE, MASK_SIDE], share of the object at each sample, times 255.
    """

    images: np.ndarray
    boxes_yxyx: np.ndarray
    class_ids: np.ndarray
    grids_yxyx: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def letterboxed_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Size in canvas pixels of a picture whose longer side fills the canvas; never under one pixel."""
    scale = CANVAS / max(size_hw)
    return tuple(max(1, int(np.floor(side * scale + 0.5))) for side in size_hw)


def letterbox(image: np.ndarray) -> np.ndarray:
    """Enlarges or reduces a picture (bilinear, anti-aliased) into the canvas' top left corner; the rest is mid-grey.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        uint8 [CANVAS, CANVAS, 3].
    """
    height, width = letterboxed_hw(image.shape[:2])
    canvas = np.full((CANVAS, CANVAS, 3), 128, np.uint8)
    canvas[:height, :width] = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return canvas


def mask_grid(box_yxyx: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Where a mask's outermost samples lie, in pixel indices of the picture (0 is the middle of the first pixel).

    Whoever pastes a published detector's mask puts its first sample at `ymin` and its last at `ymax` of the normalised box, and the
    picture's first and last pixel at 0 and 1. With `ymin = edge / H` the sample is thus at `edge * (H - 1) / H`.

    Args:
        box_yxyx: float [..., 4], edges in pixels of the picture.
        size_hw: size of the picture.
    """
    return box_yxyx * np.tile((np.array(size_hw) - 1) / np.array(size_hw), 2)


def sample_mask(mask: np.ndarray, grid_yxyx: np.ndarray) -> np.ndarray:
    """Bilinear samples of a mask at MASK_SIDE x MASK_SIDE positions, 0 outside the picture.

    Args:
        mask: bool [H, W].
        grid_yxyx: [4], from `mask_grid`.

    Returns:
        float32 [MASK_SIDE, MASK_SIDE] in [0, 1].
    """
    rows = _interpolation(grid_yxyx[0], grid_yxyx[2], mask.shape[0])
    columns = _interpolation(grid_yxyx[1], grid_yxyx[3], mask.shape[1])
    return rows @ mask.astype(np.float32) @ columns.T


def _interpolation(first: float, last: float, length: int) -> np.ndarray:
    """float32 [MASK_SIDE, length]: the weight of every pixel in every sample, a tent one pixel wide on each side."""
    position = np.linspace(first, last, MASK_SIDE)[:, None]
    return np.maximum(1 - np.abs(position - np.arange(length)), 0).astype(np.float32)


def make_example(scene: Scene) -> Examples:
    """One training example (S = 1) of a scene; the same scene always gives the same.

    The boxes that the masks are sampled from are moved a little, as those predicted will be.
    """
    rng = np.random.default_rng([scene.seed, 1])
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "JPEG", quality=int(rng.integers(70, 96)))
    size_hw = scene.image.shape[:2]
    scale = np.tile(np.array(letterboxed_hw(size_hw)) / np.array(size_hw), 2)
    count = len(scene.class_ids)
    sides = np.tile(scene.boxes_yxyx[:, 2:] - scene.boxes_yxyx[:, :2], (1, 2))
    jittered = scene.boxes_yxyx + np.clip(rng.normal(0, _JITTER / 2, (count, 4)), -_JITTER, _JITTER) * sides
    jittered = np.clip(jittered, 0, np.tile(size_hw, 2))
    grids = mask_grid(jittered, size_hw)
    masks = np.zeros((count, MASK_SIDE, MASK_SIDE), np.uint8)
    for row, (mask, grid) in enumerate(zip(scene.masks, grids, strict=True)):
        masks[row] = sample_mask(mask, grid) * 255 + 0.5

    def padded(rows: np.ndarray, dtype) -> np.ndarray:
        return np.pad(rows.astype(dtype), [(0, MAX_OBJECTS - count)] + [(0, 0)] * (rows.ndim - 1))[None]

    return Examples(
        letterbox(np.asarray(Image.open(buffer)))[None],
        padded(scene.boxes_yxyx * scale, np.float32),
        padded(scene.class_ids, np.int32),
        padded((grids + 0.5) * scale, np.float32),
        padded(masks, np.uint8),
    )


def _example_of_seed(seed: int) -> Examples:
    return make_example(draw_scene(seed))


def make_examples(seeds, cache: Path | None = None, processes: int = 2) -> Examples:
    """Draws the scenes of many seeds in parallel.

    Args:
        seeds: sequence of scene seeds.
        cache: an `.npz` file to read instead if it holds these very seeds, or else to write. Delete it when `scenes` changes.
        processes: number of worker processes.
    """
    seeds = np.asarray(seeds)
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            if np.array_equal(stored["seeds"], seeds):
                return Examples(**{field.name: stored[field.name] for field in fields(Examples)})
    # "spawn", because TensorFlow's threads don't survive a fork.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.map(_example_of_seed, seeds.tolist(), chunksize=16)
    examples = Examples(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Examples)))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, seeds=seeds, **{field.name: getattr(examples, field.name) for field in fields(Examples)})
    return examples
