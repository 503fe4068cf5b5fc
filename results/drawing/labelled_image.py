"""An image that was labelled, read again and drawn with its labels, for reports, pages, sheets and `show`."""

from collections.abc import Mapping, Sequence

from PIL import Image

from ...labelset.part_files import DamagedPartError
from ...transforms.elements import ImageError
from ..pixels import read_pixels
from ..stored_labels import StoredLabels
from .colours import Rgb
from .draw import draw_labels


class CannotShow(Exception):
    """An image was labelled, but can't be shown now; the message says why."""


def open_image(labels: StoredLabels) -> Image.Image:
    """The whole image, mode RGB. Raises `CannotShow` if it's gone, or isn't what was labelled."""
    try:
        return Image.fromarray(read_pixels(labels))
    except ImageError as error:
        raise CannotShow(error.message) from error


def scale_to_fit(size_wh: tuple[int, int], room_wh: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """The largest size of an image's shape in some room, and how many of its pixels one of the image's is."""
    scale = min(room_wh[0] / size_wh[0], room_wh[1] / size_wh[1])
    return (max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))), scale


def resize(image: Image.Image, size_wh: tuple[int, int]) -> Image.Image:
    return image.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3)


def draw_detections(
    image: Image.Image,
    labels: StoredLabels,
    colours: Mapping[str, Rgb],
    font_size: int,
    ranks: Sequence[int] | None = None,
) -> Image.Image:
    """An image, scaled or not, with some of its detections drawn in.

    Args:
      image: in its own shape.
      ranks: of the detections; all if None.

    Raises:
      CannotShow: if a mask's file is gone or damaged.
    """
    ranks = range(len(labels.scores)) if ranks is None else ranks
    scale = image.width / labels.image_size_hw[1]
    try:
        return draw_labels(
            image,
            labels.boxes_xywh[list(ranks)] * scale,
            map(labels.mask, ranks),
            [labels.class_names[rank] for rank in ranks],
            [float(labels.scores[rank]) for rank in ranks],
            colours,
            font_size,
        )
    except DamagedPartError as error:
        raise CannotShow(f"a mask's file: {error}") from error
