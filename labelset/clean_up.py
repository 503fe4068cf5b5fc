"""Sweeps an output folder at the start of a job: what dead jobs left behind is taken away, what counts is untouched.

- Parts that another part has taken the place of.
- Files of parts that never came to exist, since their `images` file was never put in place.
- Temporary files.

Only for who holds the folder's lease: the files of a job at work look like those of a dead one.
"""

import logging
import os
import time

from ..storage import files as output_files
from ..storage.uris import is_local, join
from .parts import delete_part, list_parts, only_finished, replaced_by, replaces_others
from .schemas import TABLES

# In an object store, workers may live on when the job that they belonged to has lost its lease: their files get the time
# that it takes to write a part.
REMOTE_AGE_S = 900.0

_log = logging.getLogger(__name__)


def sweep(output: str) -> int:
    """Takes away what doesn't count; returns the number of parts and files."""
    parts = list_parts(output)
    existing = set(only_finished(parts))
    replaced = {old for stem in existing if replaces_others(stem) for old in replaced_by(output, stem)} & existing
    for stem in replaced:
        delete_part(output, stem)
    unfinished = set(parts) - existing
    if unfinished and not is_local(output):
        unfinished &= _old_stems(output)
    for stem in unfinished:
        delete_part(output, stem)
    temporary = _temporary_files(output) if is_local(output) else []
    output_files.delete(temporary)
    if replaced or unfinished or temporary:
        _log.info(
            "%s: took away %d replaced parts, %d unfinished ones, %d temporary files",
            output,
            len(replaced),
            len(unfinished),
            len(temporary),
        )
    return len(replaced) + len(unfinished) + len(temporary)


def _old_stems(output: str) -> set[str]:
    """Stems that have a file which has lain there for a while."""
    before = time.time() - REMOTE_AGE_S
    return {
        path.rpartition("/")[2].removesuffix(".parquet")
        for table in TABLES
        for path, changed in output_files.list_times(join(output, table, "part-*.parquet")).items()
        if changed < before
    }


def _temporary_files(output: str) -> list[str]:
    return [
        os.path.join(folder, name)
        for folder, _, names in os.walk(output)
        for name in names
        if name.startswith(".") and name.endswith(output_files.TEMPORARY_SUFFIX)
    ]
