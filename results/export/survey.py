"""The first pass over an output folder, before anything is written: how many images there are and failed, which classes
occur, in what folder the URIs lie. Reads a few columns, portion by portion."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...storage.errors import UsageError
from ..arrow import equal
from ..reader import LabelSet
from .images import is_local_file
from .names import common_folder


@dataclass(frozen=True)
class Survey:
    """What an output folder holds, as far as an export must know beforehand.

    Attributes:
      settings: of the label set.
      categories: class id -> name, by id: the label map, and classes without a name that were found.
      failures: images without, by error kind.
      folder: that all exported URIs lie in, with its `/`.
      not_a_file: one of them that isn't a file on this machine; None if all are.
      has_masks: whether there is a table of masks.
    """

    settings: Mapping[str, Any]
    categories: dict[int, str]
    failures: dict[str, int]
    folder: str
    not_a_file: str | None
    has_masks: bool


def survey(label_set: LabelSet) -> Survey:
    """Looks a label set over.

    Raises:
      UsageError: if there is nothing in it to export.
    """
    label_set.check_not_empty()
    statuses, failures, ends, not_a_file = Counter(), Counter(), [], None
    for batch in label_set.batches("images", ["uri", "status", "error_kind"]):
        statuses.update(batch.column("status").to_pylist())
        failures.update(kind for kind in batch.column("error_kind").to_pylist() if kind)
        uris = batch.filter(equal(batch.column("status"), "ok")).column("uri")
        if len(uris):
            of_batch: Any = pc.min_max(uris).as_py()
            ends = [min([*ends[:1], of_batch["min"]]), max([*ends[1:], of_batch["max"]])]
            not_a_file = not_a_file or next((uri for uri in uris.to_pylist() if uri and not is_local_file(uri)), None)
    categories = {int(id): name for id, name in label_set.settings.get("labels", {}).items()}
    for batch in label_set.batches("detections", ["class_id", "class_name"]):
        classes = pa.Table.from_batches([batch]).group_by(["class_id", "class_name"]).aggregate([])
        for row in classes.to_pylist():
            categories.setdefault(row["class_id"], row["class_name"])
    if not statuses["ok"]:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in failures.most_common())
        raise UsageError(
            f"{label_set.path}: all {statuses['failed']:,} images of this label set failed ({kinds}), so there are no "
            "labels to export. `labelbeam status` says why; `labelbeam label … --retry-failed` labels "
            "them again"
        )
    return Survey(
        label_set.settings,
        dict(sorted(categories.items())),
        dict(failures),
        common_folder(*ends),
        not_a_file,
        has_masks=any("masks" in tables for tables in label_set.parts.values()),
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
