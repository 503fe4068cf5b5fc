"""A comparison of two label sets for a person: lines in the terminal, and a page with charts and images."""

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ...storage import files
from ...storage.errors import shorten
from ...storage.redaction import redact_name
from ..drawing.charts import ColumnChart, Label, column_chart
from ..drawing.colours import ClassColours, Rgb, class_colours
from ..drawing.labelled_image import CannotShow, draw_detections, open_image, resize, scale_to_fit
from ..page import css_colour, data_uri, render
from ..reader import open_label_set
from ..stored_labels import StoredLabels, read_labels
from ..text import few, percent
from .comparison import BELOW, FATES, MATCHED, UNMATCHED

_ROOM_WH = (800, 600)  # every image is scaled to fit, so that its labels can be read
_JPEG_QUALITY = 80
_FONT_SIZE = 18
_GREY: Rgb = (150, 150, 150)
_MAX_LISTED = 10  # differences named below an image
_MAX_CLASSES = 10  # in the terminal


def describe_comparison(result: dict[str, Any]) -> str:
    """`compare` for a person, in lines."""
    images, found = result["images"], result["detections"]
    lines = [f"A  {result['a']['output']}", f"B  {result['b']['output']}"]
    lines += [
        f"  {key:<10} {shorten(one, 100)} → {shorten(other, 100)}"
        for key, (one, other) in result["differing_settings"].items()
    ]
    lines.append(
        f"  images     {images['compared']:,} compared; in {images['agreeing']:,} of them all detections are matched"
    )
    lines += [f"             {text}: {few(examples, count, most=5)}" for text, count, examples in _left_out(result)]
    lines.append(
        f"  detections {found['in_a']:,} in A, {found['in_b']:,} in B; {found['matched']:,} are matched: "
        f"agreement {percent(found['agreement'])}{', all of them equal' if is_equal(result) else ''}"
    )
    lines.append(
        f"             {found['missing']:,} missing, {found['added']:,} added"
        + (
            f"; {found['fell_below']:,} fell below {result['min_score']:g}, {found['rose_above']:,} rose above it"
            if result["min_score"]
            else ""
        )
    )
    if found["matched"]:
        lines.append(
            f"  scores     of matched detections shift by {found['mean_score_shift']:+.4f} on average, "
            f"{found['mean_absolute_score_shift']:.4f} either way; 99 % by "
            f"{result['scores']['p99_absolute_shift']:.3f} at most, one by {found['greatest_absolute_score_shift']:.3f}"
        )
        lines.append(
            f"  overlap    of matched detections {found['mean_iou']:.4f} on average (IoU of "
            f"{'masks' if result['iou'] == 'segm' else 'boxes'}, {result['min_iou']:g} at least)"
        )
    worst = sorted((row for row in result["classes"] if row["agreement"] < 1), key=lambda row: row["agreement"])
    if worst:
        width = max(len(row["name"]) for row in worst[:_MAX_CLASSES])
        lines += ["", f"  classes with the least agreement ({len(worst):,} of {len(result['classes']):,} differ)"]
        lines += [
            f"    {row['name']:<{width}}  {percent(row['agreement']):>9}  {row['in_a']:,} in A, {row['in_b']:,} in B, "
            f"{row['missing'] + row['fell_below']:,} missing, {row['added'] + row['rose_above']:,} added"
            for row in worst[:_MAX_CLASSES]
        ]
    if result["renamed"]:
        renamed = ", ".join(f"{row['a']} → {row['b']} {row['detections']:,}×" for row in result["renamed"][:5])
        lines.append(f"  missing and added in one place, under another name: {renamed}")
    if result["most_different"]:
        lines += ["", "  images that differ most"]
        lines += [f"    {redact_name(image['uri'])}" for image in result["most_different"][:5]]
    return "\n".join(lines)


def is_equal(result: dict[str, Any]) -> bool:
    """Whether there are detections, each is in both label sets, and none has another score or place."""
    found = result["detections"]
    return bool(
        found["agreement"] == 1 and found["greatest_absolute_score_shift"] == 0 and found["mean_iou"] > 1 - 1e-9
    )


def write_page(result: dict[str, Any], path: str) -> None:
    """Draws the images that differ most and writes the page.

    Raises:
      OSError: if the page can't be written (stores raise their clients' errors).
    """
    label_sets = [open_label_set(result[side]["output"]) for side in "ab"]
    colours = class_colours(label_sets[0].settings)
    ids = [image["image_id"] for image in result["most_different"]]
    sides = [{labels.image_id: labels for labels in read_labels(label_set, ids)} for label_set in label_sets]
    page = render(
        "compare.html.j2",
        result=result,
        equal=is_equal(result),
        left_out=_left_out(result),
        shifts=_shift_chart(result["scores"]["histogram"]),
        images=[
            _drawn_image(image, [side[image["image_id"]] for side in sides], colours)
            for image in result["most_different"]
        ],
    )
    files.write_where_asked("--html", path, page)


def _left_out(result: dict[str, Any]) -> list[tuple[str, int, list[str]]]:
    """(what, how many, examples) of the images that were not compared."""
    texts = {
        "only_in_a": "only in A",
        "only_in_b": "only in B",
        "failed_in_a": "failed in A, labelled in B",
        "failed_in_b": "failed in B, labelled in A",
        "failed_in_both": "failed in both",
        "of_another_size": "of another size in B",
    }
    images = result["images"]
    return [
        (f"{images[kind]:,} {text}", images[kind], images["examples"][kind])
        for kind, text in texts.items()
        if images[kind]
    ]


def _shift_chart(histogram: Sequence[Sequence[float]]) -> ColumnChart:
    """Columns 0.02 wide; what lies further out than ±0.2 is in the outer ones."""
    sizes = dict.fromkeys(range(-10, 11), 0)
    for shift, count in histogram:
        sizes[max(-10, min(10, round(shift * 50)))] += int(count)
    titles = [f"{place / 50:+.2f}: {count:,}" for place, count in sizes.items()]
    labels = [Label((place + 10.5) / 21, f"{place / 50:+.1f}" if place else "0") for place in (-10, -5, 0, 5, 10)]
    description = "Matched detections by the shift of their score"
    return column_chart(description, list(sizes.values()), titles, labels, square_roots=True)


def _drawn_image(image: dict[str, Any], labels: Sequence[StoredLabels], colours: ClassColours) -> dict[str, Any]:
    """An image as A and as B labelled it, as JPEGs, or why it can't be shown; and what differs."""
    fates = [image["fates_a"], image["fates_b"]]
    shown: dict[str, Any] = {"uri": image["uri"], "changes": _changes(labels, fates, colours)}
    try:
        photo = open_image(labels[0])
        photo = resize(photo, scale_to_fit(photo.size, _ROOM_WH)[0])
        return shown | {"sides": [_drawn_side(photo, *side, colours) for side in zip(labels, fates, strict=True)]}
    except CannotShow as error:
        return shown | {"problem": str(error)}


def _drawn_side(photo: Image.Image, labels: StoredLabels, fates: Sequence[str], colours: ClassColours) -> str:
    """What is matched is grey; on top, what differs, in the colours of the classes."""
    grey = dict.fromkeys(labels.class_names, _GREY)
    for counted, colours_of in (((MATCHED,), grey), ((BELOW, UNMATCHED), colours)):
        ranks = [rank for rank, fate in enumerate(fates) if FATES.index(fate) in counted]
        photo = draw_detections(photo, labels, colours_of, _FONT_SIZE, ranks)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=_JPEG_QUALITY)
    return data_uri("image/jpeg", file)


def _changes(
    labels: Sequence[StoredLabels], fates: Sequence[Sequence[str]], colours: ClassColours
) -> list[dict[str, Any]]:
    """The detections without a match, the best first."""
    changes = [
        (float(of_side.scores[rank]), side, of_side.class_names[rank], fate)
        for side, (of_side, fates_of_side) in enumerate(zip(labels, fates, strict=True))
        for rank, fate in enumerate(fates_of_side)
        if FATES.index(fate) in (BELOW, UNMATCHED)
    ]
    return [
        {
            "side": "AB"[side],
            "name": name,
            "colour": css_colour(colours[name]),
            "score": f"{score:.2f}",
            "below": FATES.index(fate) == BELOW,
        }
        for score, side, name, fate in sorted(changes, reverse=True)[:_MAX_LISTED]
    ]
