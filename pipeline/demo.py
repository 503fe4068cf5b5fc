"""`labelbeam demo`: the real job over the pictures and the detector that come with labelbeam, then a contact sheet."""
import os
from importlib import resources

from .beam_options import parse_beam_options
from .job import Job
from .label import AUTO_BATCH_SIZE, run_and_report
from .label_images import Pace
from .labelling import prepare_labelling
from .results.contact_sheet import write_contact_sheet


def run_demo(output: str) -> int:
    """Labels the demo pictures into `output`; returns the exit code."""
    with resources.as_file(resources.files("labelbeam.pipeline") / "demo_images") as pictures:
        job = Job([str(pictures)], os.path.abspath(output), prepare_labelling("demo"), pace=Pace(AUTO_BATCH_SIZE))
        code = run_and_report(job, parse_beam_options([], []))
        if code == 0:
            sheet = os.path.join(job.output, "contact_sheet.png")
            write_contact_sheet(job.output, sheet)
            print(f"  look        {sheet}")
    return code
