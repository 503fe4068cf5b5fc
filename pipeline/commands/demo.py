"""`labelbeam demo`: the real job over the images and the detector that come with labelbeam, then a contact sheet."""

import os
from importlib import resources

from ...results.drawing.contact_sheet import write_contact_sheet
from ..job import Job
from ..label_config import prepare_label_config
from ..label_images import ExecutionOptions
from ..running.beam_options import parse_beam_options
from .label import AUTO_BATCH_SIZE, run_and_report


def run_demo(output: str) -> int:
    """Labels the demo images into `output`; returns the exit code."""
    with resources.as_file(resources.files("labelbeam.pipeline") / "demo_images") as images:
        job = Job(
            [str(images)],
            os.path.abspath(output),
            prepare_label_config("demo"),
            execution=ExecutionOptions(AUTO_BATCH_SIZE),
        )
        code = run_and_report(job, parse_beam_options([], []))
        if code == 0:
            sheet = os.path.join(job.output, "contact_sheet.png")
            write_contact_sheet(job.output, sheet)
            print(f"  look        {sheet}")
    return code
