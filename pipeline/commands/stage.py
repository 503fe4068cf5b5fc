"""`labelbeam stage --detector NAME --to FOLDER`: puts a detector where workers on other machines can read it."""

import argparse
import shlex

from ...storage.errors import UsageError
from ..arguments.common import add_detector, add_stores, add_weights_options
from ..streams import say


def add_parser(commands) -> None:
    stage = commands.add_parser(
        "stage",
        help="put a detector where workers on other machines can read it",
        description="Copies a detector's weights, with a configuration that names them, into a store or onto a\n"
        "network disk, and prints the command that uses them. What is there already isn't sent again.",
        epilog="example:\n  labelbeam stage --detector demo --to gs://bucket/weights",
    )
    stage.add_argument(
        "--to",
        required=True,
        metavar="FOLDER",
        help="gs://, s3://, hdfs://, or a folder that workers have at the same path",
    )
    add_detector(stage)
    add_weights_options(stage)
    add_stores(stage)
    stage.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...storage.uris import absolute, is_http, is_local
    from ..find_detector import find_detector
    from ..stage import stage

    if is_http(args.to):
        raise UsageError(
            f"--to {args.to}: can't be written to; expected gs://, s3://, hdfs://, or a folder that workers have at "
            "the same path"
        )
    spec = find_detector(
        args.detector, labels=args.labels, weights=args.weights, engine=args.engine, precision=args.precision
    )
    staged = stage(spec, args.to)
    command = ["labelbeam", "label", "…", "-o", "…", "--detector", staged.config]
    if spec.engine == "keras":
        command += ["--precision", args.precision]
    if is_local(args.to):
        command += ["--shared-folders", absolute(args.to)]
    say(
        f"{spec.config.name}: {staged.files} files, {staged.num_bytes / 1e6:,.1f} MB; {staged.sent} sent, the others "
        "were there already\n"
        f"label with it    {shlex.join(command).replace(shlex.quote('…'), '…')} --runner-config …"
    )
    return 0
