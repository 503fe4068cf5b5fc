"""`labelbeam label --dry-run`: what a job would do, found out without doing any of it."""

import pickle
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ...results.text import counted
from ...storage.temporary import temporary_folder
from ...transforms.skip_labelled import ListedCounts
from ..job import Job, list_todo
from .beam_folder import keep_in
from .summary import usual_scores


def describe_dry_run(job: Job, options: PipelineOptions) -> str:
    """Counts the images, in this process, and says what the job would do and write. Writes nothing to the output
    folder.

    Args:
      job: from `prepare_job`, which has checked all else.
      options: of Beam, for the job.
    """
    counts, detector, spec = count_images(job), job.label_config.detector, job.spec
    masks = "masks" if detector.has_masks else "no masks"
    size = detector.config.input_size_hw
    classes = counted(len(detector.config.labels), "class", "classes")
    lines = [
        f"Nothing was done. {counted(counts.listed - counts.skipped, 'image')} would be labelled"
        + (f"; {counts.skipped:,} of {counts.listed:,} have rows already." if counts.skipped else "."),
        f"  detector    {detector.config.name} (engine {detector.engine}, {detector.precision}), {classes}, "
        f"{masks}{', input {}×{}'.format(*size) if size else ''}",
        f"  weights     {detector.weights}, fingerprint {detector.fingerprint[:16]}",
        f"  keeps       detections with a score of {detector.options.min_score:g} or more, at most "
        f"{detector.options.max_detections} an image{usual_scores(detector.config)}",
        f"  runner      {options.view_as(StandardOptions).runner}",
        f"  would write {spec.output}/{{{','.join(job.label_config.tables)}}}/part-*.parquet",
    ]
    return "\n".join(lines)


def count_images(job: Job) -> ListedCounts:
    """How many images a job would find, and how many of them it would skip."""
    with temporary_folder("dry-run") as folder:
        path = Path(folder, "counts")
        with keep_in(folder, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))) as pipeline:
            _ = list_todo(pipeline, job, job.spec.output)["counts"] | beam.Map(_save, str(path))
        return pickle.loads(path.read_bytes())


def _save(element: Any, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(element))
