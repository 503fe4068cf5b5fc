"""Training examples of the demo detector: scenes drawn once, then cut, turned and recoloured into batches with their
targets.

Everything follows from seeds. Targets are made here, in NumPy, so that the training step is only arithmetic.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from PIL import Image

from .network import STRIDE
from .scenes import MAX_OBJECTS, Scene, draw_scene
from .toys import tight_box

INPUT_SIZE = 384
"""Side of the square, in pixels, into which the detector letterboxes an image."""
CROP_SIZE = 256
"""Side of the training crops: the network is fully convolutional, and a crop costs less than half of a whole input."""
PADDING_VALUE = 128
"""Grey beside an image that isn't square: nearly 0 for the network."""
_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_SHARE = 24, 0.35  # of an object that a crop must hold for the object to count
_CELLS = CROP_SIZE // STRIDE


class Example(NamedTuple):
    """A letterboxed scene: image uint8 `[384, 384, 3]`, object numbers uint8 `[384, 384]` (0: background), class ids
    `[N]`."""

    image: np.ndarray
    numbers: np.ndarray
    class_ids: np.ndarray


class Batch(NamedTuple):
    """B crops with up to `MAX_OBJECTS` = K objects each, and R positive cells in all.

    Attributes:
      images: float32 `[B, 256, 256, 3]` in [-1, 1].
      numbers: uint8 `[B, 256, 256]`: k + 1 where object k of the crop is seen, 0 for the background.
      boxes_yxyx: float32 `[B, K, 4]`, input pixels; 0 in rows that are no object.
      centres: int32 `[B, K, 2]`: the cell (y, x) that holds the middle of each object's box.
      valid: bool `[B, K]`: which rows are objects.
      cells: int32 `[R, 5]`: crop, y, x, class index (from 0) and object of each positive cell.
      weights: float32 `[R]`: of the positive cells; those of one object add up to 1, whatever its size.
    """

    images: np.ndarray
    numbers: np.ndarray
    boxes_yxyx: np.ndarray
    centres: np.ndarray
    valid: np.ndarray
    cells: np.ndarray
    weights: np.ndarray


def make_example(scene: Scene) -> Example:
    """Fits a scene into the detector's input, as the exported graph does with an image."""
    height, width = scene.image.shape[:2]
    scale = INPUT_SIZE / max(height, width)
    fitted_hw = max(1, round(height * scale)), max(1, round(width * scale))
    numbers = np.zeros((height, width), np.uint8)
    for number, mask in enumerate(scene.masks, start=1):
        numbers[mask] = number
    image = np.full((INPUT_SIZE, INPUT_SIZE, 3), PADDING_VALUE, np.uint8)
    image[: fitted_hw[0], : fitted_hw[1]] = _resized(scene.image, fitted_hw, Image.Resampling.BILINEAR)
    fitted = np.zeros((INPUT_SIZE, INPUT_SIZE), np.uint8)
    fitted[: fitted_hw[0], : fitted_hw[1]] = _resized(numbers, fitted_hw, Image.Resampling.NEAREST)
    return Example(image, fitted, scene.class_ids)


def make_examples(seeds: Sequence[int], processes: int) -> list[Example]:
    """Draws the scenes of `seeds` in several processes, in that order; about 50 ms each."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_example_of, seeds, chunksize=16))


def _example_of(seed: int) -> Example:
    return make_example(draw_scene(seed))


def _resized(array: np.ndarray, size_hw: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize(size_hw[::-1], method))


def batches(examples: Sequence[Example], batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches without end: each example once an epoch, in random order, augmented anew each time."""
    while True:
        order = rng.permutation(len(examples))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield make_batch([augmented(examples[i], rng) for i in order[start : start + batch_size]])


def augmented(example: Example, rng: np.random.Generator) -> Example:
    """A random window of an example, mirrored, turned by quarters and recoloured. Light comes from anywhere in the
    scenes."""
    top, left = rng.integers(0, INPUT_SIZE - CROP_SIZE + 1, 2)
    image, numbers = (
        array[top : top + CROP_SIZE, left : left + CROP_SIZE] for array in (example.image, example.numbers)
    )
    if rng.random() < 0.5:
        image, numbers = image[:, ::-1], numbers[:, ::-1]
    turns = int(rng.integers(4))
    image, numbers = np.rot90(image, turns), np.rot90(numbers, turns)
    recoloured = image[..., rng.permutation(3)] * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15)
    recoloured = recoloured + rng.normal(0, rng.uniform(0, 4), image.shape)
    whole, seen = (np.bincount(array.ravel(), minlength=256) for array in (example.numbers, numbers))
    hidden = seen < np.maximum(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_SHARE * whole)
    numbers = np.where(hidden[numbers], 0, numbers).astype(np.uint8)
    return Example(np.clip(recoloured, 0, 255).astype(np.float32), numbers, example.class_ids)


def make_batch(crops: Sequence[Example]) -> Batch:
    """Stacks crops and makes their targets."""
    size = len(crops)
    batch = Batch(
        images=np.stack([crop.image for crop in crops]).astype(np.float32) / 127.5 - 1,
        numbers=np.zeros((size, CROP_SIZE, CROP_SIZE), np.uint8),
        boxes_yxyx=np.zeros((size, MAX_OBJECTS, 4), np.float32),
        centres=np.zeros((size, MAX_OBJECTS, 2), np.int32),
        valid=np.zeros((size, MAX_OBJECTS), bool),
        cells=np.zeros((0, 5), np.int32),
        weights=np.zeros(0, np.float32),
    )
    cells = []
    for index, crop in enumerate(crops):
        present = [number for number in np.unique(crop.numbers) if number]
        owners = {}
        # A cell that two objects claim belongs to the smaller one, which comes last.
        for k, number in sorted(enumerate(present), key=lambda pair: -(crop.numbers == pair[1]).sum()):
            mask = crop.numbers == number
            box = np.float32(tight_box(mask))
            centre = np.minimum(((box[:2] + box[2:]) / 2 / STRIDE).astype(np.int32), _CELLS - 1)
            batch.numbers[index][mask] = k + 1
            batch.boxes_yxyx[index, k], batch.centres[index, k], batch.valid[index, k] = box, centre, True
            for y, x in _positive_cells(box, centre):
                owners[y, x] = (index, y, x, crop.class_ids[number - 1] - 1, k)
        cells.extend(owners.values())
    cells = np.array(cells, np.int32).reshape(-1, 5)
    _, object_of, sizes = np.unique(cells[:, [0, 4]], axis=0, return_inverse=True, return_counts=True)
    return batch._replace(cells=cells, weights=(1 / sizes[object_of.ravel()]).astype(np.float32))


def _positive_cells(box_yxyx: np.ndarray, centre: np.ndarray) -> Iterator[tuple[int, int]]:
    """The centre cell, and those around it whose middle is near the box's middle, compared with the box's size."""
    middle, reach = (box_yxyx[:2] + box_yxyx[2:]) / 2, (box_yxyx[2:] - box_yxyx[:2]) * 0.12
    for y in range(max(centre[0] - 2, 0), min(centre[0] + 3, _CELLS)):
        for x in range(max(centre[1] - 2, 0), min(centre[1] + 3, _CELLS)):
            offset = np.abs((np.float32([y, x]) + 0.5) * STRIDE - middle)
            if (y, x) == tuple(centre) or (offset <= reach).all():
                yield y, x
