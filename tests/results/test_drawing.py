import numpy as np
import pytest
from labelbeam.results.drawing.colours import PALETTE, class_colours, text_colour_on
from labelbeam.results.drawing.draw import draw_labels, fit_text, font, printable
from PIL import Image, ImageColor


def grey_image(size_wh=(320, 240)):
    return Image.new("RGB", size_wh, (128, 128, 128))


def coloured(image, colour):
    """bool `[height, width]`: pixels of exactly this colour."""
    return (np.asarray(image) == colour).all(axis=-1)


def test_masks_are_tinted_in_any_resolution_and_nothing_else_is_touched():
    mask = np.zeros((24, 32), bool)
    mask[10:14, 20:24] = True  # pixels 100 to 139, 200 to 239 of the image
    image = grey_image()
    drawn = np.asarray(
        draw_labels(image, np.float32([[120, 60, 10, 10]]), [mask], ["ball"], [0.5], {"ball": PALETTE[0]})
    )
    changed = (drawn != 128).any(axis=-1)
    assert changed[100:140, 200:240].all()
    assert np.abs(drawn[120, 220].astype(int) - 128).max() < 64 < np.abs(np.int32(PALETTE[0]) - 128).max()
    assert not changed[98:142, 150:198].any() and not changed[160:].any()
    assert coloured(image, (128, 128, 128)).all(), "the image that was given is unchanged"


def test_boxes_lie_where_they_were_found():
    image = draw_labels(grey_image(), np.float32([[100, 80, 60, 40]]), [None], ["ball"], [0.5], {"ball": (255, 0, 0)})
    red = coloured(image, (255, 0, 0))
    assert red[80:120, 100].all() and red[80:120, 159].all() and red[119, 100:160].all()
    assert not red[85:115, 105:155].any() and not red[80:, 160:].any() and not red[120:].any()


def test_labels_stay_inside_and_apart():
    colours = {f"class {i}": ImageColor.getrgb(f"hsl({36 * i}, 90%, 60%)") for i in range(10)}
    corners = [(0, 0), (300, 0), (0, 220), (300, 220), (10, 110), (290, 110)]
    close = [(150, 110), (152, 112), (154, 114), (156, 116)]
    boxes = np.float32([[x, y, 20, 20] for x, y in corners + close])
    image = draw_labels(grey_image(), boxes, [None] * 10, list(colours), np.linspace(0.9, 0.1, 10), colours)
    for name, colour in colours.items():
        width = font(15).getlength(f"{name} 0.50")
        area = coloured(image, colour).sum()
        assert area > 0.6 * width * 20, f"{name}: its label is covered or outside, {area} pixels are left"


def test_a_label_wider_than_the_image_is_shortened():
    name = "a class with a name that is much too long for an image"
    image = draw_labels(
        grey_image((120, 60)), np.float32([[10, 30, 40, 20]]), [None], [name], [0.5], {name: PALETTE[0]}
    )
    assert image.size == (120, 60)
    assert fit_text(name, 15, 100, " 0.50").endswith(" 0.50") and "…" in fit_text(name, 15, 100, " 0.50")


@pytest.mark.parametrize("max_width", [300, 100, 40, 15])
def test_text_is_made_to_fit(max_width):
    text = fit_text("IMG_20240229_123456_HDR.jpg", 15, max_width)
    assert font(15).getlength(text) <= max_width
    assert text.startswith("IMG") == (max_width > 40) and ("…" in text) == (max_width < 300)


def test_text_has_only_letters_that_the_font_has():
    assert printable("Straße – Café, 640×480") == "Strasse - Cafe, 640x480"
    assert printable("猫.jpg") == "?.jpg"


def test_a_class_has_one_colour_whatever_else_is_shown():
    colours = class_colours({"labels": {"10": "box", "2": "ball", "1": "apple"}})
    assert [colours[name] for name in ("apple", "ball", "box")] == list(PALETTE[:3])
    many = class_colours({"labels": {str(i): f"class {i}" for i in range(2 * len(PALETTE))}})
    assert set(many.values()) == set(PALETTE)
    assert colours["unknown"] == class_colours({})["unknown"] in PALETTE


@pytest.mark.parametrize("background", PALETTE)
def test_text_can_be_read_on_every_colour(background):
    def luminance(rgb):  # WCAG 2's
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(rgb) / 255]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    light, dark = sorted([luminance(background), luminance(text_colour_on(background))], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3
