"""`labelbeam status OUT`: what an output folder holds, and what its jobs did."""

import argparse
import json

from ..arguments.common import add_label_set
from ..streams import print_result


def add_parser(commands) -> None:
    status = commands.add_parser(
        "status",
        help="what an output folder holds, and what its jobs did",
        description="Images, failures by kind with examples, detections, jobs, and what an interrupted job left\n"
        "behind. Changes nothing.",
        epilog="examples:\n  labelbeam status out\n  labelbeam status s3://bucket/out --json | jq .images",
    )
    status.add_argument("--json", action="store_true", help="for programs")
    add_label_set(status)
    status.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..running.status import collect_status, describe_status

    status = collect_status(args.output)
    print_result(json.dumps(status, indent=1) if args.json else describe_status(status))
    return 0
