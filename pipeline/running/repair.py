"""What `labelbeam repair OUT` does: takes over from dead jobs, takes out damaged parts, compacts, cleans up."""

from collections.abc import Iterator

from ...labelset.begin import begin_job
from ...labelset.close import close_job, gather, replaced
from ...labelset.compact import compact_parts, plan_compaction
from ...labelset.heartbeat import Heartbeat, at_work, beating
from ...labelset.job_records import describe_unreadable, read_records
from ...labelset.label_set_file import read_label_set_file
from ...labelset.part_files import DamagedPartError
from ...labelset.parts import Part, iter_part, verify_part
from ...labelset.side_by_side import side_by_side
from ...results.reader import read_mask_file
from ...results.text import counted
from ..job import new_job_id


def repair(output: str) -> str:
    """Repairs a label set; says what was done. All files of the parts that count are read.

    Raises:
      UsageError: if `output` is no folder of a label set, or a job is at work on it.
    """
    read_label_set_file(output)
    job_id = new_job_id()
    heartbeat = Heartbeat(output, job_id)
    with at_work(job_id), beating(heartbeat.beat):
        job = begin_job(output, job_id, heartbeat=heartbeat, facts={"command": "repair"}, mend=True)
        state = job.state()
        checked = {**state.parts, **state.adopted}
        verified = side_by_side(output, lambda part: (part.stem, _damage(output, part)), checked.values())
        damage = {stem: why for stem, why in verified if why}
        gathered = gather(job, (), agree=True, without=damage)
        groups = plan_compaction(gathered.parts)
        compacted = [([part.stem for part in group], compact_parts(output, job_id, group)) for group in groups]
        parts = replaced(gathered.parts, compacted)
        deleted = close_job(job, "repaired", parts, {"damaged": sorted(damage)})
    done = []
    if damage:
        lost = sum(checked[stem].rows["images"] for stem in damage)
        done.append(
            f"took out {counted(len(damage), 'damaged part')} with {counted(lost, 'image')}; the next "
            "`labelbeam label` labels what they held"
        )
    if gathered.repeats:
        done.append(f"removed {counted(gathered.repeats, 'repeated row')}")
    if compacted:
        done.append(f"made {counted(len(compacted), 'part')} of {sum(len(stems) for stems, _ in compacted):,}")
    if deleted:
        done.append(f"deleted {deleted:,}: parts that didn't count, and temporary files")
    lines = [line for lines in damage.values() for line in lines]
    lines += [describe_unreadable(job["file"]) for job in read_records(output) if job["status"] == "unreadable"]
    return "\n".join([*lines, f"{output}: {'; '.join(done) or 'nothing to repair'}"])


def _damage(output: str, part: Part) -> list[str]:
    """The files of a part that are damaged, each with why; one of its masks' files is enough."""
    return verify_part(output, part) or list(_damaged_mask(output, part))


def _damaged_mask(output: str, part: Part) -> Iterator[str]:
    if "masks" not in part.rows:
        return
    for batch in iter_part(output, part.stem, "masks", ["mask_ref", "counts"]):
        for ref in batch.filter(batch.column("counts").is_null()).column("mask_ref").to_pylist():
            try:
                read_mask_file(output, str(ref))
            except DamagedPartError as error:
                yield f"{error.path}: {error.why}"
                return
