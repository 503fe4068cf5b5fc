"""One colour for each class, the same in every report, page, sheet and image of a label set.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), then those of Paul Tol's (personal.sron.nl/~pault) that
look like none of them; people with colour-blindness tell them apart, and labels say the class in words as well.
"""

import zlib
from collections.abc import Mapping
from typing import Any

Rgb = tuple[int, int, int]

PALETTE: tuple[Rgb, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (136, 34, 85),
    (153, 153, 51),
    (51, 34, 136),
    (187, 187, 187),
)

_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)


class ClassColours(dict[str, Rgb]):
    """Class name -> colour; a class that isn't in the label map has one by its name."""

    def __missing__(self, name: str) -> Rgb:
        return PALETTE[zlib.crc32(name.encode("utf-8", "replace")) % len(PALETTE)]


def class_colours(settings: Mapping[str, Any]) -> ClassColours:
    """The colours of a label set's classes, in the order of its label map; they repeat after `len(PALETTE)`.

    Args:
      settings: of the label set.
    """
    by_id = sorted(settings.get("labels", {}).items(), key=lambda item: int(item[0]))
    return ClassColours({name: PALETTE[place % len(PALETTE)] for place, (_, name) in enumerate(by_id)})


def text_colour_on(background: Rgb) -> Rgb:
    """Dark or light, whichever is easier to read (luma of ITU-R BT.601)."""
    red, green, blue = background
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 125 else _LIGHT
