"""Merges small parts into fewer: many small files are slow to open, above all in object stores.

A merged part names those that it replaces, so a death at any moment leaves either them, or it and a note of what is to be
taken away (see `sweep.py`). Not for parts that a running job is still writing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from .parts import delete_part, finished_parts, only_finished, read_part, replacing_stem, write_part

TARGET_BYTES = 64 << 20  # of a part's files together; merging needs several times as much memory
MIN_PARTS = 8  # fewer small parts than that aren't worth writing again


def plan_merges(
    parts: Mapping[str, Mapping[str, int]], target_bytes: int = TARGET_BYTES, min_parts: int = MIN_PARTS
) -> list[list[str]]:
    """Groups of stems to merge: small parts, oldest first, until a group reaches the target.

    Args:
      parts: from `list_parts`.
      target_bytes: parts of less than half of it are small.
      min_parts: a last group that doesn't reach the target is left alone unless it has so many.
    """
    sizes = {stem: sum(tables.values()) for stem, tables in only_finished(parts).items()}
    groups, group, num_bytes = [], [], 0
    for stem, size in sizes.items():
        if size >= target_bytes / 2:
            continue
        group.append(stem)
        num_bytes += size
        if num_bytes >= target_bytes:
            groups.append(group)
            group, num_bytes = [], 0
    return groups + [group] * (len(group) >= min_parts)


def merge_parts(output: str, job_id: str, stems: Sequence[str]) -> str:
    """Makes one part of several; returns its stem. Done twice, it does nothing the second time."""
    merged = replacing_stem(job_id, stems)
    parts = finished_parts(output)
    if merged in parts:
        for stem in stems:
            delete_part(output, stem)
        return merged
    tables = {
        name: sorted_by_image(pa.concat_tables([read_part(output, stem, name) for stem in stems]))
        for name in parts[stems[0]]
    }
    write_part(output, merged, tables, replaces=stems)
    return merged


def sorted_by_image(table: pa.Table) -> pa.Table:
    """By image id; an image's rows keep their order."""
    ids = table.column("image_id").to_numpy().astype("S32")
    return table.take(np.argsort(ids, kind="stable"))
