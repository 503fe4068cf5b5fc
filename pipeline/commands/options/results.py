"""Options of the commands that read an output folder: its state, evaluation, comparison, report, export."""

from ....results.export import FORMATS
from .detectors import add_verbose


def add_status_and_settle(commands) -> None:
    status = commands.add_parser(
        "status",
        allow_abbrev=False,
        help="what an output folder holds, and what its jobs did",
        description="Images, failures by kind with examples, detections, jobs, and what an "
        "interrupted job left behind. Changes nothing.",
    )
    _add_output(status)
    status.add_argument("--json", action="store_true", help="for programs")
    settle = commands.add_parser(
        "settle",
        allow_abbrev=False,
        help="tidy up what dead jobs left in an output folder",
        description="Takes away unfinished parts, removes repeated rows, merges small parts. `labelbeam "
        "label` does so by itself; this is for folders that nothing is to be added to.",
    )
    _add_output(settle)


def add_evaluate_and_compare(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        allow_abbrev=False,
        help="average precision of a label set, given annotations",
        description="COCO's average precision and recall of a label set, by pycocotools (pip install 'labelbeam[evaluate]'). "
        "Annotated images that failed or are missing count, and are named.",
    )
    _add_output(evaluate)
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
        help="CSV file with the columns uri and id (of the image in the annotations); without, an image "
        "is the one whose file_name is the longest suffix of its path",
    )
    evaluate.add_argument(
        "--only-labelled",
        action="store_true",
        help="leave annotated images without labels out, instead of counting them as empty",
    )
    compare = commands.add_parser(
        "compare",
        allow_abbrev=False,
        help="what differs between two label sets of the same images",
        description="Two label sets of the same images: detections of one class that overlap are partners; what has none is lost "
        "(only in A) or new (only in B). Agreement for each class, shifts of scores, the images that differ most.",
    )
    compare.add_argument("a", metavar="A", help="output folder of `labelbeam label`")
    compare.add_argument("b", metavar="B", help="another one")
    compare.add_argument("--html", metavar="FILE", help="write a page with charts and images of both, all in one file")
    compare.add_argument(
        "--min-iou",
        type=float,
        default=0.5,
        metavar="X",
        help="partners overlap so much at least (default: %(default)s)",
    )
    compare.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="S",
        help="count only detections that score so much; their partners may score less (default: all that the "
        "tables hold)",
    )
    for parser in (evaluate, compare):
        parser.add_argument(
            "--iou", choices=["bbox", "segm"], default="bbox", help="of boxes or of masks (default: %(default)s)"
        )
        parser.add_argument("--json", metavar="FILE", help="write everything to this file, for programs")


def add_report_and_show(commands) -> None:
    report = commands.add_parser(
        "report",
        allow_abbrev=False,
        help="a label set on one HTML page: figures, charts, a gallery",
        description="One page that needs no network, at most 5 MB whatever the number of images: what was labelled with what, "
        "charts, and a sample of images with their labels, which can be filtered by class and score. It holds "
        "images and their URIs: pass it on as you would those.",
    )
    _add_output(report)
    report.add_argument("--output", dest="to_path", metavar="FILE.html", help="the page (default: OUT/report.html)")
    report.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the sample of images; the same one shows the same (default: %(default)s)",
    )
    show = commands.add_parser(
        "show",
        allow_abbrev=False,
        help="one image with its labels drawn in",
        description="Draws one image's boxes, masks and names, and lists its detections.",
    )
    _add_output(show)
    show.add_argument(
        "image",
        metavar="IMAGE",
        help="its URI as in the tables, its image_id, or the end of its URI after a /, such as the file's name",
    )
    show.add_argument(
        "--output",
        dest="to_path",
        metavar="FILE.png",
        help="the image (default: on the terminal if that shows images (kitty, Ghostty, WezTerm, iTerm2), else "
        "NAME-labels.png here)",
    )


def add_export(commands) -> None:
    export = commands.add_parser(
        "export",
        allow_abbrev=False,
        help="labels as files of other tools: COCO, YOLO, Pascal VOC, Label Studio, CVAT, …",
        description="Writes an output folder's labels in a format that labelling tools and training code import. Images that "
        "failed are left out and counted; images without detections are kept. docs/export.md describes each format.",
    )
    _add_output(export)
    export.add_argument("--format", required=True, choices=list(FORMATS))
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
        help="leave out points of polygons that are so near to the line without them; makes masks easier to "
        "edit (default: every pixel is kept)",
    )
    add_verbose(export)


def _add_output(parser) -> None:
    parser.add_argument("output", metavar="OUT", help="output folder of `labelbeam label`")
