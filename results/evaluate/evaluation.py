"""COCO's average precision and recall of a label set, against annotations.

Annotated images without labels count, as COCO has it: what is annotated in them has not been found; the result names
them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...storage.errors import UsageError
from ..label_columns import repeated_images
from ..reader import LabelSet, open_label_set
from ..stored_labels import StoredLabels, iter_labels
from ..text import few
from .coco_annotations import Annotations, FileNames, ImageIdTable, IouType, read_annotations
from .scoring import Scorer, unscored

_MAX_EXAMPLES = 5
_LOW_SCORE = 0.05  # the thresholds with which detectors' published figures are made are lower
_COCO_DETECTIONS = 100  # an image that COCO's figures count


@dataclass
class _Found:
    """What a label set has for the annotated images, by their numbers."""

    scored: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)  # kind of the error
    resized: set[int] = field(default_factory=set)
    not_annotated: int = 0
    not_annotated_examples: list[str] = field(default_factory=list)
    unknown_classes: Counter[str] = field(default_factory=Counter)


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
      UsageError: if something can't be used, hotcoco is missing, or no annotated image has labels.
    """
    label_set = open_label_set(output)
    label_set.check_not_empty()
    settings = label_set.settings
    truth = read_annotations(annotations, iou)
    scorer = Scorer(truth, iou)
    finder = ImageIdTable(image_ids, truth) if image_ids else FileNames(truth)
    categories = _class_lookup(truth, settings, match_classes)
    found = _Found()
    for image, labels in _annotated_labels(label_set, truth, finder, iou == "segm", found):
        classes = labels.class_names if match_classes == "name" else labels.class_ids.tolist()
        ranks = [rank for rank, name in enumerate(classes) if name in categories]
        found.unknown_classes.update(labels.class_names[rank] for rank in set(range(len(classes))) - set(ranks))
        scorer.add(image, labels, ranks, [categories[classes[rank]] for rank in ranks])
    if not found.scored:
        raise UsageError(_nothing_to_score(output, annotations, truth, found))
    without = unscored(len(truth.image_ids), found.scored)
    if not only_labelled:
        for image in without:
            scorer.add(image, None, (), ())
    figures, classes = scorer.result()
    names = truth.file_names
    return {
        "output": output,
        "annotations": annotations,
        "iou": iou,
        "only_labelled": only_labelled,
        "settings": settings,
        "figures": figures,
        "classes": classes,
        "detections": scorer.num_detections,
        "images": {
            "annotated": len(names),
            "scored": len(found.scored),
            "failed": {names[image]: kind for image, kind in sorted(found.failed.items())},
            "missing": sorted(
                names[image] for image in without if image not in found.failed and image not in found.resized
            ),
            "of_another_size": sorted(names[image] for image in found.resized),
            "not_annotated": found.not_annotated,
            "not_annotated_examples": found.not_annotated_examples,
        },
        "notes": list(_notes(settings, truth, found, match_classes)),
    }


def _annotated_labels(
    label_set: LabelSet, truth: Annotations, finder: FileNames | ImageIdTable, with_masks: bool, found: _Found
) -> Iterator[tuple[int, StoredLabels]]:
    """(number, labels) of the annotated images that have labels; the others are noted by what became of them."""
    uris: dict[int, str] = {}
    for labels in iter_labels(label_set, with_masks):
        image = finder.find(labels.uri)
        if image is None:
            found.not_annotated += 1
            if len(found.not_annotated_examples) < _MAX_EXAMPLES:
                found.not_annotated_examples.append(labels.uri)
            continue
        if uris.get(image) == labels.uri:
            raise repeated_images(label_set.path)
        if image in uris:
            raise UsageError(
                f"{uris[image]} and {labels.uri} both seem to be image {truth.image_ids[image]!r} of the annotations; "
                "say which URI is which image with --image-ids (a CSV file with the columns uri and id)"
            )
        uris[image] = labels.uri
        if labels.failure:
            found.failed[image] = labels.failure.kind
        elif None not in truth.sizes_hw[image] and labels.size_hw != truth.sizes_hw[image]:
            found.resized.add(image)
        else:
            found.scored.add(image)
            yield image, labels


def _class_lookup(truth: Annotations, settings: Mapping[str, Any], by: str) -> dict[Any, int]:
    """From `class_id` or `class_name` to the category's number.

    Raises:
      UsageError: if the classes are plainly not those of the annotations.
    """
    names = dict(truth.categories)
    lookup = {name if by == "name" else id: number for number, (id, name) in enumerate(truth.categories)}
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


def _nothing_to_score(output: str, annotations: str, truth: Annotations, found: _Found) -> str:
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
        f"{few(truth.file_names)}. Say which URI is which image with --image-ids"
    )


def _notes(settings: Mapping[str, Any], truth: Annotations, found: _Found, match_classes: str) -> Iterator[str]:
    if not len(truth.areas):
        yield "the annotations hold images, but no objects in them: there's nothing to measure"
    if settings.get("min_score", 0) > _LOW_SCORE:
        yield (
            f"labelled with --min-score {settings['min_score']:g}: average precision counts what scores lower, too, so "
            "published figures need a label set with --min-score 0.001 or less"
        )
    if settings.get("max_detections", _COCO_DETECTIONS) < _COCO_DETECTIONS:
        most = settings["max_detections"]
        yield f"labelled with --max-detections {most}: COCO's figures count {_COCO_DETECTIONS} an image"
    labels, names = settings.get("labels", {}), {str(id): name for id, name in truth.categories}
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
