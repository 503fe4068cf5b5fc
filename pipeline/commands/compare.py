"""`labelbeam compare A B`: what differs between two label sets of the same images."""

import argparse

from ..arguments.common import add_stores, place
from ..streams import print_result
from .evaluate import add_iou_and_json


def add_parser(commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="what differs between two label sets of the same images",
        description="Two label sets of the same images: detections of one class that overlap are matched; what has no\n"
        "match is missing (only in A) or added (only in B). Agreement for each class, shifts of scores,\n"
        "the images that differ most.",
        epilog="example:\n  labelbeam compare out-saved-model out-keras --html compare.html",
    )
    compare.add_argument("a", metavar="A", type=place, help="output folder of `labelbeam label`")
    compare.add_argument("b", metavar="B", type=place, help="another one")
    compare.add_argument("--html", metavar="FILE", help="write a page with charts and images of both, all in one file")
    compare.add_argument(
        "--min-iou",
        type=float,
        default=0.5,
        metavar="X",
        help="matched detections overlap so much at least (default: %(default)s)",
    )
    compare.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="S",
        help="count only detections that score so much; what they match may score less (default: all in the tables)",
    )
    add_iou_and_json(compare)
    add_stores(compare)
    compare.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.compare.comparison import compare
    from ...results.compare.page import describe_comparison, write_page
    from ...results.result_files import check_result_file, write_json

    check_result_file("--json", args.json)
    check_result_file("--html", args.html)
    result = compare(args.a, args.b, iou=args.iou, min_iou=args.min_iou, min_score=args.min_score)
    print_result(describe_comparison(result))
    if args.json:
        write_json(args.json, result)
    if args.html:
        write_page(result, args.html)
    return 0
