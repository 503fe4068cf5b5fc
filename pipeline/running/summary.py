"""What a person reads when a job has ended: a few lines, each a figure or the next thing to type."""

import sys
from json import dumps
from shlex import quote

from ...detectors.config import DetectorConfig
from ...results.text import counted
from ...storage.errors import shorten
from ...transforms.list_images import PASSED_OVER_WORDS
from ...transforms.skip_labelled import IMAGES_CHANGED, VERSIONS_UNKNOWN
from ..job import Job, JobResult
from .progress import describe_rate

_MOSTLY = 0.99  # of what the detector gave: a threshold that drops more may not be meant
_ENOUGH = 100  # detections to say so


def summarize(job: Job, result: JobResult) -> str:
    """The job's summary as text: a few lines, and an example of each kind of failure."""
    record, rows = result.record, result.record["rows"]
    failed = sum(record["failures"].values())
    labelled = record["written"] - failed
    failed_earlier = record.get("failed_earlier", 0)
    lines = []
    if not record["written"]:
        done = record["skipped"] - failed_earlier
        lines.append(
            f"Nothing to do: of {counted(record['listed'], 'image')}, {done:,} labelled already and {failed_earlier:,} "
            f"failed earlier ({result.seconds:.1f} s)."
            if failed_earlier
            else f"Nothing to do: {counted(record['listed'], 'image')}, labelled already ({result.seconds:.1f} s)."
        )
    else:
        lines.append(
            f"Labelled {labelled:,} of {counted(record['listed'], 'image')} in {result.seconds:.1f} s: "
            f"{describe_rate(record['written'] / max(result.seconds, 1e-3))}."
        )
        if record["skipped"]:
            earlier = f", {failed_earlier:,} failed earlier" if failed_earlier else ""
            lines.append(f"  skipped     {record['skipped'] - failed_earlier:,} labelled earlier{earlier}")
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in record["failures"].items())
        lines.append(f"  failed      {failed:,}{f' ({kinds})' if kinds else ''}")
        if record["failures"].get("internal"):
            lines.append("  please report the internal errors: they are faults of labelbeam's own, see the log above")
        for kind, example in record.get("failed_examples", {}).items():
            message = shorten(" ".join(example["error_message"].split()), 100)
            lines.append(f"                {kind}: {example['uri']}: {message}")
        if result.metrics.get("images_without_boxes"):
            lines.append(
                f"  no boxes    in the tables of --boxes: {counted(result.metrics['images_without_boxes'], 'image')}"
            )
        masks = f", {counted(rows['masks'], 'mask')}" if "masks" in rows else ""
        lines.append(f"  detections  {rows.get('detections', 0):,}{masks}")
        if remark := _remark_on_min_score(job, result):
            lines.append(f"  note        {remark}")
        if unnamed := result.metrics.get("detections_unnamed"):
            lines.append(
                f"  note        {counted(unnamed, 'detection')} of classes that the label map lacks, called class_<id> "
                "in the tables; is it the right map, or off by one?"
            )
        if result.metrics.get("model_loads"):
            lines.append(
                f"  detector    {job.label_config.detector.config.name}, loaded {result.metrics['model_loads']}× in "
                f"{result.metrics['model_load_ms'] / 1000:.1f} s, "
                f"{result.metrics['model_resident_bytes'] / 1e6:,.0f} MB"
            )
    if changed := result.metrics.get(IMAGES_CHANGED):
        lines.append(f"  changed     {changed:,} were labelled earlier, and again since their files have changed")
    if unknown := result.metrics.get(VERSIONS_UNKNOWN):
        lines.append(f"  unknown     {unknown:,} labelled earlier; whether their files have changed couldn't be told")
    if passed_over := record.get("passed_over"):
        counts = ", ".join(
            f"{number:,} {PASSED_OVER_WORDS.get(why, why)}" for why, number in sorted(passed_over.items())
        )
        lines.append(f"  passed over {counts}")
    if failed or failed_earlier:
        lines.append(
            f"  what next   labelbeam status {quote(job.spec.output)} names them; --retry-failed labels them again"
        )
    lines.append(f"  tables      {job.spec.output}/{{{','.join(job.label_config.tables)}}}/part-*.parquet")
    table = dumps(f"{job.spec.output}/detections", ensure_ascii=False)
    code = f'import pyarrow.parquet as p; print(*p.read_table({table}).slice(0, 5).to_pylist(), sep="\\n")'
    lines.append(f"  read them   {quote(sys.executable)} -c {quote(code)}")
    return "\n".join(lines)


def _remark_on_min_score(job: Job, result: JobResult) -> str | None:
    """If `--min-score` dropped nearly all of what the detector gave, or nothing of it."""
    detector = job.label_config.detector
    kept, dropped = (result.metrics.get(f"detections_{what}", 0) for what in ("kept", "dropped"))
    given, option = kept + dropped, f"--min-score {detector.options.min_score:g}"
    if given < _ENOUGH or detector.options.min_score == 0:
        return None
    if dropped > _MOSTLY * given:
        what = f"dropped {dropped:,} of the {given:,} detections that the detector gave; is it too high"
    elif not dropped:
        what = f"dropped nothing of the {given:,} detections that the detector gave; is it too low"
    else:
        return None
    return f"{option} {what}{usual_scores(detector.config)}?"


def usual_scores(config: DetectorConfig) -> str:
    """What a configuration says of usual thresholds, in parentheses; empty if it says nothing."""
    if config.usual_min_score is None:
        return ""
    low, high = config.usual_min_score
    return f" (with {config.name}, {low:g} to {high:g} is usual)"
