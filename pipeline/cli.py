"""The command line, `labelbeam COMMAND`: parses, calls, makes exit codes of errors:

    0  done      1  the job failed or is incomplete      2  the command can't be used as it is      130  Ctrl-C

What a command does is in a module of its own; heavy imports (Beam, TensorFlow) wait until a command needs them.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from ..storage.errors import UsageError
from ..storage.redaction import redact
from .commands.options.detectors import add_stage, add_weights
from .commands.options.jobs import add_demo, add_estimate, add_label
from .commands.options.results import add_evaluate_and_compare, add_export, add_report_and_show, add_status_and_settle


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command, with the help that teaches."""
    parser = argparse.ArgumentParser(
        prog="labelbeam",
        allow_abbrev=False,
        description="Labels images at scale, offline: image URIs in, Parquet tables of detections and masks out.",
        epilog="`labelbeam COMMAND --help` explains a command. Start with `labelbeam demo`.",
    )
    parser.add_argument("--version", action="version", version=f"labelbeam {metadata.version('labelbeam')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_label(commands)
    add_estimate(commands)
    add_demo(commands)
    commands.add_parser(
        "detectors",
        allow_abbrev=False,
        help="list the detectors that labelbeam has configurations for",
        description="Lists the configurations: input size, classes, engines, published accuracy.",
    )
    add_weights(commands)
    add_stage(commands)
    add_status_and_settle(commands)
    add_evaluate_and_compare(commands)
    add_report_and_show(commands)
    add_export(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which is very talkative
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    logging.basicConfig(
        level=logging.INFO if getattr(args, "verbose", False) else logging.ERROR,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )
    if rest and args.command not in ("label", "stage", "estimate"):  # whose further options are Beam's
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(args, rest)
    except UsageError as error:
        print(f"labelbeam: {redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "labelbeam: interrupted. What finished parts hold is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130


def _run(args: argparse.Namespace, rest: list[str]) -> int:
    if args.command == "detectors":
        from .commands.detectors import list_detectors

        print(list_detectors())
        return 0
    if args.command == "demo":
        from .commands.demo import run_demo

        return run_demo(args.output)
    if args.command == "estimate":
        from .running.estimate import run_estimate

        return run_estimate(args, rest)
    if args.command == "status":
        from .running.status import collect_status, describe_status

        status = collect_status(args.output)
        print(json.dumps(status, indent=1) if args.json else describe_status(status))
        return 0
    if args.command == "settle":
        from .running.repair import settle

        print(settle(args.output))
        return 0
    if args.command == "evaluate":
        from ..results.evaluate.evaluation import describe_evaluation, evaluate
        from ..results.result_files import check_result_file, write_json

        check_result_file("--json", args.json)
        result = evaluate(
            args.output,
            args.annotations,
            iou=args.iou,
            match_classes=args.match_classes,
            image_ids=args.image_ids,
            only_labelled=args.only_labelled,
        )
        print(describe_evaluation(result, args.per_class))
        if args.json:
            write_json(args.json, result)
        return 0
    if args.command == "compare":
        from ..results.compare.comparison import compare
        from ..results.compare.page import describe_comparison, write_page
        from ..results.result_files import check_result_file, write_json

        check_result_file("--json", args.json)
        check_result_file("--html", args.html)
        result = compare(args.a, args.b, iou=args.iou, min_iou=args.min_iou, min_score=args.min_score)
        print(describe_comparison(result))
        if args.json:
            write_json(args.json, result)
        if args.html:
            write_page(result, args.html)
        return 0
    if args.command == "report":
        from ..results.report.report import write_report

        print(write_report(args.output, args.to_path, args.seed))
        return 0
    if args.command == "show":
        from ..results.drawing.show import show

        show(args.output, args.image, args.to_path)
        return 0
    if args.command == "weights":
        from .commands.weights import run_weights

        return run_weights(args)
    if args.command == "stage":
        from .running.stage import run_stage

        return run_stage(args, rest)
    if args.command == "export":
        from ..results.export.run import ExportOptions, export

        summary = export(
            args.output,
            ExportOptions(
                args.format, args.target, args.min_score, args.classes, args.images, args.polygon_tolerance_px
            ),
        )
        print(summary.describe())
        return 1 if summary.num_missing else 0
    from .commands.label import run_label

    return run_label(args, rest)


if __name__ == "__main__":
    sys.exit(main())
