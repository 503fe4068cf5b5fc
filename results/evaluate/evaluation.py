"""COCO's average precision and recall of a label set, against annotations.

Annotated images without labels count, as COCO has it: what is annotated in them has not been found; the result names
them.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...storage.errors import UsageError
from ..label_columns import no_masks, repeated_images
from ..reader import LabelSet, open_label_set
from ..stored_labels import StoredLabels, iter_labels
from ..text import few
from .coco_annotations import FileNames, ImageId, ImageIdTable, IouType, read_annotations

FIGURES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)  # in the order of COCOeval.stats
MAX_NAMED = 5  # images of a kind that the text names; the JSON file has all
_LOW_SCORE = 0.05  # the thresholds with which detectors' published figures are made are lower
_COCO_DETECTIONS = 100  # an image that COCO's figures count


@dataclass
class _Found:
    """What a label set has for the annotated images."""

    results: list[dict[str, Any]] = field(default_factory=list)
    scored: set[ImageId] = field(default_factory=set)
    failed: dict[ImageId, str] = field(default_factory=dict)  # kind of the error
    resized: set[ImageId] = field(default_factory=set)
    not_annotated: int = 0
    not_annotated_examples: list[str] = field(default_factory=list)
    unknown_classes: Counter = field(default_factory=Counter)


def evaluate(
    output: str,
    annotations: str,
    *,
    iou: IouType = "bbox",
    match_classes: Literal["id", "name"] = "id",
    image_ids: str | None = None,
    only_labelled: bool = False,
) -> dict[str, Any]:
    """Scores a label set against annotations; everything that `labelbeam evaluate` tells, as JSON types.

    Args:
      output: folder of `labelbeam label`.
      annotations: path of an `instances.json` in COCO's format.
      iou: of boxes or of masks.
      match_classes: whether `class_id` is the annotations' category id, or `class_name` the category's name.
      image_ids: path of a CSV file with the columns uri and id; without, images are found by file name.
      only_labelled: leave annotated images that have no labels out, instead of counting them as empty.

    Returns:
      `figures` (the keys of `FIGURES`; None where COCO has nothing to measure), `classes`, `images` (who was scored,
      and who not, by reason), `notes` (sentences on what makes figures lower than they might be), and what was compared
      with what.

    Raises:
      UsageError: if something can't be used, pycocotools is missing, or no annotated image has labels.
    """
    try:
        import pycocotools.cocoeval  # noqa: F401 - says at once whether it's there
    except ImportError as error:
        raise UsageError("labelbeam evaluate needs pycocotools: pip install 'labelbeam[evaluate]'") from error
    label_set = open_label_set(output)
    label_set.check_not_empty()
    settings = label_set.settings
    truth = read_annotations(annotations, iou)
    finder = ImageIdTable(image_ids, truth["images"]) if image_ids else FileNames(truth["images"])
    found = _collect(label_set, truth, finder, iou, match_classes, _class_lookup(truth, settings, match_classes))
    if not found.scored:
        raise UsageError(_nothing_to_score(output, annotations, truth, found))
    chosen = found.scored if only_labelled else {image["id"] for image in truth["images"]}
    figures, classes = _score(truth, found.results, iou, sorted(chosen))
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    unlabelled = names.keys() - found.scored - found.failed.keys() - found.resized
    return {
        "output": output,
        "annotations": annotations,
        "iou": iou,
        "only_labelled": only_labelled,
        "settings": settings,
        "figures": figures,
        "classes": classes,
        "detections": len(found.results),
        "images": {
            "annotated": len(names),
            "scored": len(found.scored),
            "failed": {names[image]: kind for image, kind in sorted(found.failed.items())},
            "missing": sorted(names[image] for image in unlabelled),
            "of_another_size": sorted(names[image] for image in found.resized),
            "not_annotated": found.not_annotated,
            "not_annotated_examples": found.not_annotated_examples,
        },
        "notes": list(_notes(settings, truth, found, match_classes)),
    }


def _class_lookup(truth: dict[str, Any], settings: dict[str, Any], by: str) -> dict[Any, int]:
    """From `class_id` or `class_name` to the category's id.

    Raises:
      UsageError: if the classes are plainly not those of the annotations.
    """
    lookup = {category[by]: category["id"] for category in truth["categories"]}
    names = {category["id"]: category["name"] for category in truth["categories"]}
    labels = {int(i): name for i, name in settings.get("labels", {}).items()}
    if by == "name" and labels and not lookup.keys() & set(labels.values()):
        raise UsageError(
            f"--match-classes name: no category of the annotations ({few(lookup)}) has a name of the detector's "
            f"classes ({few(labels.values())})"
        )
    both = labels.keys() & names.keys()
    if by == "id" and labels and not any(labels[i].casefold() == str(names[i]).casefold() for i in both):
        raise UsageError(
            f"classes: no category of the annotations has both the id and the name of one of the detector's classes "
            f"(annotations: {few(names.items())}; detector: {few(labels.items())}). --match-classes name goes by "
            "names alone"
        )
    return lookup


def _collect(
    label_set: LabelSet,
    truth: dict[str, Any],
    finder: FileNames | ImageIdTable,
    iou: IouType,
    match_classes: str,
    categories: dict[Any, int],
) -> _Found:
    sizes_hw = {image["id"]: (image.get("height"), image.get("width")) for image in truth["images"]}
    found, uris = _Found(), {}
    for labels in iter_labels(label_set, with_masks=iou == "segm"):
        image = finder.find(labels.uri)
        if image is None:
            found.not_annotated += 1
            if len(found.not_annotated_examples) < MAX_NAMED:
                found.not_annotated_examples.append(labels.uri)
            continue
        if uris.get(image) == labels.uri:
            raise repeated_images(label_set.path)
        if image in uris:
            raise UsageError(
                f"{uris[image]} and {labels.uri} both seem to be image {image!r} of the annotations; say which "
                "URI is which image with --image-ids (a CSV file with the columns uri and id)"
            )
        uris[image] = labels.uri
        if labels.failure:
            found.failed[image] = labels.failure.kind
        elif None not in sizes_hw[image] and labels.size_hw != sizes_hw[image]:
            found.resized.add(image)
        else:
            found.scored.add(image)
            classes = labels.class_names if match_classes == "name" else labels.class_ids.tolist()
            for rank, class_ in enumerate(classes):
                if class_ in categories:
                    found.results.append(_coco_result(labels, rank, iou, image, categories[class_]))
                else:
                    found.unknown_classes[labels.class_names[rank]] += 1
    return found


def _coco_result(labels: StoredLabels, rank: int, iou: IouType, image: ImageId, category: int) -> dict[str, Any]:
    shape = {"bbox": labels.boxes_xywh[rank].tolist()} if iou == "bbox" else {"segmentation": _coco_mask(labels, rank)}
    return {"image_id": image, "category_id": category, "score": float(labels.scores[rank]), **shape}


def _coco_mask(labels: StoredLabels, rank: int) -> dict[str, Any]:
    ref = labels.mask_refs[rank]
    if ref is None:
        raise no_masks(labels.output)
    if ref in labels.counts:
        return {"size": list(labels.size_hw), "counts": labels.counts[ref]}
    from pycocotools import mask

    return mask.encode(np.asfortranarray(labels.mask(rank), np.uint8))


def _score(
    truth: dict[str, Any], results: list[dict[str, Any]], iou: IouType, image_ids: list[ImageId]
) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """The twelve figures, and those of each category that is annotated or was found."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        ground_truth = COCO()
        ground_truth.dataset = truth
        ground_truth.createIndex()
        if results:
            detections = ground_truth.loadRes(results)
        else:  # loadRes can't do without any
            detections = COCO()
            detections.dataset = {**truth, "annotations": []}
            detections.createIndex()
        scorer = COCOeval(ground_truth, detections, iou)
        scorer.params.imgIds = image_ids
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    figures = {name: _measured(value) for name, value in zip(FIGURES, scorer.stats, strict=True)}
    precision, recall = (
        scorer.eval["precision"][..., 0, -1],
        scorer.eval["recall"][..., 0, -1],
    )  # all areas, 100 detections
    chosen = set(image_ids)
    annotated = Counter(a["category_id"] for a in truth["annotations"] if a["image_id"] in chosen and not a["iscrowd"])
    found = Counter(row["category_id"] for row in results)
    names = {category["id"]: category["name"] for category in truth["categories"]}
    classes = [
        {
            "id": category,
            "name": names[category],
            "annotated": annotated[category],
            "detections": found[category],
            "AP": _mean(precision[:, :, k]),
            "AP50": _mean(precision[0, :, k]),
            "AP75": _mean(precision[5, :, k]),
            "AR_100": _mean(recall[:, k]),
        }
        for k, category in enumerate(np.asarray(scorer.params.catIds).tolist())
        if annotated[category] or found[category]
    ]
    return figures, classes


def _mean(values: np.ndarray) -> float | None:
    """COCO's mean: -1 stands for what can't be measured."""
    values = values[values > -1]
    return float(values.mean()) if len(values) else None


def _measured(value: float) -> float | None:
    return float(value) if value > -1 else None


def _nothing_to_score(output: str, annotations: str, truth: dict[str, Any], found: _Found) -> str:
    if found.failed:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in Counter(found.failed.values()).most_common())
        return (
            f"{output}: nothing to evaluate: all {len(found.failed):,} annotated images in it failed ({kinds}). "
            f"`labelbeam status {output}` says why"
        )
    if found.resized:
        return (
            f"{output}: nothing to evaluate: all {len(found.resized):,} annotated images in it have another size than "
            "the annotations say; were they scaled, or turned as their EXIF data says (--exif-orientation)?"
        )
    return (
        f"{output}: none of its images is annotated in {annotations}. It holds "
        f"{few(found.not_annotated_examples, found.not_annotated)}; the annotations name "
        f"{few(image['file_name'] for image in truth['images'])}. Say which URI is which image with --image-ids"
    )


def _notes(settings: dict[str, Any], truth: dict[str, Any], found: _Found, match_classes: str) -> Iterator[str]:
    if not truth["annotations"]:
        yield "the annotations hold images, but no objects in them: there's nothing to measure"
    if settings.get("min_score", 0) > _LOW_SCORE:
        yield (
            f"labelled with --min-score {settings['min_score']:g}: average precision counts what scores lower, too, so "
            "published figures need a label set with --min-score 0.001 or less"
        )
    if settings.get("max_detections", _COCO_DETECTIONS) < _COCO_DETECTIONS:
        most = settings["max_detections"]
        yield f"labelled with --max-detections {most}: COCO's figures count {_COCO_DETECTIONS} an image"
    labels, names = settings.get("labels", {}), {str(c["id"]): str(c["name"]) for c in truth["categories"]}
    other = [
        f"{i} ({labels[i]} / {names[i]})" for i in labels if i in names and labels[i].casefold() != names[i].casefold()
    ]
    if other and match_classes == "id":
        yield f"classes matched by id have other names in the annotations: {few(other)}"
    if found.unknown_classes:
        yield (
            f"{found.unknown_classes.total():,} detections are of classes that the annotations don't have: "
            f"{few(name for name, _ in found.unknown_classes.most_common())}"
        )


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
    images, label_config = result["images"], result["settings"]
    by = f", labelled by {label_config['detector']}" if "detector" in label_config else ""
    lines = [
        f"{result['output']}{by}: {'masks' if result['iou'] == 'segm' else 'boxes'} against {result['annotations']}"
    ]
    lines += [f"  {name:<10} {_figure(result['figures'][name])}  {_MEANING[name]}".rstrip() for name in FIGURES]
    lines.append(
        f"  images     {images['annotated']:,} annotated, {images['scored']:,} with labels; "
        f"{result['detections']:,} detections"
    )
    counted = "left out" if result["only_labelled"] else "count as images in which nothing was found"
    for what, key in (
        ("failed", "failed"),
        ("missing from the label set", "missing"),
        ("of another size", "of_another_size"),
    ):
        if images[key]:
            named = [f"{name} ({kind})" for name, kind in images[key].items()] if key == "failed" else images[key]
            more = ", …" if len(named) > MAX_NAMED else ""
            lines.append(f"  without    {len(named):,} {what}, {counted}: {', '.join(named[:MAX_NAMED])}{more}")
    if images["not_annotated"]:
        lines.append(
            f"  besides    {images['not_annotated']:,} labelled images aren't in the annotations: "
            f"{', '.join(images['not_annotated_examples'])}{', …' * (images['not_annotated'] > MAX_NAMED)}"
        )
    lines += [f"  note       {note}" for note in result["notes"]]
    if per_class:
        width = max([len("class"), *(len(str(row["name"])) for row in result["classes"])])
        lines += ["", f"  {'class':<{width}}  annotated  detections     AP   AP50   AP75  AR_100"]
        lines += [
            f"  {row['name']:<{width}}  {row['annotated']:>9,}  {row['detections']:>10,}  {_figure(row['AP'])}  "
            f"{_figure(row['AP50'])}  {_figure(row['AP75'])}   {_figure(row['AR_100'])}"
            for row in result["classes"]
        ]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "    –" if value is None else f"{value:5.3f}"
