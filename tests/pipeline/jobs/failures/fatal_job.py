"""A whole job whose decoder or detector ends the process for one certain image. To be run in a process of its own:

    python -c "from tests.pipeline.jobs.failures.fatal_job import main; main()" IMAGES OUTPUT LOG HOW [BEAM'S OPTIONS]

Images are of one colour, and their red is their number. Needs no TensorFlow.
"""

import ctypes
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections
from labelbeam.pipeline.commands.label import run_and_report
from labelbeam.pipeline.job import Job
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from labelbeam.transforms.execution_options import ExecutionOptions
from PIL import Image, ImageFile

from tests.fakes.detectors import without_weights

FATAL = 13  # the number of the image
BATCH_SIZE = 4
PART_IMAGES = 3
MODEL_TIMEOUT_S = 2.0


def segfault() -> None:
    ctypes.string_at(0)


def abort_in_a_foreign_thread() -> None:
    """As TensorFlow's own threads do it: Python doesn't know the thread."""
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.abort, None)
    threading.Event().wait()


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    threading.Event().wait()


ENDS = {
    "segfault": segfault,
    "foreign": abort_in_a_foreign_thread,
    "killed": be_killed,
    "hang": hang,
    "none": lambda: None,
}


@dataclass(frozen=True)
class FatalSpec(DetectorSpec):
    """Loads a `FatalDetector`."""

    log: str = ""
    how: str = "none"

    def load(self) -> "FatalDetector":
        return FatalDetector(self.log, self.how)


class FatalDetector:
    """Finds one box an image; notes in a file what each call was given; ends the process in its way for one image."""

    batches = True

    def __init__(self, log: str, how: str):
        self._log = log
        self._how = how

    def detect(self, images):
        numbers = [int(image[0, 0, 0]) for image in images]
        with Path(self._log).open("a") as log:
            log.write(" ".join(map(str, numbers)) + "\n")
        if FATAL in numbers:
            ENDS[self._how]()
        whole = Detections(boxes_yxyx=np.float32([[0, 0, 1, 1]]), class_ids=np.int32([1]), scores=np.float32([0.5]))
        return [whole] * len(images)


class FatalImageFile(ImageFile.ImageFile):
    """An image that ends the process when it is decoded."""

    format = "FATAL"

    def _open(self):
        self._mode, self._size = "RGB", (8, 8)

    def load(self):
        segfault()


Image.register_open(FatalImageFile.format, FatalImageFile, lambda prefix: prefix.startswith(b"FATAL"))


def main() -> None:
    images, output, log, how, *arguments = sys.argv[1:]
    spec = without_weights(FatalSpec, log=log, how=how)
    share_model = "--share-model" in arguments
    options = parse_beam_options([a for a in arguments if a != "--share-model"], [])
    execution = ExecutionOptions(
        batch_size=BATCH_SIZE,
        share_model=share_model,
        part_images=PART_IMAGES,
        model_timeout_s=MODEL_TIMEOUT_S if how == "hang" else None,
    )
    job = JobSpec([images], output, LabelConfig(spec), execution)
    sys.exit(run_and_report(Job(job, prepare_label_config(job.labels)), options))
