"""`labelbeam demo`: the real job over the images and the detector that come with labelbeam, then a contact sheet."""

import argparse
import os
from importlib import resources

from ..arguments.common import add_verbose


def add_parser(commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="label the images that come with labelbeam and draw the result",
        description="A real job over the images and the small detector that come with labelbeam: needs no network,\n"
        "takes a minute, ends with a contact sheet to look at.",
        epilog="example:\n  labelbeam demo -o /tmp/demo-labels",
    )
    demo.add_argument(
        "-o",
        "--output",
        default="demo-labels",
        metavar="FOLDER",
        help="folder of the tables (default: %(default)s)",
    )
    add_verbose(demo)
    demo.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...results.drawing.contact_sheet import write_contact_sheet
    from ..prepare_job import prepare_job
    from ..running.beam_options import parse_beam_options
    from ..settings import JobSpec, LabelConfig
    from ..streams import say
    from .label import run_and_report

    with resources.as_file(resources.files("labelbeam.pipeline") / "demo_images") as images:
        options = parse_beam_options([])
        output = os.path.abspath(args.output)
        code = run_and_report(prepare_job(JobSpec([str(images)], output, LabelConfig("demo")), options), options)
        if code == 0:
            sheet = os.path.join(output, "contact_sheet.png")
            write_contact_sheet(output, sheet)
            say(f"  look        {sheet}")
    return code
