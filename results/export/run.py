"""`labelbeam export`: from arguments to a whole export, or none: it is built beside its place and moved there."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...storage.errors import UsageError
from ...storage.redaction import redact_name
from ...transforms.elements import ImageError
from ..reader import LabelSet, open_label_set
from ..stored_labels import StoredLabels, iter_labels
from ..text import counted
from . import FORMATS, writer_class
from .boxes import inside_image
from .images import Images, Way
from .names import Names, class_names
from .survey import Survey, choose_categories, survey
from .writer import Dataset, ExportedImage, Writer

MAX_EXAMPLES = 3  # of images that are missing


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
      format: a key of `FORMATS`.
      target: where to: a folder that isn't there yet or is empty, or, of formats that are one file, the file.
      min_score: detections below are left out, in [0, 1].
      classes: names of the classes to be exported; None for all.
      images: `copy` or `link` them into the export; None to leave them where they are.
      polygon_tolerance_px: how far polygons may be from the masks' outlines.
    """

    format: str
    target: str
    min_score: float = 0.0
    classes: Sequence[str] | None = None
    images: Way | None = None
    polygon_tolerance_px: float = 0.0


@dataclass
class ExportSummary:
    """What an export holds, and what it lacks.

    Attributes:
      target: where it lies.
      num_images, num_detections: written.
      failures: images of the label set that have no labels, by error kind: left out.
      missing: URI -> why of images that couldn't be copied or linked, the first few: their images are left out too.
      num_missing: how many these are.
      left_out: detections that the format can't hold, by reason.
      renamed: class names that the format can't hold as they are -> what they became.
    """

    target: str
    num_images: int
    num_detections: int
    failures: dict[str, int]
    missing: dict[str, str]
    num_missing: int
    left_out: dict[str, int]
    renamed: dict[str, str]

    def describe(self) -> str:
        """For a person."""
        lines = [f"{self.target}: {counted(self.num_images, 'image')} with {counted(self.num_detections, 'detection')}"]
        if self.failures:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.failures.items())
            lines.append(f"  left out  {counted(sum(self.failures.values()), 'image')} without labels ({kinds})")
        if self.num_missing:
            lines.append(f"  left out  {counted(self.num_missing, 'image')}: gone, or not what was labelled")
            lines += [f"            {redact_name(uri)}: {redact_name(why)}" for uri, why in self.missing.items()]
        lines += [f"  left out  {counted(number, 'detection')}: {reason}" for reason, number in self.left_out.items()]
        lines += [f"  renamed   class {old!r}: {new!r}" for old, new in self.renamed.items()]
        return "\n".join(lines)


def export(output: str, options: ExportOptions) -> ExportSummary:
    """Exports an output folder's labels. Memory holds one of its parts, and a few bytes an image.

    Raises:
      UsageError: if the folder holds nothing to export in this format, a class isn't known, or the target can't be
        used.
    """
    if not 0 <= options.min_score <= 1:
        raise UsageError(f"--min-score {options.min_score}: expected a number from 0 to 1")
    if not options.polygon_tolerance_px >= 0:
        raise UsageError(f"--polygon-tolerance-px {options.polygon_tolerance_px}: expected pixels, 0 or more")
    writer_type = writer_class(options.format)
    target, as_file = _check_target(options, writer_type)
    label_set = open_label_set(output)
    found = survey(label_set)
    if writer_type.needs_masks and not found.has_masks:
        raise UsageError(
            f"--format {options.format}: {output} has no masks (the detector gives none, or --mask-format none). "
            f"Formats of boxes: {', '.join(name for name in FORMATS if not writer_class(name).needs_masks)}"
        )
    if options.images == "link" and found.not_a_file:
        raise UsageError(
            f"--link-images: {redact_name(found.not_a_file)} isn't a file on this machine; give --copy-images"
        )
    if not writer_type.reads_uris and not options.images and found.not_a_file:
        raise UsageError(
            f"--format {options.format}: {redact_name(found.not_a_file)} isn't a file on this machine, and the tool "
            "reads no others; give --copy-images"
        )
    categories = choose_categories(found.categories, options.classes)
    dataset = Dataset(
        class_names(categories, writer_type.class_name),
        found.has_masks,
        found.settings,
        target.parent if as_file else target,
        options.polygon_tolerance_px,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        summary = _write(label_set, options, found, writer_type, dataset, staging)
        os.chmod(staging, 0o777 & ~_umask())  # mkdtemp's folders are its owner's alone
        os.replace(staging / writer_type.file_name if as_file else staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return summary


def _check_target(options: ExportOptions, writer_type: type[Writer]) -> tuple[Path, bool]:
    """The target's absolute path, and whether it's the format's one file.

    Raises:
      UsageError: if it's no local path, or something is there.
    """
    if "://" in options.target:
        raise UsageError(f"--to {options.target}: expected a path on this machine; export there, then upload it")
    target = Path(os.path.abspath(options.target))
    as_file = writer_type.file_name is not None and target.suffix.lower() == Path(writer_type.file_name).suffix
    if as_file and options.images:
        raise UsageError(
            f"--to {options.target}: with --{options.images}-images expected a folder, for "
            f"{writer_type.file_name} and the images"
        )
    if os.path.lexists(target) and (as_file or not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"--to {options.target}: exists already; expected {'a new file' if as_file else 'a new or empty folder'}"
            ", since exports aren't added to. Remove it or give another"
        )
    return target, as_file


def _write(
    label_set: LabelSet,
    options: ExportOptions,
    found: Survey,
    writer_type: type[Writer],
    dataset: Dataset,
    folder: Path,
) -> ExportSummary:
    renamed = {
        name: dataset.categories[id]
        for id, name in found.categories.items()
        if dataset.categories.get(id, name) != name
    }
    summary = ExportSummary(options.target, 0, 0, found.failures, {}, 0, {}, renamed)
    left_out: Counter[str] = Counter()
    chosen = list(dataset.categories)
    with writer_type(folder, dataset) as writer:
        for labels, name, error in _placed(
            _named(label_set, found, writer_type), options, folder / writer_type.images_folder
        ):
            if error is not None:
                summary.num_missing += 1
                if len(summary.missing) < MAX_EXAMPLES:
                    summary.missing[labels.uri] = error.message
                continue
            kept = (labels.scores >= np.float32(options.min_score)) & np.isin(labels.class_ids, chosen)
            labels = inside_image(labels.select(kept), left_out).with_names(dataset.categories)
            summary.num_images += 1
            summary.num_detections += len(labels.scores)
            image = f"{writer_type.images_folder}/{name}" if options.images else None
            writer.add(ExportedImage(summary.num_images, name, image, labels))
        summary.left_out = dict(left_out + writer.left_out)
        summary.num_detections -= writer.left_out.total()
    return summary


def _named(label_set: LabelSet, found: Survey, writer_type: type[Writer]) -> Iterator[tuple[StoredLabels, str]]:
    names = Names(found.folder, writer_type.flat_names)
    for labels in iter_labels(label_set):
        if labels.failure is None:
            yield labels, names.name(labels.uri, labels.image_id)


def _placed(
    images: Iterator[tuple[StoredLabels, str]], options: ExportOptions, folder: Path
) -> Iterator[tuple[StoredLabels, str, ImageError | None]]:
    if options.images:
        return Images(folder, options.images).place(images)
    return ((labels, name, None) for labels, name in images)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
