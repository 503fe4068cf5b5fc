"""A contact sheet: a sample of a label set's images with what was found in them, in one image, to be judged by eye."""

import io
import os
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ...storage import files as output_files
from ...storage.errors import UsageError
from ..reader import open_label_set
from ..stored_labels import StoredLabels, sample_labels
from .colours import Rgb, class_colours
from .draw import fit_text, font, printable
from .labelled_image import CannotShow, draw_detections, open_image, resize, scale_to_fit

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

_TILE_WIDTH = 480
_TILE_HEIGHTS = (240, 640)  # at least, at most; between them as the images' shapes demand
_MARGIN, _GAP = 28, 20
_FONT_SIZE, _TITLE_SIZE = 16, 26
_CAPTION_HEIGHT = 30

_PAPER, _TILE, _INK, _MUTED, _ALARM = (255, 255, 255), (240, 240, 242), (30, 30, 34), (112, 112, 120), (176, 42, 34)


def write_contact_sheet(
    output_folder: str,
    to_path: str,
    *,
    num_images: int = 12,
    min_score: float = 0.3,
    max_detections: int = 30,
    columns: int = 4,
    seed: int = 0,
) -> None:
    """Draws a sample of the images in an output folder, failed ones included, and writes it as one image.

    Args:
      output_folder: of `labelbeam label`.
      to_path: the image's path, `.png`, `.jpg` or `.jpeg`; on any store that Beam knows.
      num_images: at most so many.
      min_score: detections with a lower score aren't drawn.
      max_detections: at most so many are drawn in one image, the best ones.
      columns: tiles side by side.
      seed: of the sample; the same seed shows the same images.

    Raises:
      UsageError: if the path's extension is another, or the folder holds no labelled images.
    """
    if num_images < 1 or columns < 1:
        raise ValueError(f"contact sheet: expected at least one image and one column, got {num_images} and {columns}")
    extension = os.path.splitext(to_path)[1].lower()
    if extension not in _FORMATS:
        raise UsageError(f"contact sheet {to_path}: expected a name that ends in {', '.join(_FORMATS)}")
    label_set = open_label_set(output_folder)
    images = sample_labels(label_set, num_images, seed)
    shown = [_num_shown(image, min_score, max_detections) for image in images]
    counts = Counter(name for image, num in zip(images, shown, strict=True) for name in image.class_names[:num])
    colours = class_colours(label_set.settings)
    tile_wh = (_TILE_WIDTH, _tile_height(images))
    tiles = [
        _Tile(_draw_tile(image, num, tile_wh, colours), *_caption(image, num))
        for image, num in zip(images, shown, strict=True)
    ]
    sheet = _arrange(tiles, tile_wh, min(columns, len(tiles)), _title(images), counts, colours)
    file = io.BytesIO()
    sheet.save(file, _FORMATS[extension], **({"quality": 90, "subsampling": 0} if extension != ".png" else {}))
    output_files.write_atomically(to_path, file.getbuffer())


@dataclass(frozen=True)
class _Tile:
    image: Image.Image
    name: str
    note: str


def _num_shown(image: StoredLabels, min_score: float, max_detections: int) -> int:
    """How many of an image's detections are shown: they come best first."""
    return min(int((image.scores >= min_score).sum()), max_detections)


def _tile_height(images: Sequence[StoredLabels]) -> int:
    """Tiles have the middle one of the images' shapes, so that little room is lost."""
    ratios = [image.size_hw[0] / image.size_hw[1] for image in images if image.size_hw] or [3 / 4]
    return round(np.clip(_TILE_WIDTH * np.median(ratios), *_TILE_HEIGHTS))


def _title(images: Sequence[StoredLabels]) -> str:
    detector = images[0].settings.get("detector")
    return f"{len(images)} image{'s' * (len(images) != 1)}" + (f", labelled by {detector}" if detector else "")


def _caption(image: StoredLabels, num_shown: int) -> tuple[str, str]:
    """An image's name, and in a few words what was found."""
    name = image.uri.rstrip("/").rpartition("/")[2]
    if image.failure:
        return name, "failed"
    return name, f"{num_shown} detection{'s' * (num_shown != 1)}" if num_shown else "nothing found"


def _draw_tile(
    image: StoredLabels, num_shown: int, tile_wh: tuple[int, int], colours: Mapping[str, Rgb]
) -> Image.Image:
    if image.failure:
        return _error_tile(image.failure.kind, image.failure.message, tile_wh)
    try:
        photo = open_image(image)
        photo = resize(photo, scale_to_fit(photo.size, tile_wh)[0])
        return draw_detections(photo, image, colours, _FONT_SIZE, range(num_shown))
    except CannotShow as error:
        return _error_tile("labelled, but can't be shown", str(error), tile_wh)


def _error_tile(kind: str, message: str, tile_wh: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", tile_wh, _TILE)
    draw = ImageDraw.Draw(tile)
    left, line_height = _MARGIN, round(_FONT_SIZE * 1.4)
    lines = _wrap(message, tile_wh[0] - 2 * left)[: (tile_wh[1] - 3 * _MARGIN) // line_height]
    top = (tile_wh[1] - (len(lines) + 2) * line_height) // 2
    draw.text((left, top), kind, _ALARM, font(_FONT_SIZE + 4))
    for index, line in enumerate(lines, start=2):
        draw.text((left, top + index * line_height), line, _MUTED, font(_FONT_SIZE))
    return tile


def _wrap(text: str, max_width: int) -> list[str]:
    characters = int(max_width / font(_FONT_SIZE).getlength("n"))
    return textwrap.wrap(printable(text), characters)


def _arrange(
    tiles: Sequence[_Tile],
    tile_wh: tuple[int, int],
    columns: int,
    title: str,
    counts: Counter[str],
    colours: Mapping[str, Rgb],
) -> Image.Image:
    tile_w, tile_h = tile_wh
    rows = -(-len(tiles) // columns)
    width = 2 * _MARGIN + columns * tile_w + (columns - 1) * _GAP
    header = _MARGIN + _TITLE_SIZE + _GAP + (2 * _FONT_SIZE if counts else 0)
    sheet = Image.new("RGB", (width, header + rows * (tile_h + _CAPTION_HEIGHT + _GAP) + _MARGIN - _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), fit_text(title, _TITLE_SIZE, width - 2 * _MARGIN), _INK, font(_TITLE_SIZE))
    _draw_legend(draw, (_MARGIN, _MARGIN + _TITLE_SIZE + _GAP // 2 + _FONT_SIZE), width - _MARGIN, counts, colours)
    for index, tile in enumerate(tiles):
        left = _MARGIN + index % columns * (tile_w + _GAP)
        top = header + index // columns * (tile_h + _CAPTION_HEIGHT + _GAP)
        sheet.paste(_TILE, (left, top, left + tile_w, top + tile_h))
        photo = tile.image
        sheet.paste(photo, (left + (tile_w - photo.width) // 2, top + (tile_h - photo.height) // 2))
        middle = top + tile_h + _CAPTION_HEIGHT / 2
        draw.text((left + tile_w, middle), tile.note, _MUTED, font(_FONT_SIZE), "rm")
        room = tile_w - font(_FONT_SIZE).getlength(tile.note) - _GAP
        draw.text((left, middle), fit_text(tile.name, _FONT_SIZE, room), _INK, font(_FONT_SIZE), "lm")
    return sheet


def _draw_legend(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], right: int, counts: Counter[str], colours: Mapping[str, Rgb]
) -> None:
    """One line: each class with its colour and how often it is shown, the most frequent first, as many as fit."""
    left, middle = at
    swatch = _FONT_SIZE
    for name, count in counts.most_common():
        text = f"{printable(name)} {count}"
        end = left + swatch + 8 + font(_FONT_SIZE).getlength(text)
        if end > right - _GAP:
            draw.text((left, middle), "…", _MUTED, font(_FONT_SIZE), "lm")
            return
        draw.rectangle((left, middle - swatch // 2, left + swatch, middle + swatch // 2), fill=colours[name])
        draw.text((left + swatch + 8, middle), text, _INK, font(_FONT_SIZE), "lm")
        left = end + _GAP
