"""Draws detections into an image: masks, boxes, and labels that can be read. Antialiased, for people to look at."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from .colours import Rgb, text_colour_on

Place = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

MASK_OPACITY = 0.42
_HALO = (0, 0, 0, 120)


def draw_labels(
    image: Image.Image,
    boxes_xywh: np.ndarray,
    masks: Iterable[np.ndarray | None],
    names: Sequence[str],
    scores: Sequence[float],
    colours: Mapping[str, Rgb],
    font_size: int = 15,
) -> Image.Image:
    """Draws detections into a copy of an image.

    Args:
      image: the image, mode RGB.
      boxes_xywh: float `[N, 4]` in the image's pixels, best detection first.
      masks: `[N]` masks, bool `[height, width]` of the whole image in any resolution, or None. Taken one at a time,
        so a generator need not hold them all.
      names: `[N]` classes.
      scores: `[N]`, in [0, 1].
      colours: by class.
      font_size: of the labels, in pixels; the lines' widths follow it.

    Returns:
      A new image of the same size.
    """
    drawn = image.copy()
    for mask, name in zip(masks, names, strict=True):
        laid = None if mask is None else mask_opacity(mask, drawn.size)
        if laid is not None:
            opacity, around = laid
            drawn.paste(colours[name], around, opacity)
    line_width = max(1, round(font_size / 8))
    draw = ImageDraw.Draw(drawn, "RGBA")
    for box, name in reversed(list(zip(boxes_xywh, names, strict=True))):  # the best on top
        _draw_box(draw, box, colours[name], line_width)
    for (place, text), name in zip(place_labels(boxes_xywh, names, scores, image.size, font_size), names, strict=True):
        _draw_label(draw, place, text, colours[name], font_size)
    return drawn


def place_labels(
    boxes_xywh: np.ndarray, names: Sequence[str], scores: Sequence[float], image_wh: tuple[int, int], font_size: int
) -> list[tuple[Place, str]]:
    """Where each detection's label goes, and its text: at its box, and as far as there's room not on another label."""
    placed: list[tuple[Place, str]] = []
    for box, name, score in zip(boxes_xywh, names, scores, strict=True):
        text = fit_text(name, font_size, image_wh[0] - 2 * _padding(font_size), suffix=f" {score:.2f}")
        place = _find_place(_label_size(text, font_size), box, image_wh, [place for place, _ in placed])
        placed.append((place, text))
    return placed


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is everywhere that Pillow is."""
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """Text that Pillow's own font has letters for: without accents; what has no likeness in ASCII becomes `?`."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_LIKENESS))
    return decomposed.translate(_NO_MARKS).encode("ascii", "replace").decode()


_LIKENESS = str.maketrans({"×": "x", "–": "-", "—": "-", "−": "-", "ß": "ss", "“": '"', "”": '"', "‘": "'", "’": "'"})
_NO_MARKS = dict.fromkeys(range(768, 880))  # combining accents


def fit_text(text: str, font_size: int, max_width: float, suffix: str = "") -> str:
    """`text` and `suffix`, with as much of the middle of `text` left out as `max_width` pixels demand."""
    text = printable(text)
    for kept in range(len(text), 0, -1):
        shown = text if kept == len(text) else f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font(font_size).getlength(shown + suffix) <= max_width:
            return shown + suffix
    return suffix.strip()


def mask_opacity(mask: np.ndarray, image_wh: tuple[int, int]) -> tuple[Image.Image, tuple[int, int, int, int]] | None:
    """How a mask is laid on an image of this size: translucent, with an opaque outline.

    Returns:
      Its opacity, mode L, cropped to the pixels around the mask, and their place (left, top, right, bottom); None if it
      covers no pixel.
    """
    # Two rows and columns of the mask a pixel are enough for smooth edges, however large the mask.
    step = max(1, min(mask.shape[0] // image_wh[1], mask.shape[1] // image_wh[0]) // 2)
    thinned = np.ascontiguousarray(mask[::step, ::step])
    coverage = Image.fromarray(thinned).convert("L").resize(image_wh, Image.Resampling.BOX)
    around = coverage.getbbox()
    if around is None:
        return None
    left, top, right, bottom = around
    around = (max(left - 1, 0), max(top - 1, 0), min(right + 1, image_wh[0]), min(bottom + 1, image_wh[1]))
    coverage = coverage.crop(around)
    contour = ImageChops.subtract(coverage, coverage.filter(ImageFilter.MinFilter(3)))
    return ImageChops.lighter(coverage.point(lambda value: value * MASK_OPACITY), contour), around


def _draw_box(draw: ImageDraw.ImageDraw, box_xywh: np.ndarray, colour: Rgb, line_width: int) -> None:
    x, y, w, h = (float(value) for value in box_xywh)
    right, bottom = max(x, x + w - 1), max(y, y + h - 1)
    draw.rectangle((x - 1, y - 1, right + 1, bottom + 1), outline=_HALO, width=line_width + 2)
    draw.rectangle((x, y, right, bottom), outline=colour, width=line_width)


def _label_size(text: str, font_size: int) -> tuple[int, int]:
    left, _, right, _ = font(font_size).getbbox(text)
    return round(right - left) + 2 * _padding(font_size), round(font_size * 1.3)


def _padding(font_size: int) -> int:
    return max(2, font_size // 4)


def _find_place(
    label_wh: tuple[int, int], box_xywh: np.ndarray, image_wh: tuple[int, int], taken: Sequence[Place]
) -> Place:
    """Where a label goes: the first free place at its box, else the emptiest one."""
    label_w, label_h = label_wh
    x, y, w, h = (float(value) for value in box_xywh)
    tops = [y - label_h, y, y + h, y + h - label_h]  # above, inside, below, inside at the bottom
    tops += list(np.arange(y + label_h, y + h - label_h, label_h))
    lefts = [x, x + w - label_w, x + (w - label_w) / 2]
    top = np.repeat(np.clip(tops, 0, max(image_wh[1] - label_h, 0)), len(lefts))
    left = np.tile(np.clip(lefts, 0, max(image_wh[0] - label_w, 0)), len(tops))
    places = np.stack([left, top, left + label_w, top + label_h], axis=1)
    others = np.reshape(taken, (-1, 4))
    overlap_wh = np.minimum(places[:, None, 2:], others[:, 2:]) - np.maximum(places[:, None, :2], others[:, :2])
    return tuple(places[overlap_wh.clip(0).prod(axis=-1).sum(axis=-1).argmin()].tolist())


def _draw_label(draw: ImageDraw.ImageDraw, place: Place, text: str, colour: Rgb, font_size: int) -> None:
    left, top, right, bottom = (round(value) for value in place)
    draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    draw.text(((left + right) / 2, (top + bottom) / 2), text, text_colour_on(colour), font(font_size), anchor="mm")
