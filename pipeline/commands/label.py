"""`labelbeam label`: from parsed arguments to a job, its summary and its exit code."""

import argparse
import logging
import sys
from collections.abc import Sequence

from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from ...detectors.device_share import processors
from ...labelset.rows import ERROR_KINDS, ErrorKind
from ...storage.errors import UsageError
from ...storage.redaction import redact
from ...transforms.close_job import JobIncompleteError
from ...transforms.fetch.options import DecodeOptions, FetchOptions
from ...transforms.list_images import NamedSchemes, check_inputs
from ...transforms.sources.box_prompts import open_tables
from ...transforms.sources.inputs import ListOptions
from ...transforms.write_parts import PartLimits
from ..job import Job, run_job
from ..label_config import prepare_label_config
from ..label_images import ExecutionOptions
from ..running.beam_options import direct_workers, parse_beam_options, processes_per_machine
from ..running.preflight import check_runner, check_visible
from ..running.summary import summarize

_log = logging.getLogger(__name__)

AUTO_BATCH_SIZE = 16  # images that the detector can keep the device busy with, few enough to hold decoded


def run_label(args: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Checks everything that can be known before the work starts, then labels.

    Returns:
      0, or 1 if the job failed or is incomplete.

    Raises:
      UsageError: if the command can't be used as it is.
    """
    own_options = [f"--{name.replace('_', '-')}" for name in vars(args)]
    options = parse_beam_options(beam_arguments, own_options, args.runner_config)
    FileSystems.set_options(options)  # object stores: inputs are looked at before there's a pipeline
    check_runner(options)
    _check_copies(args, options)
    job, named = prepare_job(args, processes_per_machine(options))
    check_visible(
        options,
        args.shared_folder,
        inputs=args.input,
        listed_schemes=named.schemes,
        output=args.output,
        weights=job.label_config.detector.weights,
        boxes=args.boxes or (),
    )
    return run_and_report(job, options)


def prepare_job(args: argparse.Namespace, processes: int) -> tuple[Job, NamedSchemes]:
    """The job that the arguments describe, checked as far as can be without doing it, and the schemes that its inputs name.

    Args:
      args: of `labelbeam label`, or of a command with the same options.
      processes: worker processes side by side on one machine.

    Raises:
      UsageError: names the argument that can't be used.
    """
    listing = ListOptions(uri_column=args.uri_column, image_column=args.image_column)
    named = check_inputs(args.input, listing)
    allow_schemes = _allowed_schemes(args.allow_scheme, named)
    label_config = prepare_label_config(
        args.detector,
        weights=args.weights,
        engine=args.engine,
        precision=args.precision,
        min_score=args.min_score,
        max_detections=args.max_detections,
        mask_format=args.mask_format,
        keep=args.keep,
        max_batch_size=args.batch_size,
        boxes=open_tables(args.boxes, args.uri_column) if args.boxes else None,
        processes=1 if args.share_model else processes,
        decoding=args.decode,
        decode=DecodeOptions(
            exif_orientation=args.exif_orientation, background_rgb=args.background, **_given(max_pixels=args.max_pixels)
        ),
    )
    execution = ExecutionOptions(
        batch_size=AUTO_BATCH_SIZE if args.batch_size == "auto" else args.batch_size,
        share_model=args.share_model,
        model_copies=args.model_copies or 1,
        fetch=FetchOptions(
            allow_schemes=allow_schemes,
            public_hosts_only=args.public_hosts_only,
            **_given(
                decode_threads=max(1, processors() // processes) if processes > 1 else None,
                max_bytes=args.max_bytes,
                deadline_s=args.fetch_deadline_s,
                read_threads=args.fetch_threads,
                max_per_host=args.max_per_host,
            ),
        ),
    )
    parts = PartLimits(**_given(images=args.part_images))
    job = Job(
        args.input,
        args.output,
        label_config,
        listing,
        execution,
        parts,
        limit=args.limit,
        retry_failed=_error_kinds(args.retry_failed),
    )
    return job, named


def _check_copies(args: argparse.Namespace, options: PipelineOptions) -> None:
    """Raises `UsageError` if --model-copies makes no sense with this runner."""
    copies, workers = args.model_copies, direct_workers(options)
    if copies is None:
        return
    if not args.share_model:
        raise UsageError(
            f"--model-copies {copies}: says how many detectors the processes of a machine share; give --share-model "
            "with it. Without, each process has one of its own"
        )
    if workers is not None and copies > workers:
        raise UsageError(
            f"--model-copies {copies}: {copies - workers} of them would never be called: the runner works on "
            f"{workers} bundle{'s' * (workers > 1)} at a time. Give at most {workers}, or more workers, as in "
            f"--runner-config multi_process --direct_num_workers {copies}"
        )


def _allowed_schemes(given: Sequence[str] | None, named: NamedSchemes) -> frozenset[str]:
    """The schemes that --allow-scheme gives, else those that the inputs name."""
    if given is None:
        if named.remote_list is not None and "file" in named.schemes:
            raise UsageError(
                f"--input {redact(named.remote_list)}: a list that lies elsewhere, together with local files: its "
                "entries could name any file of the workers. Label them one after the other, or say "
                f"--allow-scheme {' '.join(sorted(named.schemes))} if you trust the list"
            )
        return named.schemes
    allowed = frozenset(given)
    known = {"file", "http", "https", *(system.scheme() for system in FileSystem.get_all_subclasses())} - {None}
    if unknown := sorted(allowed - known):
        raise UsageError(f"--allow-scheme {unknown[0]}: no such scheme; expected some of {', '.join(sorted(known))}")
    if allowed.isdisjoint(named.schemes):
        raise UsageError(
            f"--allow-scheme {' '.join(given)}: leaves nothing to read; the inputs name images by "
            f"{', '.join(sorted(named.schemes))}"
        )
    return allowed


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


def _error_kinds(names: Sequence[str] | None) -> tuple[ErrorKind, ...] | None:
    """The kinds to retry: all if none is named, None without the option."""
    for name in names or ():
        if name not in ERROR_KINDS:
            raise UsageError(
                f"--retry-failed {name}: not a kind of error; expected some of {', '.join(ERROR_KINDS)}, or none "
                "for all of them"
            )
    return None if names is None else tuple(names or ERROR_KINDS)


def _given(**options) -> dict:
    """The options that the user named; the rest keep the defaults of the class that has them."""
    return {name: value for name, value in options.items() if value is not None}


def _cause(error: BaseException) -> str:
    """The innermost error that says what a person did wrong, else the innermost of all: runners wrap it in several others."""
    while error.__cause__ is not None and not isinstance(error, UsageError):
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1] if len(text) > 500 else text
