"""The images of a report: chosen images with their detections as layers that can be shown and hidden one by one.

Reads each image again from its URI, several at once. A card never takes more bytes than it's given.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...labelset.part_files import DamagedPartError
from ..drawing.colours import Rgb
from ..drawing.draw import Place, mask_opacity, place_labels
from ..drawing.labelled_image import CannotShow, open_image, resize, scale_to_fit
from ..page import data_uri
from ..reader import LabelSet
from ..stored_labels import StoredLabels, read_labels
from .choice import Chosen

TILE_WH = (640, 480)  # every image is scaled to fit, in these units
FONT_SIZE = 20
_MAX_DETECTIONS = 50  # drawn in one image
_JPEG_STEPS = ((1.0, 82), (1.0, 65), (0.75, 60), (0.5, 55), (0.25, 50))  # scale, quality: the first that fits
_MASKS_SHARE = 0.4  # of a card's bytes
_READ_THREADS = 4  # each holds a whole image

# A mask's opacities in a palette of four, and the opacity from which on each is taken: nothing, an edge, the inside,
# the outline.
_OPACITIES = bytes([0, 54, 107, 255])
_OPACITY_LIMITS = (27, 80, 180)


class Layer(NamedTuple):
    """One detection in an image; pixels of the tile.

    Attributes:
      name, score: class and confidence.
      box: (left, top, width, height).
      label: (left, top, width, height) of its text.
      text: of the label.
      mask: data URI of a PNG and (left, top, width, height), or None.
    """

    name: str
    score: float
    box: tuple[float, ...]
    label: tuple[float, ...]
    text: str
    mask: tuple[str, tuple[float, ...]] | None


@dataclass
class Card:
    """An image in the gallery.

    Attributes:
      uri, image_id: as in the tables.
      reasons: why it was chosen: (group, detail).
      num_detections: all of them; `layers` are at most `_MAX_DETECTIONS`.
      problem: a heading and a sentence, if the image failed or can't be shown.
      image: data URI of a JPEG, or None.
      size_wh: of the image on its tile.
      layers: best detection first.
    """

    uri: str
    image_id: str
    reasons: list[tuple[str, str]]
    num_detections: int = 0
    problem: tuple[str, str] | None = None
    image: str | None = None
    size_wh: tuple[int, int] = TILE_WH
    layers: list[Layer] = field(default_factory=list)


def make_cards(label_set: LabelSet, chosen: Sequence[Chosen], colours: Mapping[str, Rgb], max_bytes: int) -> list[Card]:
    """A card for each chosen image, in their order; one that was chosen twice has both reasons.

    Args:
      colours: of the masks, by class.
      max_bytes: of all images and masks together, as they stand in the page.
    """
    reasons: dict[str, list[tuple[str, str]]] = {}
    for _, image_id, group, detail in chosen:
        reasons.setdefault(image_id, []).append((group, detail))
    labels = {image.image_id: image for image in read_labels(label_set, list(reasons), {stem for stem, *_ in chosen})}
    num_images = sum(image.failure is None for image in labels.values())

    def make(image_id: str) -> Card:
        return _make_card(labels[image_id], reasons[image_id], colours, max_bytes // max(num_images, 1))

    with ThreadPoolExecutor(_READ_THREADS) as pool:
        return list(pool.map(make, reasons))


def _make_card(image: StoredLabels, reasons: list[tuple[str, str]], colours: Mapping[str, Rgb], max_bytes: int) -> Card:
    card = Card(image.uri, image.image_id, reasons, len(image.scores))
    if image.failure:
        card.problem = (image.failure.kind, image.failure.message)
        return card
    try:
        photo = open_image(image)
        card.size_wh, scale = scale_to_fit(photo.size, TILE_WH)
        card.layers = _make_layers(image, card.size_wh, scale, colours, int(max_bytes * _MASKS_SHARE))
    except CannotShow as error:
        card.problem = ("labelled, but can't be shown", str(error))
        return card
    except DamagedPartError as error:
        card.problem = ("labelled, but can't be shown", f"a mask's file: {error}")
        return card
    left = max_bytes - sum(len(layer.mask[0]) for layer in card.layers if layer.mask)
    card.image = _encode_image(photo, card.size_wh, left)
    return card


def _make_layers(
    image: StoredLabels, size_wh: tuple[int, int], scale: float, colours: Mapping[str, Rgb], max_mask_bytes: int
) -> list[Layer]:
    """The best detections' layers; masks as far as the bytes go, the best ones first."""
    names, scores = image.class_names[:_MAX_DETECTIONS], image.scores[:_MAX_DETECTIONS].tolist()
    boxes = image.boxes_xywh[:_MAX_DETECTIONS] * scale
    layers = []
    for rank, (place, text) in enumerate(place_labels(boxes, names, scores, size_wh, FONT_SIZE)):
        mask = _encode_mask(image.mask(rank), size_wh, colours[names[rank]]) if max_mask_bytes > 0 else None
        max_mask_bytes -= len(mask[0]) if mask else 0
        layers.append(
            Layer(
                names[rank],
                float(scores[rank]),
                tuple(boxes[rank].tolist()),
                _xywh(place),
                text,
                mask if max_mask_bytes >= 0 else None,
            )
        )
    return layers


def _encode_mask(
    mask: np.ndarray | None, size_wh: tuple[int, int], colour: Rgb
) -> tuple[str, tuple[float, ...]] | None:
    laid = None if mask is None else mask_opacity(mask, size_wh)
    if laid is None:
        return None
    opacity, place = laid
    levels = Image.fromarray(np.digitize(np.asarray(opacity), _OPACITY_LIMITS).astype(np.uint8))
    levels.putpalette(bytes(colour) * len(_OPACITIES))
    file = io.BytesIO()
    levels.save(file, "PNG", bits=2, transparency=_OPACITIES)
    return data_uri("image/png", file), _xywh(place)


def _encode_image(photo: Image.Image, size_wh: tuple[int, int], max_bytes: int) -> str:
    """As a JPEG that fits into the bytes, at the cost of detail; never larger than the image itself."""
    uri = ""
    for scale, quality in _JPEG_STEPS:
        width, height = (max(1, min(own, round(side * scale))) for own, side in zip(photo.size, size_wh, strict=True))
        file = io.BytesIO()
        resize(photo, (width, height)).save(file, "JPEG", quality=quality, optimize=True)
        uri = data_uri("image/jpeg", file)
        if len(uri) <= max_bytes:
            break
    return uri


def _xywh(place: Place) -> tuple[float, ...]:
    left, top, right, bottom = place
    return left, top, right - left, bottom - top
