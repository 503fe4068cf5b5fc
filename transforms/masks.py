"""Masks of detections: from a small grid relative to a box to the picture's pixels, as a COCO run-length encoding.

    masks [N, 33, 33] ─ encode_box_mask, one at a time ─ EncodedMask ─ decode_rle ─ bool [H, W]
                                                                    └─ png_bytes ─ a 1-bit PNG

The pixels are those of the TensorFlow Object Detection API (`reframe_box_masks_to_image_masks`, that is
`tf.image.crop_and_resize` of the reversed box, then > 0.5), bit for bit, and the counts those of `pycocotools`; but no
array of the picture's size is ever made. Within one cell of the mask's grid, a column of pixels goes from one
interpolated value to another without turning back, in float32 as in real numbers: it crosses 0.5 at most once. So a
column is described by its values at the cells' first and last pixels and by the few crossings in between, found by
bisection. Time and memory grow with the sides of the picture and of the box, not with their areas.

Not for masks that already have the picture's size, and not for soft masks: what leaves is binary.
"""
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

THRESHOLD = np.float32(0.5)  # a pixel belongs to the object if its value is greater
MIN_EXTENT = np.float32(1e-4)  # a box's height or width below this, in pictures, counts as this: the reference's clamp


class EncodedMask(NamedTuple):
    """A binary mask of a picture.

    Attributes:
      counts: COCO's compressed run-length encoding, column after column; `pycocotools.mask.decode` reads it with
        `size` = [height, width] of the picture.
      area: pixels of the mask.
      x, y, w, h: the smallest box of whole pixels around them; all zero if there are none.
    """

    counts: str
    area: int
    x: int
    y: int
    w: int
    h: int


def encode_box_mask(mask: np.ndarray, box_yxyx: np.ndarray, height: int, width: int) -> EncodedMask:
    """Pastes one detection's mask into its picture and encodes it.

    Args:
      mask: float32 `[h, w]`, at least 2 x 2 cells, in [0, 1], relative to the box: its outer cells' centres lie on the
        box's edges.
      box_yxyx: float32 `[4]`, normalised: 0 and 1 are the centres of the picture's outer pixels. It may reach beyond
        them; what lies outside is cut off.
      height, width: of the picture, in pixels.

    Raises:
      ValueError: if the mask isn't a grid of at least 2 x 2 cells or the picture has no pixels.
    """
    if mask.ndim != 2 or min(mask.shape) < 2:
        raise ValueError(f"mask: expected a grid [h, w] of at least 2 x 2 cells, got shape {list(mask.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"picture: expected at least one pixel, got {height} x {width}")
    ymin, xmin, ymax, xmax = np.asarray(box_yxyx, np.float32)
    rows = _sample(ymin, ymax, mask.shape[0], height)
    columns = _sample(xmin, xmax, mask.shape[1], width)
    column = row = np.empty(0, np.int64)
    if len(rows.cells) and len(columns.cells):
        column, row = _edges(_interpolate_columns(np.asarray(mask, np.float32), columns), rows)
    return _encode_edges(columns.first + column, rows.first + row, height, width)


class _Samples(NamedTuple):
    """The pixels of one axis that lie on the mask's grid: `first`, `first + 1`, … .

    Attributes:
      first: the first of them.
      cells: int64 `[n]`, not descending, the grid's point before each of them (or on it).
      fractions: float32 `[n]` in [0, 1), how far each lies from that point towards the next one.
    """

    first: int
    cells: np.ndarray
    fractions: np.ndarray


def _sample(low: np.float32, high: np.float32, num_cells: int, num_pixels: int) -> _Samples:
    """Where the picture's pixels lie on a mask's grid, along one axis.

    The order of the operations is the reference's, each rounded to float32: it decides whether the last pixel of a box
    that touches the picture's border falls just outside the grid.
    """
    extent = max(high - low, MIN_EXTENT)
    start = (np.float32(0) - low) / extent  # the picture's edges, in boxes
    end = (np.float32(1) - low) / extent
    last_cell = np.float32(num_cells - 1)
    if num_pixels == 1:
        positions = np.array([np.float32(0.5) * (start + end) * last_cell])
    else:
        step = (end - start) * last_cell / np.float32(num_pixels - 1)
        positions = start * last_cell + np.arange(num_pixels, dtype=np.float32) * step
    inside = np.flatnonzero((positions >= 0) & (positions <= last_cell))  # contiguous: positions never descend
    positions = positions[inside]
    cells = positions.astype(np.int64)
    return _Samples(int(inside[0]) if len(inside) else 0, cells, positions - cells.astype(np.float32))


def _interpolate_columns(mask: np.ndarray, columns: _Samples) -> np.ndarray:
    """float32 `[columns, h]`: the mask's value in each column of pixels, at the height of each row of the grid."""
    cells_first = mask.T
    left = cells_first[columns.cells]
    right = cells_first[np.minimum(columns.cells + 1, len(cells_first) - 1)]
    return left + (right - left) * columns.fractions[:, np.newaxis]


def _edges(values: np.ndarray, rows: _Samples) -> tuple[np.ndarray, np.ndarray]:
    """Where columns of pixels enter and leave the mask.

    Args:
      values: float32 `[columns, h]`, the mask's value at each row of the grid.
      rows: the sampled rows of pixels.

    Returns:
      Two int arrays, (column, row), counted from the first sampled pixel, in column-major order: enter, leave, enter,
      … . `row` is the first pixel that differs from the one above it; a column that ends inside leaves at row
      `len(rows.cells)`.
    """
    num_rows = len(rows.cells)
    starts = np.flatnonzero(np.diff(rows.cells, prepend=-1))  # first row of pixels of each span between two grid rows
    stops = np.append(starts[1:], num_rows)
    top = values[:, rows.cells[starts]]
    rise = values[:, np.minimum(rows.cells[starts] + 1, values.shape[1] - 1)] - top
    starts_inside = top + rise * rows.fractions[starts] > THRESHOLD
    ends_inside = top + rise * rows.fractions[stops - 1] > THRESHOLD

    # An edge lies before a span (2s), within it (2s + 1), or below the last one.
    is_edge = np.empty((len(values), 2 * len(starts) + 1), bool)
    is_edge[:, 0] = starts_inside[:, 0]
    is_edge[:, 2:-1:2] = starts_inside[:, 1:] != ends_inside[:, :-1]
    is_edge[:, -1] = ends_inside[:, -1]
    is_edge[:, 1::2] = starts_inside != ends_inside
    column, edge = np.divmod(np.flatnonzero(is_edge), is_edge.shape[1])
    row = np.append(starts, num_rows)[edge // 2]

    # Within a span, bisection keeps `before` on the side of its first pixel and `after` on that of its last.
    within = np.flatnonzero(edge % 2)
    at, span = column[within], edge[within] // 2
    top, rise, starts_inside = top[at, span], rise[at, span], starts_inside[at, span]
    before, after = starts[span], stops[span] - 1
    for _ in range(int((stops - starts).max() - 1).bit_length()):
        middle = (before + after) // 2
        as_start = (top + rise * rows.fractions[middle] > THRESHOLD) == starts_inside
        before = np.where(as_start, middle, before)
        after = np.where(as_start, after, middle)
    row[within] = after
    return column, row


def _encode_edges(column: np.ndarray, row: np.ndarray, height: int, width: int) -> EncodedMask:
    """A mask from where each column enters and leaves it, in picture pixels and column-major order."""
    if not len(row):
        return EncodedMask(encode_counts(np.array([height * width])), 0, 0, 0, 0, 0)
    x, y = int(column[0]), int(row[0::2].min())
    w, h = int(column[-1]) + 1 - x, int(row[1::2].max()) - y
    bounds = column * height + row
    area = int((bounds[1::2] - bounds[0::2]).sum())
    # A column that leaves at the bottom and the next that enters at the top are one run; the picture's end is no edge.
    joins = np.append(bounds[:-1] == bounds[1:], bounds[-1] == height * width)
    joins[1:] |= joins[:-1].copy()
    bounds = bounds[~joins]
    return EncodedMask(encode_counts(np.diff(bounds, prepend=0, append=height * width)), area, x, y, w, h)


def encode_counts(counts: np.ndarray) -> str:
    """COCO's compressed string of run lengths: five bits a character, low ones first; from the fourth on, differences
    to the count two before.

    Args:
      counts: integers `[n]`, lengths of the runs in column-major order, of background and object in turn, background
        first (0 if the first pixel belongs to the object).
    """
    differences = counts.astype(np.int64)
    differences[3:] -= counts[1:-2]
    magnitudes = differences ^ (differences >> 63)
    lengths = 1 + np.searchsorted(_CHARACTERS_HOLD, magnitudes, side="right")
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    characters = np.repeat(differences, lengths) >> (5 * place) & 31
    characters += ord("0") + 32
    characters[ends - 1] -= 32  # no more characters of this count
    return characters.astype(np.uint8).tobytes().decode("ascii")


_CHARACTERS_HOLD = np.int64(1) << np.arange(4, 63, 5)  # 1, 2, … characters hold magnitudes below: one bit is the sign


def decode_counts(counts: str) -> np.ndarray:
    """Run lengths, int64 `[n]`, from COCO's compressed string: the inverse of `encode_counts`.

    Raises:
      ValueError: if the string isn't such an encoding.
    """
    characters = np.frombuffer(counts.encode("latin-1", "replace"), np.uint8).astype(np.int64) - ord("0")
    if not len(characters) or characters.min() < 0 or characters.max() > 63 or characters[-1] >= 32:
        raise ValueError(f"counts: expected a COCO compressed run-length encoding, got {counts[:40]!r}")
    ends = np.flatnonzero(characters < 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(characters)) - np.repeat(starts, ends + 1 - starts)
    runs = np.add.reduceat((characters & 31) << (5 * place), starts)
    negative = characters[ends] & 16 != 0
    runs[negative] -= np.int64(1) << (5 * (ends - starts + 1)[negative])
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def decode_rle(counts: str, height: int, width: int) -> np.ndarray:
    """The mask as bool `[height, width]` (a view in column-major order), from the column `counts` of the table `masks`.

    Raises:
      ValueError: if the string isn't such an encoding or its runs don't add up to the picture's pixels.
    """
    runs = decode_counts(counts)
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"counts: runs of {runs.sum()} pixels do not make a picture of {height} x {width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def encode_rle(mask: np.ndarray) -> str:
    """A bool mask `[height, width]` as the column `counts` of the table `masks` has it: the inverse of `decode_rle`."""
    pixels = mask.ravel(order="F")
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return encode_counts(np.diff(bounds, prepend=0, append=pixels.size))


def png_bytes(counts: str, height: int, width: int) -> bytes:
    """The mask as a PNG of the picture's size, 1 bit a pixel, white on black.

    Raises:
      ValueError: as `decode_rle`.
    """
    rows = np.packbits(decode_rle(counts, height, width), axis=1)
    file = io.BytesIO()
    Image.frombytes("1", (width, height), rows.tobytes()).save(file, "PNG")
    return file.getvalue()
