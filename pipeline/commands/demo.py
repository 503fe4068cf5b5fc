"""`labelbeam demo`: the real job over the images and the detector that come with labelbeam, then a contact sheet."""

import os
from importlib import resources

from ...results.drawing.contact_sheet import write_contact_sheet
from ..prepare_job import prepare_job
from ..running.beam_options import parse_beam_options
from ..settings import JobSpec, LabelConfig
from .label import run_and_report


def run_demo(output: str) -> int:
    """Labels the demo images into `output`; returns the exit code."""
    with resources.as_file(resources.files("labelbeam.pipeline") / "demo_images") as images:
        options = parse_beam_options([])
        job = prepare_job(JobSpec([str(images)], os.path.abspath(output), LabelConfig("demo")), options)
        code = run_and_report(job, options)
        if code == 0:
            sheet = os.path.join(job.spec.output, "contact_sheet.png")
            write_contact_sheet(job.spec.output, sheet)
            print(f"  look        {sheet}")
    return code
