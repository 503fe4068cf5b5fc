"""Compacts: makes few parts of many small ones, which are slow to open, above all in object stores.

The new parts count when the job has closed, in place of those that they are made of.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from .parts import Part, read_part, replacing_stem, write_part

TARGET_BYTES = 64 << 20  # of a part's files together; compacting needs several times as much memory
MIN_PARTS = 8  # fewer small parts than that aren't worth writing again


def plan_compaction(
    parts: Mapping[str, Part], target_bytes: int = TARGET_BYTES, min_parts: int = MIN_PARTS
) -> list[list[Part]]:
    """Groups of parts to make one of: small ones, oldest first, until a group reaches the target.

    Args:
      parts: by stem.
      target_bytes: parts of less than half of it are small.
      min_parts: a last group that doesn't reach the target is left alone unless it has so many.
    """
    groups, group, total = [], [], 0
    for _, part in sorted(parts.items()):
        size = sum(part.num_bytes.values())
        if size >= target_bytes / 2:
            continue
        group.append(part)
        total += size
        if total >= target_bytes:
            groups.append(group)
            group, total = [], 0
    return [*groups, group] if len(group) >= min_parts else groups


def compact_parts(output: str, job_id: str, parts: Sequence[Part]) -> Part:
    """Makes one part of several; done again, it writes the same one. Parts of an older labelbeam get today's columns.

    Args:
      job_id: of the job that closes, whose the new part is.
    """
    names = dict.fromkeys(name for part in parts for name in part.rows)
    tables = {}
    for name in names:
        found = [read_part(output, part.stem, name) for part in parts if name in part.rows]
        merged = pa.concat_tables([table.replace_schema_metadata(None) for table in found], promote_options="default")
        tables[name] = sorted_by_image(merged).replace_schema_metadata(found[-1].schema.metadata)
    return write_part(output, replacing_stem(job_id, [part.stem for part in parts]), tables)


def sorted_by_image(table: pa.Table) -> pa.Table:
    """By image id; an image's rows keep their order."""
    ids = table.column("image_id").to_numpy().astype("S32")
    return table.take(np.argsort(ids, kind="stable"))
