"""`labelbeam label`: from parsed arguments to a job, its summary and its exit code."""

import argparse
import logging
import sys
from collections.abc import Sequence

from ...labelset.rows import ERROR_KINDS
from ...storage.errors import UsageError
from ...storage.redaction import redact
from ...transforms.close_job import JobIncompleteError
from ...transforms.execution_options import ExecutionOptions
from ...transforms.sources.inputs import ListOptions
from ..job import Job, run_job
from ..prepare_job import prepare_job
from ..running.beam_options import parse_beam_options
from ..running.summary import summarize
from ..settings import JobSpec, LabelConfig

_log = logging.getLogger(__name__)


def run_label(args: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Checks everything that can be known before the work starts, then labels.

    Returns:
      0, or 1 if the job failed or is incomplete.

    Raises:
      UsageError: if the command can't be used as it is.
    """
    own_options = [f"--{name.replace('_', '-')}" for name in vars(args)]
    options = parse_beam_options(beam_arguments, own_options, args.runner_config)
    return run_and_report(prepare_job(job_spec(args), options), options)


def job_spec(args: argparse.Namespace) -> JobSpec:
    """The job that the arguments of `labelbeam label`, or of a command with the same options, describe.

    Raises:
      UsageError: names the argument that can't be used.
    """
    retry = args.retry_failed
    return JobSpec(
        args.input,
        args.output,
        LabelConfig(
            args.detector,
            weights=args.weights,
            engine=args.engine,
            precision=args.precision,
            min_score=args.min_score,
            max_detections=args.max_detections,
            mask_format=args.mask_format,
            keep=args.keep,
            decode=args.decode,
            exif_orientation=args.exif_orientation,
            background_rgb=args.background,
            boxes=args.boxes or (),
            tiles=args.tiles,
            tile_overlap=args.tile_overlap,
            tiles_only=args.tiles_only,
        ),
        ExecutionOptions(
            batch_size=args.batch_size,
            share_model=args.share_model,
            shared_folders=tuple(args.shared_folder),
            public_hosts_only=args.public_hosts_only,
            **_given(
                model_copies=args.model_copies,
                allow_schemes=args.allow_scheme,
                max_bytes=args.max_bytes,
                max_pixels=args.max_pixels,
                deadline_s=args.fetch_deadline_s,
                read_threads=args.fetch_threads,
                max_per_host=args.max_per_host,
                part_images=args.part_images,
            ),
        ),
        ListOptions(uri_column=args.uri_column, image_column=args.image_column),
        limit=args.limit,
        retry_failed=ERROR_KINDS if retry == [] else retry,
    )


def run_and_report(job: Job, options) -> int:
    """Runs a job and prints its summary, or why there is none; returns the exit code."""
    try:
        result = run_job(job, options)
    except JobIncompleteError as error:
        print(f"labelbeam: the job is incomplete: {error}", file=sys.stderr)
        return 1
    except UsageError:
        raise
    except Exception as error:  # whatever a runner raises: the traceback is for --verbose, the cause is for everybody
        _log.info("The job failed.", exc_info=True)
        print(
            f"labelbeam: the job failed: {redact(_cause(error))}\nWhat finished parts hold is kept; the same command goes on "
            "from there. --verbose shows the whole story.",
            file=sys.stderr,
        )
        return 1
    print(summarize(job, result))
    if result.record["status"] == "interrupted":
        print(
            "labelbeam: interrupted; the open parts were finished. The same command goes on from here.", file=sys.stderr
        )
        return 130
    return 0


def _given(**options) -> dict:
    """The options that the user named; the rest keep the defaults of the class that has them."""
    return {name: value for name, value in options.items() if value is not None}


def _cause(error: BaseException) -> str:
    """The innermost error that says what a person did wrong, else the innermost of all: runners wrap it in several others."""
    while error.__cause__ is not None and not isinstance(error, UsageError):
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1] if len(text) > 500 else text
