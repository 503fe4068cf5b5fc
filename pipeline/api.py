"""What `import labelbeam` offers beside classes: `label`, a whole job, and `export`, its labels for other tools."""

import os
from collections.abc import Collection, Sequence
from typing import Literal

from ..labelset.rows import ErrorKind
from ..results.export.run import ExportOptions, ExportSummary
from ..results.export.run import export as _export
from ..transforms.execution_options import ExecutionOptions
from ..transforms.sources.inputs import ListOptions
from .job import JobResult, run_job
from .prepare_job import prepare_job
from .running.beam_options import parse_beam_options
from .settings import JobSpec, LabelConfig

Path = str | os.PathLike[str]


def label(
    inputs: Path | Sequence[Path],
    output: Path,
    config: LabelConfig | str,
    execution: ExecutionOptions = ExecutionOptions(),
    *,
    listing: ListOptions = ListOptions(),
    limit: int | None = None,
    retry_failed: Collection[ErrorKind] | None = None,
    relabel_changed: bool = False,
    runner_config: str | None = None,
    beam_options: Sequence[str] = (),
) -> JobResult:
    """Runs a whole job: what `labelbeam label` does. Called again, it goes on where it stopped.

    Args:
      inputs: images, folders, globs, lists of URIs (`.txt`, `.csv`, `.jsonl`, `.parquet`) or containers of images
        (`.tar`, `.tfrecord`, `.parquet`), one or several.
      output: the folder of the tables, on a disk or in a store. It holds the labels of one configuration.
      config: what decides the labels; a string is a detector's name, or its YAML file.
      execution: how the work is done.
      listing: how lists and Parquet files are read.
      limit: label at most so many images, the same ones each time; None for all.
      retry_failed: error kinds of images that failed earlier and are labelled again.
      relabel_changed: whether images whose files have changed since are labelled again.
      runner_config: where it runs: `in_process` (if None), `multi_process`, `prism`, `flink`, `spark`, `dataflow_gpu`,
        or a YAML file.
      beam_options: options of Beam, as on a command line: `["--parallelism=8"]`.

    Returns:
      The job's record as a mapping (`record["written"]` images, `record["failures"]` by kind, `record["rows"]` by
      table), the runner's metrics, and the seconds that it took.

    Raises:
      UsageError: before anything is done, if an argument can't be used; the message says which and what to do.
      JobFailedError: if the job was stopped by an error. What finished parts hold is kept.
      JobIncompleteError: if images were listed that have no row.

    Example:
      >>> result = labelbeam.label("photos/", "out", "demo", limit=3)
      >>> result.record["written"], result.record["failures"]
      (3, {})
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    spec = JobSpec(
        [os.fspath(path) for path in paths],
        os.fspath(output),
        LabelConfig(config) if isinstance(config, str) else config,
        execution,
        listing,
        limit,
        retry_failed,
        relabel_changed,
    )
    options = parse_beam_options(beam_options, runner_config=runner_config)
    return run_job(prepare_job(spec, options), options)


def export(
    label_set: Path,
    format: str,
    to: Path,
    *,
    min_score: float = ExportOptions.min_score,
    classes: Sequence[str] | None = None,
    images: Literal["copy", "link"] | None = None,
    polygon_tolerance_px: float = ExportOptions.polygon_tolerance_px,
) -> ExportSummary:
    """Writes a label set as files of another tool: what `labelbeam export` does. docs/export.md describes the formats.

    Args:
      label_set: the output folder of a job.
      format: `coco`, `yolo`, `voc`, `label-studio`, `cvat`, … as `labelbeam export --help` lists.
      to: a new or empty folder, or, of formats that are one file, a new file; on this machine.
      min_score: detections with a lower score are left out, in [0, 1].
      classes: names of the classes that are exported; None for all.
      images: `copy` or `link` them into the export; None to leave them where they are.
      polygon_tolerance_px: how far polygons may be from the masks' outlines, in pixels.

    Returns:
      What was exported and what was left out, with a reason for each.

    Raises:
      UsageError: if the label set holds nothing to export in this format, or `to` can't be used.

    Example:
      >>> labelbeam.export("out", "coco", "instances.json").num_images
      3
    """
    return _export(
        os.fspath(label_set),
        ExportOptions(format, os.fspath(to), min_score, classes, images, polygon_tolerance_px),
    )
