"""Masks of detections: from small grids relative to their boxes to the image's pixels, as COCO run-length encodings.

    masks [N, 33, 33] ─ encode_box_masks ─ N × EncodedMask ─ decode_rle ─ bool [H, W]
                                                          └─ png_bytes ─ a 1-bit PNG

The pixels are those of the TensorFlow Object Detection API (`reframe_box_masks_to_image_masks`, that is
`tf.image.crop_and_resize` of the reversed box, then > 0.5), bit for bit, and the counts those of `pycocotools`; but no
array of the image's size is ever made. Within one cell of the mask's grid, a column of pixels goes from one
interpolated value to another without turning back, in float32 as in real numbers: it crosses 0.5 at most once. So a
column is described by its values at the cells' first and last pixels and by the few crossings in between, found by
bisection. Time and memory grow with the sides of the image and of the boxes, not with their areas. The columns of a
image's detections are worked on together, some thousand at a time.

Not for masks that already have the image's size, and not for soft masks: what leaves is binary.
"""

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

THRESHOLD = np.float32(0.5)  # a pixel belongs to the object if its value is greater
MIN_EXTENT = np.float32(1e-4)  # a box's height or width below this, in images, counts as this: the reference's clamp
_SAMPLES_AT_ONCE = 1 << 22  # rows and columns of the image times detections: what they take is bounded
_COLUMNS_AT_ONCE = 4096  # enough that Python's own share is small, few enough for the processor's cache


class EncodedMask(NamedTuple):
    """A binary mask of an image.

    Attributes:
      counts: COCO's compressed run-length encoding, column after column; `pycocotools.mask.decode` reads it with
        `size` = [height, width] of the image.
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
    """`encode_box_masks` of one mask `[h, w]` and its box `[4]`."""
    return encode_box_masks(np.asarray(mask)[np.newaxis], np.asarray(box_yxyx)[np.newaxis], height, width)[0]


def encode_box_masks(masks: np.ndarray, boxes_yxyx: np.ndarray, height: int, width: int) -> list[EncodedMask]:
    """Pastes each detection's mask into their image and encodes it.

    Args:
      masks: float32 `[N, h, w]`, at least 2 x 2 cells, in [0, 1], relative to the boxes: the outer cells' centres lie
        on a box's edges.
      boxes_yxyx: float32 `[N, 4]`, normalised: 0 and 1 are the centres of the image's outer pixels. They may reach
        beyond them; what lies outside is cut off.
      height, width: of the image, in pixels.

    Raises:
      ValueError: if the masks aren't grids of at least 2 x 2 cells or the image has no pixels.
    """
    if masks.ndim != 3 or min(masks.shape[1:]) < 2:
        raise ValueError(f"masks: expected grids [N, h, w] of at least 2 x 2 cells, got shape {list(masks.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"image: expected at least one pixel, got {height} x {width}")
    at_once = max(1, _SAMPLES_AT_ONCE // (height + width))
    return [
        mask
        for start in range(0, len(masks), at_once)
        for mask in _encode(masks[start : start + at_once], boxes_yxyx[start : start + at_once], height, width)
    ]


def _encode(masks: np.ndarray, boxes_yxyx: np.ndarray, height: int, width: int) -> list[EncodedMask]:
    masks = np.asarray(masks, np.float32)
    ymin, xmin, ymax, xmax = np.asarray(boxes_yxyx, np.float32).T
    rows = _sample(ymin, ymax, masks.shape[1], height, np.ones(len(masks), bool))
    columns = _sample(xmin, xmax, masks.shape[2], width, rows.counts > 0)
    grids, spans, encoded = _Grids.of(masks), _Spans.of(rows, masks.shape[1]), []
    for some in _groups(columns.counts):
        detection, column, row = _edges(grids, spans, rows, columns, some)
        x, y = columns.first[detection] + column, rows.first[detection] + row
        encoded += _encode_edges(detection - some.start, x, y, some.stop - some.start, height, width)
    return encoded


def _groups(column_counts: np.ndarray) -> Iterator[slice]:
    """Neighbouring detections with about `_COLUMNS_AT_ONCE` columns of pixels together."""
    group = (np.cumsum(column_counts) - 1) // _COLUMNS_AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(group)) + 1), len(column_counts)]
    yield from (slice(start, stop) for start, stop in zip(bounds, bounds[1:]))


class _Samples(NamedTuple):
    """The pixels of one axis that lie on the masks' grids, of N detections one after the other.

    Attributes:
      first: int64 `[N]`, each detection's first such pixel; the others follow without a gap.
      counts: int64 `[N]`, how many there are.
      starts: int64 `[N + 1]`, where those of each begin in `cells` and `fractions`.
      cells: int64, not descending within a detection, the grid's point before each pixel (or on it).
      fractions: float32 in [0, 1), how far each lies from that point towards the next one.
    """

    first: np.ndarray
    counts: np.ndarray
    starts: np.ndarray
    cells: np.ndarray
    fractions: np.ndarray


def _sample(low: np.ndarray, high: np.ndarray, num_cells: int, num_pixels: int, wanted: np.ndarray) -> _Samples:
    """Where the image's pixels lie on the masks' grids, along one axis; none for detections that aren't wanted.

    The order of the operations is the reference's, each rounded to float32: it decides whether the last pixel of a box
    that touches the image's border falls just outside the grid.
    """
    extent = np.maximum(high - low, MIN_EXTENT)
    start = (np.float32(0) - low) / extent  # the image's edges, in boxes
    end = (np.float32(1) - low) / extent
    last_cell = np.float32(num_cells - 1)
    if num_pixels == 1:
        positions = (np.float32(0.5) * (start + end) * last_cell)[:, np.newaxis]
    else:
        step = (end - start) * last_cell / np.float32(num_pixels - 1)
        positions = np.arange(num_pixels, dtype=np.float32) * step[:, np.newaxis]
        positions += (start * last_cell)[:, np.newaxis]
    inside = (positions >= 0) & (positions <= last_cell) & wanted[:, np.newaxis]  # contiguous: positions never descend
    counts = np.count_nonzero(inside, axis=1)
    positions = positions[inside]
    cells = positions.astype(np.int64)
    return _Samples(
        inside.argmax(axis=1), counts, np.append(0, np.cumsum(counts)), cells, positions - cells.astype(np.float32)
    )


class _Grids(NamedTuple):
    """The masks' cells, so that any columns of theirs can be taken together: float32 `[h, N * w]`.

    Attributes:
      values: the cells.
      rises: each cell's right neighbour less the cell itself; 0 in a mask's last column.
      margin: at what distance from the threshold rounding can't matter.
    """

    values: np.ndarray
    rises: np.ndarray
    margin: np.float32

    @classmethod
    def of(cls, masks: np.ndarray) -> "_Grids":
        rises = np.diff(masks, axis=2, append=masks[:, :, -1:])
        values, rises = (cells.transpose(1, 0, 2).reshape(masks.shape[1], -1) for cells in (masks, rises))
        return cls(values, rises, np.float32(1e-6) * max(np.float32(1), np.abs(masks).max()))


class _Spans(NamedTuple):
    """The rows of pixels between two rows of a grid, counted from the first sampled; the last span is the last row.

    Attributes:
      bounds: int64 `[N, h + 1]`: where each span begins, and the last one ends.
      first_fractions, last_fractions: float32 `[N, h]`: of a span's first and last row of pixels.
    """

    bounds: np.ndarray
    first_fractions: np.ndarray
    last_fractions: np.ndarray

    @classmethod
    def of(cls, rows: _Samples, num_spans: int) -> "_Spans":
        keys = np.repeat(np.arange(len(rows.counts)) * num_spans, rows.counts) + rows.cells
        lengths = np.bincount(keys, minlength=len(rows.counts) * num_spans).reshape(-1, num_spans)
        bounds = np.concatenate([np.zeros((len(lengths), 1), np.int64), np.cumsum(lengths, axis=1)], axis=1)
        fractions = np.append(rows.fractions, np.float32(0))  # an empty span may lie behind the last row
        places = bounds + rows.starts[:-1, np.newaxis]
        return cls(bounds, fractions[places[:, :-1]], fractions[places[:, 1:] - 1])


def _edges(
    grids: _Grids, spans: _Spans, rows: _Samples, columns: _Samples, some: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where columns of pixels enter and leave some detections' masks.

    Returns:
      Three int arrays, (detection, column, row), the last two counted from the first sampled pixel, in column-major
      order within a detection: enter, leave, enter, … . `row` is the first pixel that differs from the one above it;
      a column that ends inside leaves at the row after the last sampled one.
    """
    flat = slice(columns.starts[some.start], columns.starts[some.stop])
    detections = np.repeat(np.arange(some.start, some.stop), columns.counts[some])  # of each column
    cells = detections * (grids.values.shape[1] // len(columns.counts)) + columns.cells[flat]
    values = grids.rises.take(cells, axis=1)  # [h, columns]: the masks' values at the height of each row of the grid
    values *= columns.fractions[flat]
    values += grids.values.take(cells, axis=1)
    starts_inside, ends_inside = _ends_of_spans(values, grids.margin, spans, detections, some)

    # An edge lies before a span (2s), within it (2s + 1), or below the last one.
    is_edge = np.empty((2 * len(values) + 1, len(detections)), bool)
    is_edge[0] = starts_inside[0]
    np.not_equal(starts_inside[1:], ends_inside[:-1], out=is_edge[2:-1:2])
    is_edge[-1] = ends_inside[-1]
    np.not_equal(starts_inside, ends_inside, out=is_edge[1::2])
    edge, column = _nonzero(is_edge)
    order = np.sort(column * len(is_edge) + edge)  # column by column
    column = order // len(is_edge)
    edge = order - column * len(is_edge)
    detection = detections[column]
    row = spans.bounds[detection, edge // 2]

    # Within a span, bisection keeps `before` on the side of its first pixel and `after` on that of its last.
    within = np.flatnonzero(edge % 2)
    at, span, of = column[within], edge[within] // 2, detection[within]
    top = values[span, at]
    rise = values[np.minimum(span + 1, len(values) - 1), at] - top
    as_first = starts_inside[span, at]
    before, after, first_row = row[within], spans.bounds[of, span + 1] - 1, rows.starts[of]
    for _ in range(int((after - before).max(initial=0)).bit_length()):
        middle = (before + after) // 2
        as_start = (top + rise * rows.fractions[first_row + middle] > THRESHOLD) == as_first
        before = np.where(as_start, middle, before)
        after = np.where(as_start, after, middle)
    row[within] = after
    return detection, column - columns.starts[detection] + flat.start, row


def _ends_of_spans(
    values: np.ndarray, margin: np.float32, spans: _Spans, detections: np.ndarray, some: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each column of pixels is inside its mask at both ends of each span: bool `[h, columns]`.

    Most spans lie between two values on one side of the threshold; only the others are interpolated. A span without
    pixels has the state of the one above it.
    """
    above, below = values > THRESHOLD + margin, values < THRESHOLD - margin
    starts_inside = above & np.concatenate([above[1:], above[-1:]])
    undecided = ~(starts_inside | (below & np.concatenate([below[1:], below[-1:]])))
    ends_inside = starts_inside.copy()
    span, column = _nonzero(undecided)
    top = values[span, column]
    rise = values[np.minimum(span + 1, len(values) - 1), column] - top
    detection = detections[column]
    starts_inside[span, column] = top + rise * spans.first_fractions[detection, span] > THRESHOLD
    ends_inside[span, column] = top + rise * spans.last_fractions[detection, span] > THRESHOLD
    empty = spans.bounds[some, :-1] == spans.bounds[some, 1:]
    for span in np.flatnonzero(empty.any(axis=0)):
        columns = empty[detections - some.start, span]
        above_it = ends_inside[span - 1] if span else np.zeros(len(columns), bool)
        np.copyto(starts_inside[span], above_it, where=columns)
        np.copyto(ends_inside[span], above_it, where=columns)
    return starts_inside, ends_inside


def _nonzero(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.nonzero` of a contiguous `[a, b]`, several times as fast where little is set."""
    flat = np.flatnonzero(array)
    first = flat // array.shape[1]
    return first, flat - first * array.shape[1]


def _encode_edges(
    detection: np.ndarray, x: np.ndarray, y: np.ndarray, num_detections: int, height: int, width: int
) -> list[EncodedMask]:
    """Masks from where each column enters and leaves them: image pixels, column-major, detection by detection."""
    num_pixels, bounds = height * width, x * height + y
    pixels = np.bincount(detection[0::2], bounds[1::2] - bounds[0::2], num_detections).astype(np.int64)
    boxes = np.zeros((4, num_detections), np.int64)  # x, y, w, h
    found, starts = np.unique(detection, return_index=True)
    if len(found):
        lasts = np.append(starts[1:], len(detection)) - 1
        top, bottom = np.minimum.reduceat(y[0::2], starts // 2), np.maximum.reduceat(y[1::2], starts // 2)
        boxes[:, found] = x[starts], top, x[lasts] + 1 - x[starts], bottom - top
    # A column that leaves at the bottom and the next that enters at the top are one run; the image's end is no edge.
    joined = (bounds[:-1] == bounds[1:]) & (detection[:-1] == detection[1:])
    dropped = bounds == num_pixels
    dropped[:-1] |= joined
    dropped[1:] |= joined
    num_runs = np.bincount(detection[~dropped], minlength=num_detections) + 1
    lasts = np.cumsum(num_runs) - 1
    is_last = np.zeros(lasts[-1] + 1, bool)
    is_last[lasts] = True
    ends = np.full(len(is_last), num_pixels)
    ends[~is_last] = bounds[~dropped]
    runs = np.diff(ends, prepend=0)
    runs[lasts[:-1] + 1] = ends[lasts[:-1] + 1]
    return [EncodedMask(*mask) for mask in zip(_encode_runs(runs, num_runs), pixels.tolist(), *boxes.tolist())]


def encode_counts(counts: np.ndarray) -> str:
    """COCO's compressed string of run lengths: five bits a character, low ones first; from the fourth on, differences
    to the count two before.

    Args:
      counts: integers `[n]`, lengths of the runs in column-major order, of background and object in turn, background
        first (0 if the first pixel belongs to the object).
    """
    return _encode_runs(counts.astype(np.int64), np.array([len(counts)]))[0]


def _encode_runs(runs: np.ndarray, num_runs: np.ndarray) -> list[str]:
    """`encode_counts` of several masks: int64 run lengths one mask after the other, `num_runs` of each."""
    firsts = np.cumsum(num_runs) - num_runs
    from_fourth = np.flatnonzero(np.arange(len(runs)) - np.repeat(firsts, num_runs) >= 3)
    differences = runs.copy()
    differences[from_fourth] -= runs[from_fourth - 2]
    magnitudes = differences ^ (differences >> 63)
    lengths = 1 + np.searchsorted(_CHARACTERS_HOLD, magnitudes, side="right")
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    characters = np.repeat(differences, lengths) >> (5 * place) & 31
    characters += ord("0") + 32
    characters[ends - 1] -= 32  # no more characters of this count
    text = characters.astype(np.uint8).tobytes().decode("ascii")
    bounds = [0, *ends[firsts + num_runs - 1].tolist()]
    return [text[start:stop] for start, stop in zip(bounds, bounds[1:])]


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
      ValueError: if the string isn't such an encoding or its runs don't add up to the image's pixels.
    """
    runs = decode_counts(counts)
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"counts: runs of {runs.sum()} pixels do not make an image of {height} x {width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def encode_rle(mask: np.ndarray) -> str:
    """A bool mask `[height, width]` as the column `counts` of the table `masks` has it: the inverse of `decode_rle`."""
    pixels = mask.ravel(order="F")
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return encode_counts(np.diff(bounds, prepend=0, append=pixels.size))


def png_bytes(counts: str, height: int, width: int) -> bytes:
    """The mask as a PNG of the image's size, 1 bit a pixel, white on black.

    Raises:
      ValueError: as `decode_rle`.
    """
    rows = np.packbits(decode_rle(counts, height, width), axis=1)
    file = io.BytesIO()
    Image.frombytes("1", (width, height), rows.tobytes()).save(file, "PNG")
    return file.getvalue()
