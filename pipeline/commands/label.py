"""`labelbeam label`: labels images. Its options, and from a job to its summary and exit code."""

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from ...transforms.execution_options import ExecutionOptions
from ..arguments.common import add_field, add_verbose, positive, seconds, share_or_number
from ..arguments.jobs import add_execution, add_labels, add_lists, add_what, job_spec, store_arguments
from ..standard_input import with_standard_input
from ..streams import say

if TYPE_CHECKING:
    from ..job import Job

EXAMPLES = """\
examples:
  # every image below a folder, with the small detector that comes with labelbeam
  labelbeam label photos/ -o out --detector demo

  # the same, but only say what would be done
  labelbeam label photos/ -o out --detector demo --dry-run

  # a published detector of TF Hub, downloaded once into tensorflow_hub's cache
  labelbeam label 'photos/**/*.jpg' -o out --detector mask_rcnn_inception_resnet_v2_1024x1024

  # a list of URIs (http, gs, s3, files) and a WebDataset shard; a SavedModel of your own with its label map
  labelbeam label uris.csv shard-000.tar -o gs://bucket/out --detector mine.yaml --weights gs://bucket/model

  # several processes on this machine; Flink and Dataflow have presets, too. Beam's own options come last
  labelbeam label photos/ -o out --detector demo --runner-config multi_process --direct_num_workers 4

  # the options in a file, for next time
  labelbeam label photos/ -o out --detector demo --save-job job.yaml
  labelbeam label --job job.yaml --limit 100

The same command again goes on where the last one stopped: images that are labelled already are skipped.

exit codes:  0 done   1 failed, incomplete, or more images failed than --max-failed   2 can't be used as it is
             130 interrupted: the same command goes on from there
"""


def add_parser(commands) -> None:
    label = commands.add_parser(
        "label",
        help="label images",
        usage="labelbeam label INPUT... -o FOLDER --detector NAME [options] [options of Beam]",
        description="Labels images and writes Parquet tables: images (one row for each input, whatever happened to\n"
        "it), detections, masks. Options that aren't listed here go to Beam (--temp_location, …) and come last.",
        epilog=EXAMPLES,
    )
    main = label.add_argument_group("what everybody needs")
    add_what(main, required=True, help="folder of the tables; holds one label set")
    main.add_argument(
        "--max-failed",
        type=share_or_number,
        metavar="SHARE|N",
        help="exit code 1 if more of the images tried failed: a share (1%%, 0.01) or a number; if absent: if all did",
    )
    main.add_argument(
        "--runner-config",
        metavar="NAME_OR_YAML",
        help="where it runs: in_process (the default), multi_process, prism, flink, spark, dataflow_gpu, or a YAML "
        "file of the same form. Beam's options on the command line win",
    )
    main.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, count the images, say what would be done and written; do nothing of it",
    )
    add_verbose(label)
    add_labels(label)
    add_lists(label)
    add_execution(label)
    runners = label.add_argument_group("workers and parts")
    add_field(
        runners,
        ExecutionOptions,
        "share_model",
        "one loaded detector for all processes of a machine, instead of one each",
    )
    add_field(
        runners,
        ExecutionOptions,
        "model_copies",
        "with --share-model: N loaded detectors a machine that take turns, where there is room",
        type=positive,
        metavar="N",
    )
    add_field(
        runners,
        ExecutionOptions,
        "shared_folders",
        "folders that workers on other machines see at the same path (a network disk, a volume); other local paths are "
        "refused where workers run elsewhere",
        nargs="+",
        metavar="FOLDER",
    )
    add_field(
        runners,
        ExecutionOptions,
        "part_images",
        "images in a part: what is lost at most when a job is killed; small parts are compacted at the end",
        type=positive,
        metavar="N",
    )
    add_field(
        runners,
        ExecutionOptions,
        "part_seconds",
        "or write a part when its first image came so long ago",
        type=seconds,
        metavar="SECONDS",
    )
    files = label.add_argument_group("job files")
    files.add_argument(
        "--job",
        metavar="FILE.yaml",
        help="take options from a file: their names without dashes in front, lists for several values; those of the "
        "command line win",
    )
    files.add_argument("--save-job", metavar="FILE.yaml", help="write the options of this command to a file for --job")
    files.add_argument("--input-of-job", nargs="+", default=[], help=argparse.SUPPRESS)
    files.add_argument("--beam-of-job", action="append", default=[], help=argparse.SUPPRESS)
    label.set_defaults(run=run, beam_options="all", takes_inputs=True)


def run(args: argparse.Namespace) -> int:
    """Checks everything that can be known before the work starts, then labels."""
    from ..prepare_job import prepare_job
    from ..running.beam_options import parse_beam_options

    options = parse_beam_options(
        [*store_arguments(args), *args.beam_of_job, *args.beam_arguments], args.own_options, args.runner_config
    )
    with with_standard_input(args.input) as args.input:
        job = prepare_job(job_spec(args), options)
        if not args.dry_run:
            return run_and_report(job, options, args.max_failed)
        from ..running.dry_run import describe_dry_run

        say(describe_dry_run(job, options))
        return 0


def run_and_report(job: "Job", options, max_failed: float | int | None = None) -> int:
    """Runs a job and prints its summary, or why there is none; returns the exit code.

    Args:
      job: from `prepare_job`.
      options: of Beam.
      max_failed: how many of the images tried may fail: a number, or a share if it's a float. None: all but one.

    Raises:
      UsageError: before the job has started, if its output folder can't be used, or another job is at work on it.
    """
    from ...labelset.log import JobLostError
    from ...transforms.close_job import JobIncompleteError
    from ..job import SUBMITTED, JobFailedError, run_job
    from ..running.exit_codes import ExitCode, code_of_record, too_many_failed
    from ..running.summary import summarize

    try:
        result = run_job(job, options)
    except JobIncompleteError as error:
        print(f"labelbeam: the job is incomplete: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except JobLostError as error:
        print(f"labelbeam: the job was lost: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except JobFailedError as error:  # the traceback is for --verbose, the cause is for everybody
        logging.getLogger(__name__).info("The job failed.", exc_info=True)
        print(
            f"labelbeam: the job failed: {error}\nWhat finished parts hold is kept; the same command "
            "goes on from there. --verbose shows the whole story.",
            file=sys.stderr,
        )
        return ExitCode.FAILED
    if result.record["status"] == SUBMITTED:
        say(f"Job {job.job_id} is handed over; `labelbeam status {job.spec.output}` shows how far it is.")
        return ExitCode.DONE
    say(summarize(job, result))
    if result.record["status"] == "interrupted":
        print(
            "labelbeam: interrupted; the open parts were finished. The same command goes on from here.", file=sys.stderr
        )
    if sentence := too_many_failed(result.record, max_failed):
        print(f"labelbeam: {sentence}", file=sys.stderr)
    return code_of_record(result.record, max_failed)
