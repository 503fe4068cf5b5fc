"""The first pass over an output folder, before anything is written: how many images there are and failed, which classes occur, in
what folder the URIs lie. Reads a few columns, portion by portion."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...labelset.label_set_file import read_label_set_file
from ...labelset.parts import finished_parts, iter_part
from ...storage.errors import UsageError
from .images import is_local_file
from .names import common_folder


@dataclass(frozen=True)
class Survey:
    """What an output folder holds, as far as an export must know beforehand.

    Attributes:
      settings: of the label set.
      categories: class id -> name, by id: the label map, and classes without a name that were found.
      num_ok: images with labels, those without detections among them.
      failures: images without, by error kind.
      folder: that all exported URIs lie in, with its `/`.
      not_a_file: one of them that isn't a file on this machine; None if all are.
      has_masks: whether there is a table of masks.
    """

    settings: dict[str, Any]
    categories: dict[int, str]
    num_ok: int
    failures: dict[str, int]
    folder: str
    not_a_file: str | None
    has_masks: bool


def survey(output: str) -> Survey:
    """Looks an output folder over.

    Raises:
      UsageError: if it's no folder of a label set, or there is nothing in it to export.
    """
    settings = read_label_set_file(output)["settings"]
    parts = finished_parts(output)
    statuses, failures, first, last, not_a_file = Counter(), Counter(), None, None, None
    categories = {int(id): name for id, name in settings["labels"].items()}
    for stem, tables in parts.items():
        for batch in iter_part(output, stem, "images", ["uri", "status", "error_kind"]):
            statuses.update(batch.column("status").to_pylist())
            failures.update(kind for kind in batch.column("error_kind").to_pylist() if kind)
            uris = batch.filter(pc.equal(batch.column("status"), "ok")).column("uri")
            if not len(uris):
                continue
            ends = pc.min_max(uris).as_py()
            first, last = min(first or ends["min"], ends["min"]), max(last or ends["max"], ends["max"])
            not_a_file = not_a_file or next((uri for uri in uris.to_pylist() if not is_local_file(uri)), None)
        for batch in iter_part(output, stem, "detections", ["class_id", "class_name"]):
            classes = pa.Table.from_batches([batch]).group_by(["class_id", "class_name"]).aggregate([])
            for row in classes.to_pylist():
                categories.setdefault(row["class_id"], row["class_name"])
    if not statuses:
        raise UsageError(
            f"{output}: no images in this label set yet: expected {output}/images/part-*.parquet. Run "
            "`labelbeam label` with this folder as --output, to its end"
        )
    if not statuses["ok"]:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in failures.most_common())
        raise UsageError(
            f"{output}: all {statuses['failed']:,} images of this label set failed ({kinds}), so there are no "
            "labels to export. `labelbeam status` says why; `labelbeam label … --retry-failed` labels "
            "them again"
        )
    return Survey(
        settings,
        dict(sorted(categories.items())),
        statuses["ok"],
        dict(failures),
        common_folder(first, last),
        not_a_file,
        has_masks=any("masks" in tables for tables in parts.values()),
    )


def choose_categories(categories: dict[int, str], names: Sequence[str] | None) -> dict[int, str]:
    """The classes that were asked for by name; all of them if None.

    Raises:
      UsageError: if there's no such class.
    """
    if names is None:
        return categories
    if unknown := sorted(set(names) - set(categories.values())):
        raise UsageError(
            f"--classes {' '.join(unknown)}: no such class in this label set. It has: {', '.join(categories.values())}"
        )
    return {id: name for id, name in categories.items() if name in names}
