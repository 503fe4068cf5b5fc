"""`labelbeam report OUT`: a label set on one HTML page."""

import argparse

from ..arguments.common import add_label_set
from ..streams import say


def add_parser(commands) -> None:
    report = commands.add_parser(
        "report",
        help="a label set on one HTML page: figures, charts, a gallery",
        description="One page that needs no network, at most 5 MB whatever the number of images: what was labelled\n"
        "with what, charts, and a sample of images with their labels, which can be filtered by class and\n"
        "score. It holds images and their URIs: pass it on as you would those.",
        epilog="example:\n  labelbeam report out -o report.html",
    )
    report.add_argument(
        "-o", "--output", dest="to_path", metavar="FILE.html", help="the page (default: OUT/report.html)"
    )
    report.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the sample of images; the same one shows the same (default: %(default)s)",
    )
    add_label_set(report)
    report.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.report.report import write_report

    say(write_report(args.output, args.to_path, args.seed))
    return 0
