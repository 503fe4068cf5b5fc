"""`labelbeam show OUT IMAGE`: one image's labels, drawn into it and listed."""

import io
import os
import re
import sys
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...storage import files as output_files
from ...storage.errors import UsageError
from ...storage.redaction import redact_name, without_credentials
from ...storage.uris import as_text
from ..arrow import equal
from ..reader import open_label_set
from ..stored_labels import StoredLabels, read_labels
from ..text import few
from .colours import class_colours
from .labelled_image import CannotShow, draw_detections, open_image
from .terminal_images import terminal_encoder

_MAX_NAMED = 5  # of several images that a name may mean


def show(output: str, image: str, to_path: str | None = None) -> None:
    """Draws an image's labels to a PNG, or onto the terminal, and prints what they are.

    Args:
      output: folder of a label set.
      image: URI, `image_id`, or the end of a URI after a slash.
      to_path: of the PNG. None for the terminal if it shows images, else a file in the working directory.

    Raises:
      UsageError: if there's no such image or several, if it has no labels, or its image can't be read any more.
    """
    if to_path is not None and not to_path.lower().endswith(".png"):
        raise UsageError(f"--output {to_path}: expected a name that ends in .png")
    labels = find_labels(output, image)
    if labels.failure:
        raise UsageError(
            f"{labels.uri}: has no labels, since it failed: {labels.failure.kind}: {labels.failure.message}. "
            "`labelbeam label … --retry-failed` labels it again"
        )
    png = _draw(labels)
    encode = terminal_encoder(os.environ) if to_path is None and sys.stdout.isatty() else None
    if encode:
        sys.stdout.write(encode(png))
    else:
        to_path = to_path or f"{_file_stem(labels.uri)}-labels.png"
        output_files.write_where_asked("--output", to_path, png)
    print(_describe(labels))
    if to_path:
        print(f"  look        {to_path}")


def find_labels(output: str, image: str) -> StoredLabels:
    """The labels of the one image that is meant by its URI, its `image_id`, or the end of its URI after a slash.

    Raises:
      UsageError: if there's none or several of them, or `output` is no folder of a label set.
    """
    label_set = open_label_set(output)
    label_set.check_not_empty()
    image, exact, by_name, num_images = as_text(image), {}, {}, 0
    ending = "/" + re.sub(r"\A(\.{0,2}/)+", "", image)
    uris = pa.array({image, as_text(os.path.abspath(image)), without_credentials(image)}, pa.string())
    for stem in label_set.parts:
        for batch in label_set.part_batches(stem, "images", ["image_id", "uri"]):
            num_images += len(batch)
            same: Any = pc.or_(pc.is_in(batch["uri"], uris), equal(batch["image_id"], image))
            ends: Any = pc.ends_with(batch["uri"], ending)
            for found, mask in ((exact, same), (by_name, ends)):
                found.update((row["image_id"], (stem, row["uri"])) for row in batch.filter(mask).to_pylist())
    found = exact or by_name
    if not found:
        raise UsageError(
            f"{image}: not among the {num_images:,} images of {output}. Give a URI or an image_id of its table "
            "`images`, or the end of a URI after a slash, such as the file's name"
        )
    if len(found) > 1:
        uris = (f"{redact_name(uri)} ({image_id})" for image_id, (_, uri) in found.items())
        raise UsageError(
            f"{image}: {len(found):,} images of {output} are called so: {few(uris, most=_MAX_NAMED)}. Give "
            "the image_id of one"
        )
    [(image_id, (stem, _))] = found.items()
    return next(read_labels(label_set, [image_id], [stem]))


def _draw(labels: StoredLabels) -> bytes:
    try:
        image = open_image(labels)
        font_size = max(12, round(max(image.size) / 60))
        drawn = draw_detections(image, labels, class_colours(labels.settings), font_size)
    except CannotShow as error:
        raise UsageError(f"{labels.uri}: labelled, but can't be shown: {error}") from error
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def _file_stem(uri: str) -> str:
    """A file name for an image: its own, without extension and query, in letters that every filesystem takes."""
    name = re.split(r"[/#]", uri.partition("?")[0].rstrip("/"))[-1]
    return re.sub(r"[^\w.-]+", "_", os.path.splitext(name)[0])[:100] or "image"


def _describe(labels: StoredLabels) -> str:
    height, width = labels.image_size_hw
    lines = [
        redact_name(labels.uri),
        f"  image       {width}×{height} pixels, image_id {labels.image_id}",
        f"  detections  {len(labels.scores) or 'none'}, by {labels.settings.get('detector', 'an unknown detector')}",
    ]
    for name, score, (x, y, w, h), ref in zip(
        labels.class_names, labels.scores, labels.boxes_xywh, labels.mask_refs, strict=True
    ):
        mask = "" if ref is None else ", mask"
        lines.append(f"    {score:.2f}  {name:<20} x {x:.1f}, y {y:.1f}, w {w:.1f}, h {h:.1f}{mask}")
    return "\n".join(lines)
