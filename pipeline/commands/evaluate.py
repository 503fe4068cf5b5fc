"""`labelbeam evaluate OUT --annotations FILE`: COCO's average precision of a label set."""

import argparse

from ..arguments.common import add_label_set
from ..streams import print_result


def add_parser(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="average precision of a label set, given annotations",
        description="COCO's average precision and recall of a label set, by hotcoco (extra `evaluate`). Annotated\n"
        "images that failed or are missing count, and are named.",
        epilog="example:\n  labelbeam evaluate out --annotations instances_val2017.json --per-class",
    )
    evaluate.add_argument("--annotations", required=True, metavar="FILE", help="instances.json in COCO's format")
    evaluate.add_argument("--per-class", action="store_true", help="a table of the classes as well")
    evaluate.add_argument(
        "--match-classes",
        choices=["id", "name"],
        default="id",
        help="a detection's category is the one with its class_id, or with its class_name (default: %(default)s)",
    )
    evaluate.add_argument(
        "--image-ids",
        metavar="FILE",
        help="CSV file with the columns uri and id (of the image in the annotations); without, an image is the one "
        "whose file_name is the longest suffix of its path",
    )
    evaluate.add_argument(
        "--only-labelled",
        action="store_true",
        help="leave annotated images without labels out, instead of counting them as empty",
    )
    add_iou_and_json(evaluate)
    add_label_set(evaluate)
    evaluate.set_defaults(run=run)


def add_iou_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--iou", choices=["bbox", "segm"], default="bbox", help="of boxes or of masks (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")


def run(args: argparse.Namespace) -> int:
    from ...results.evaluate.description import describe_evaluation
    from ...results.evaluate.evaluation import evaluate
    from ...results.result_files import check_result_file, write_json

    check_result_file("--json", args.json)
    result = evaluate(
        args.output,
        args.annotations,
        iou=args.iou,
        match_classes=args.match_classes,
        image_ids=args.image_ids,
        only_labelled=args.only_labelled,
    )
    print_result(describe_evaluation(result, args.per_class))
    if args.json:
        write_json(args.json, result)
    return 0
