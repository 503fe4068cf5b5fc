"""`labelbeam export OUT --format FORMAT --to TARGET`: labels as files of other tools."""

import argparse

from ...results.export import FORMATS
from ..arguments.common import add_label_set
from ..streams import say


def add_parser(commands) -> None:
    export = commands.add_parser(
        "export",
        help="labels as files of other tools: COCO, YOLO, Pascal VOC, Label Studio, CVAT, …",
        description="Writes an output folder's labels in a format that labelling tools and training code import.\n"
        "Images that failed are left out and counted; images without detections are kept. docs/export.md\n"
        "describes each format.",
        epilog="examples:\n"
        "  labelbeam export out --format coco --to instances.json\n"
        "  labelbeam export out --format yolo --to yolo/ --copy-images --min-score 0.5 --classes person car",
    )
    add_label_set(export)
    export.add_argument("--format", required=True, choices=list(FORMATS), help="of the files")
    export.add_argument(
        "--to",
        required=True,
        dest="target",
        metavar="FOLDER_OR_FILE",
        help="a new or empty folder, or a new file for formats that are one file; on this machine",
    )
    export.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="S",
        help="leave out detections with a lower score (default: none)",
    )
    export.add_argument("--classes", nargs="+", metavar="NAME", help="only detections of these classes (default: all)")
    images = export.add_mutually_exclusive_group()
    images.add_argument(
        "--copy-images",
        action="store_const",
        const="copy",
        dest="images",
        help="copy the images into the export, from wherever they lie",
    )
    images.add_argument(
        "--link-images",
        action="store_const",
        const="link",
        dest="images",
        help="symbolic links to the images instead, which must be files on this machine",
    )
    export.add_argument(
        "--polygon-tolerance-px",
        type=float,
        default=0.0,
        metavar="PX",
        help="leave out points of polygons that are so near to the line without them; makes masks easier to edit "
        "(default: every pixel is kept)",
    )
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.export.run import ExportOptions, export

    options = ExportOptions(
        args.format, args.target, args.min_score, args.classes, args.images, args.polygon_tolerance_px
    )
    summary = export(args.output, options)
    say(summary.describe())
    return 1 if summary.num_missing else 0
