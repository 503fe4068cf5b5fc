"""`labelbeam repair OUT`: tidies up what dead jobs left in an output folder, without labelling anything."""

import _thread

from ...labelset.clean_up import sweep
from ...labelset.compact import merge_parts, plan_merges
from ...labelset.deduplicate import settle_repeats
from ...labelset.job_records import mark_settled, unclosed_jobs
from ...labelset.label_set_file import read_label_set_file
from ...labelset.lease import holding
from ...labelset.parts import finished_parts
from ..job import new_job_id


def repair(output: str) -> str:
    """Sweeps unfinished parts, settles repeats in the whole folder, merges small parts; says what was done.

    Raises:
      UsageError: if `output` is no folder of a label set, or a job is at work on it.
    """
    read_label_set_file(output)
    job_id = new_job_id()
    with holding(output, job_id, on_lost=_thread.interrupt_main):
        swept = sweep(output)
        repeats = settle_repeats(output)
        groups = plan_merges(finished_parts(output))
        for group in groups:
            merge_parts(output, job_id, group)
        mark_settled(output, unclosed_jobs(output), job_id)
    if not (swept or repeats or groups):
        return f"{output}: nothing to tidy up"
    return (
        f"{output}: took away {swept:,} parts and files that didn't count, removed {repeats:,} repeated rows, merged "
        f"{sum(map(len, groups)):,} parts into {len(groups):,}"
    )
