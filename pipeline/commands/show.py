"""`labelbeam show OUT IMAGE`: one image with its labels drawn in."""

import argparse

from ..arguments.common import add_label_set


def add_parser(commands) -> None:
    show = commands.add_parser(
        "show",
        help="one image with its labels drawn in",
        description="Draws one image's boxes, masks and names, and lists its detections.",
        epilog="example:\n  labelbeam show out beach.jpg -o beach-labels.png",
    )
    add_label_set(show)
    show.add_argument(
        "image",
        metavar="IMAGE",
        help="its URI as in the tables, its image_id, or the end of its URI after a /, such as the file's name",
    )
    show.add_argument(
        "-o",
        "--output",
        dest="to_path",
        metavar="FILE.png",
        help="the image (default: on the terminal if that shows images (kitty, Ghostty, WezTerm, iTerm2), else "
        "NAME-labels.png here)",
    )
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.drawing.show import show

    show(args.output, args.image, args.to_path)
    return 0
