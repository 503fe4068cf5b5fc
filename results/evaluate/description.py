"""What `labelbeam evaluate` prints."""

from typing import Any

from ...storage.redaction import redact
from ..text import counted, few
from .scoring import FIGURES

MAX_NAMED = 5  # images of a kind that the text names; the JSON file has all

_MEANING = {
    "AP": "IoU 0.50:0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "AP_small": "below 32×32 pixels",
    "AP_medium": "between",
    "AP_large": "from 96×96 pixels",
    "AR_1": "1 detection an image",
    "AR_10": "10",
    "AR_100": "100",
    "AR_small": "100, below 32×32 pixels",
    "AR_medium": "100, between",
    "AR_large": "100, from 96×96 pixels",
}


def describe_evaluation(result: dict[str, Any], per_class: bool = False) -> str:
    """`evaluate` for a person."""
    images, settings = result["images"], result["settings"]
    by = f", labelled by {settings['detector']}" if "detector" in settings else ""
    lines = [
        f"{result['output']}{by}: {'masks' if result['iou'] == 'segm' else 'boxes'} against {result['annotations']}"
    ]
    lines += [f"  {name:<10} {_figure(result['figures'][name])}  {_MEANING[name]}".rstrip() for name in FIGURES]
    lines.append(
        f"  images     {images['annotated']:,} annotated, {images['scored']:,} with labels; "
        f"{counted(result['detections'], 'detection')}"
    )
    outcome = "left out" if result["only_labelled"] else "count as images in which nothing was found"
    for what, key in (
        ("failed", "failed"),
        ("missing from the label set", "missing"),
        ("of another size", "of_another_size"),
    ):
        if images[key]:
            named = [f"{name} ({kind})" for name, kind in images[key].items()] if key == "failed" else images[key]
            lines.append(f"  without    {len(named):,} {what}, {outcome}: {few(named, most=MAX_NAMED)}")
    if images["not_annotated"]:
        examples = few(map(redact, images["not_annotated_examples"]), images["not_annotated"], most=MAX_NAMED)
        lines.append(f"  besides    {images['not_annotated']:,} labelled images aren't in the annotations: {examples}")
    thresholds = [
        f"{row['name']} {row['best_F1_score']:.2f}"
        for row in sorted(result["classes"], key=lambda row: -row["annotated"])
        if row["best_F1"] is not None
    ]
    if thresholds:
        lines.append(f"  threshold  with the best F1 at IoU 0.50: {few(thresholds, most=MAX_NAMED)}")
    lines += [f"  note       {note}" for note in result["notes"]]
    if per_class:
        width = max([len("class"), *(len(str(row["name"])) for row in result["classes"])])
        lines += ["", f"  {'class':<{width}}  annotated  detections     AP   AP50   AP75  AR_100  best F1  at score"]
        lines += [
            f"  {row['name']:<{width}}  {row['annotated']:>9,}  {row['detections']:>10,}  {_figure(row['AP'])}  "
            f"{_figure(row['AP50'])}  {_figure(row['AP75'])}   {_figure(row['AR_100'])}    "
            f"{_figure(row['best_F1'])}     {_figure(row['best_F1_score'])}"
            for row in result["classes"]
        ]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "    –" if value is None else f"{value:5.3f}"
