"""`labelbeam compare A B`: lines in the terminal, and a page with charts and images, all in one HTML file.

The page needs no network and no script. Images are read again from their URIs; one that can't be is said so. Not for
figures: those come from `compare.py`.
"""

import argparse
import base64
import io
import json
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ...storage import files as output_files
from ...transforms.elements import ImageError
from ..drawing.draw import Rgb, draw_labels
from ..result_files import check_result_file, write_json
from ..stored_labels import StoredLabels, read_labels
from .comparison import ALONE, BELOW, FATES, IN_BOTH, compare

_IMAGE_WH = (640, 640)
_JPEG_QUALITY = 80
_FONT_SIZE = 14
_SHARED: Rgb = (150, 150, 150)
_ONLY: tuple[Rgb, Rgb] = ((213, 94, 0), (0, 158, 115))  # in A alone, in B alone; vermilion and green of Okabe and Ito
_MAX_LISTED = 10  # differences named below an image
_MAX_CLASSES = 10  # in the terminal


def run_compare(args: argparse.Namespace) -> int:
    """Compares and prints; returns the exit code.

    Raises:
      UsageError: as `compare`, or if a result can't be written where it is to go.
    """
    check_result_file("--json", args.json)
    check_result_file("--html", args.html)
    result = compare(args.a, args.b, iou=args.iou, min_iou=args.min_iou, min_score=args.min_score)
    print(describe_comparison(result))
    if args.json:
        write_json(args.json, result)
    if args.html:
        write_page(result, args.html)
    return 0


def describe_comparison(result: dict[str, Any]) -> str:
    """`compare` for a person, in lines."""
    images, found = result["images"], result["detections"]
    lines = [f"A  {result['a']['output']}", f"B  {result['b']['output']}"]
    lines += [
        f"  {key:<10} {_short(one)} → {_short(other)}" for key, (one, other) in result["differing_settings"].items()
    ]
    lines.append(
        f"  images     {images['compared']:,} compared, {images['agreeing']:,} of them with partners for all detections"
    )
    lines += [
        f"             {text}: {', '.join(examples)}{', …' * (count > len(examples))}"
        for text, count, examples in _left_out(result)
    ]
    lines.append(
        f"  detections {found['in_a']:,} in A, {found['in_b']:,} in B; {found['in_both']:,} are partners: "
        f"agreement {_percent(found['agreement'])}{', all of them equal' * is_equal(result)}"
    )
    lines.append(
        f"             {found['lost']:,} lost, {found['new']:,} new"
        + (
            f"; {found['fell_below']:,} fell below {result['min_score']:g}, {found['rose_above']:,} rose above it"
            if result["min_score"]
            else ""
        )
    )
    if found["in_both"]:
        lines.append(
            f"  scores     of partners shift by {found['mean_score_shift']:+.4f} on average, "
            f"{found['mean_absolute_score_shift']:.4f} either way; 99 % by "
            f"{result['scores']['p99_absolute_shift']:.3f} at most, one by {found['greatest_absolute_score_shift']:.3f}"
        )
        lines.append(
            f"  overlap    of partners {found['mean_iou']:.4f} on average (IoU of "
            f"{'masks' if result['iou'] == 'segm' else 'boxes'}, {result['min_iou']:g} at least)"
        )
    worst = sorted((row for row in result["classes"] if row["agreement"] < 1), key=lambda row: row["agreement"])
    if worst:
        width = max(len(row["name"]) for row in worst[:_MAX_CLASSES])
        lines += ["", f"  classes with the least agreement ({len(worst):,} of {len(result['classes']):,} differ)"]
        lines += [
            f"    {row['name']:<{width}}  {_percent(row['agreement']):>9}  {row['in_a']:,} in A, {row['in_b']:,} in B, "
            f"{row['lost'] + row['fell_below']:,} lost, {row['new'] + row['rose_above']:,} new"
            for row in worst[:_MAX_CLASSES]
        ]
    if result["renamed"]:
        renamed = ", ".join(f"{row['a']} → {row['b']} {row['detections']:,}×" for row in result["renamed"][:5])
        lines.append(f"  lost and new in one place, under another name: {renamed}")
    if result["most_different"]:
        lines += ["", "  images that differ most"]
        lines += [f"    {image['uri']}" for image in result["most_different"][:5]]
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
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "short": _short, "shift": _shift}
    template = environment.get_template("compare.html.j2")
    page = template.render(
        result=result,
        equal=is_equal(result),
        left_out=_left_out(result),
        bars=_bars(result["scores"]["histogram"]),
        images=_drawn_images(result),
        only_colours=["#%02x%02x%02x" % colour for colour in _ONLY],
    )
    output_files.write_atomically(path, page.encode("utf-8"))


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


def _bars(histogram: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Bars of the chart of score shifts, 0.02 wide; what lies further out than ±0.2 is in the outer ones. Heights 0 to 1, of the
    square root, so that few can be seen beside many."""
    sizes = dict.fromkeys(range(-10, 11), 0)
    for shift, count in histogram:
        sizes[max(-10, min(10, round(shift * 50)))] += count
    greatest = max(sizes.values()) or 1
    return [
        {"centre": place / 50, "count": count, "height": (count / greatest) ** 0.5} for place, count in sizes.items()
    ]


def _drawn_images(result: dict[str, Any]) -> list[dict[str, Any]]:
    ids = [image["image_id"] for image in result["most_different"]]
    sides = [{labels.image_id: labels for labels in read_labels(result[side]["output"], ids)} for side in "ab"]
    drawn = []
    for image in result["most_different"]:
        labels = [side[image["image_id"]] for side in sides]
        fates = [image["fates_a"], image["fates_b"]]
        drawn.append({"uri": image["uri"], "images": _images(labels, fates), "changes": _changes(labels, fates)})
    return drawn


def _images(labels: Sequence[StoredLabels], fates: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The image as a JPEG's data URI with the labels of A, and with those of B; or why there is none."""
    try:
        image = Image.fromarray(labels[0].read_pixels())
    except ImageError as error:
        return [{"error": f"The image can't be shown: {error}"}]
    full_width = image.width
    image.thumbnail(_IMAGE_WH, Image.Resampling.LANCZOS, reducing_gap=3)
    found = []
    for side, (of_side, fates_of_side) in enumerate(zip(labels, fates)):
        drawn = image
        for shown, colour in (((IN_BOTH,), _SHARED), ((BELOW, ALONE), _ONLY[side])):  # what differs lies on top
            drawn = _draw(
                drawn,
                of_side,
                [rank for rank, fate in enumerate(fates_of_side) if FATES.index(fate) in shown],
                image.width / full_width,
                colour,
            )
        file = io.BytesIO()
        drawn.save(file, "JPEG", quality=_JPEG_QUALITY)
        found.append({"src": "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")})
    return found


def _draw(image: Image.Image, labels: StoredLabels, ranks: list[int], scale: float, colour: Rgb) -> Image.Image:
    names = [labels.class_names[rank] for rank in ranks]
    masks = (_mask_if_there(labels, rank) for rank in ranks)
    return draw_labels(
        image,
        labels.boxes_xywh[ranks] * scale,
        masks,
        names,
        labels.scores[ranks],
        dict.fromkeys(names, colour),
        _FONT_SIZE,
    )


def _mask_if_there(labels: StoredLabels, rank: int):
    try:
        return labels.mask(rank)
    except FileNotFoundError:  # somebody tidied the PNG files away; the box still shows the detection
        return None


def _changes(labels: Sequence[StoredLabels], fates: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The detections without a partner, the best first."""
    changes = [
        (float(of_side.scores[rank]), side, of_side.class_names[rank], fate)
        for side, (of_side, fates_of_side) in enumerate(zip(labels, fates))
        for rank, fate in enumerate(fates_of_side)
        if FATES.index(fate) in (BELOW, ALONE)
    ]
    return [
        {"side": "AB"[side], "name": name, "score": f"{score:.2f}", "below": FATES.index(fate) == BELOW}
        for score, side, name, fate in sorted(changes, reverse=True)[:_MAX_LISTED]
    ]


def _percent(share: float | None) -> str:
    """To a tenth; what isn't quite all, or nothing, doesn't look so."""
    if share is None:
        return "–"
    rounded = f"{100 * share:.1f} %"
    if share < 1 and rounded == "100.0 %":
        return "over 99.9 %"
    return "below 0.1 %" if share > 0 and rounded == "0.0 %" else rounded


def _shift(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}" if value else "0"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
