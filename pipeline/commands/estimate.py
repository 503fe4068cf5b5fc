"""`labelbeam estimate`: how long a job would take, and how many worker hours."""

import argparse

from ...storage.errors import UsageError
from ...storage.temporary import temporary_folder
from ..arguments.common import add_verbose, positive, price
from ..arguments.jobs import add_execution, add_labels, add_lists, add_what, job_spec, store_arguments
from ..standard_input import with_standard_input
from ..streams import print_result


def add_parser(commands) -> None:
    estimate = commands.add_parser(
        "estimate",
        help="how long a job would take, and how many worker hours",
        usage="labelbeam estimate INPUT... --detector NAME [options] [options of Beam]",
        description="Lists the inputs, labels a random sample of them into a folder that is then deleted, and says\n"
        "how long the whole job takes on workers like this machine. Takes most options of `labelbeam\n"
        "label`; docs/estimating.md says what the figures hold and what they leave out.",
        epilog="example:\n  labelbeam estimate photos/ --detector demo --workers 1 10 --price-per-hour 0.5",
    )
    main = estimate.add_argument_group("what everybody needs")
    add_what(
        main, help="the job's output folder: what is labelled there already isn't counted. Nothing is written to it"
    )
    forecast = estimate.add_argument_group("forecast")
    forecast.add_argument(
        "--sample",
        type=positive,
        default=50,
        metavar="N",
        help="images to time at least; fast detectors get more, for about ten seconds (default: %(default)s)",
    )
    forecast.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the sample; the same one takes the same images (default: %(default)s)",
    )
    forecast.add_argument(
        "--workers",
        nargs="+",
        type=positive,
        default=[1, 10, 100],
        metavar="N",
        help="numbers of machines to forecast for (default: 1 10 100)",
    )
    forecast.add_argument("--price-per-hour", type=price, metavar="X", help="of one worker, in any currency")
    forecast.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")
    add_verbose(estimate)
    add_labels(estimate)
    add_lists(estimate)
    add_execution(estimate)
    estimate.set_defaults(run=run, beam_options="all", takes_inputs=True)


def run(args: argparse.Namespace) -> int:
    import dataclasses
    from pathlib import Path

    from apache_beam.options.pipeline_options import StandardOptions

    from ...results.result_files import check_result_file, write_json
    from ..estimating.estimate import RUNNER, describe, make_estimate
    from ..prepare_job import prepare_job
    from ..running.beam_options import parse_beam_options

    check_result_file("--json", args.json)
    options = parse_beam_options([*store_arguments(args), *args.beam_arguments], args.own_options)
    if options.view_as(StandardOptions).runner != RUNNER:
        raise UsageError(
            "--runner: an estimate is made in this process, for workers like this machine; leave the option out"
        )
    with (
        temporary_folder("estimate") as folder,
        with_standard_input(args.input) as args.input,
    ):
        if args.output is None:
            args.output = str(Path(folder, "nothing-labelled-yet"))
        job = prepare_job(job_spec(args), options)
        estimate = make_estimate(job, options, args.sample, args.seed, args.workers, args.price_per_hour)
    print_result(describe(estimate))
    if args.json is not None:
        write_json(
            args.json,
            dataclasses.asdict(estimate)
            | {"image_s": estimate.image_s._asdict(), "read_bytes": estimate.read_bytes._asdict()},
        )
    return 0
