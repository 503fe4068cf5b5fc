"""Whole jobs in processes of their own, forked from a server that has Beam imported: twenty start in seconds.

They need no TensorFlow.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.detectors.load import DetectorSpec
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset import heartbeat
from labelbeam.pipeline.commands.label import run_and_report
from labelbeam.pipeline.job import Job
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from labelbeam.storage.errors import UsageError
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.sources.inputs import ListOptions

from tests.fakes.detectors import without_weights

PART_IMAGES = 10

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class SlowSpec(DetectorSpec):
    """Loads a `SlowDetector`."""

    seconds: float = 0.0
    log: str = ""

    def load(self) -> "SlowDetector":
        return SlowDetector(self.seconds, self.log)


class SlowDetector:
    """Finds as many boxes as the image's first pixel says, modulo four; takes its time; notes each image in a file."""

    batches = True

    def __init__(self, seconds: float, log: str):
        self._seconds, self._log = seconds, log

    def detect(self, images):
        time.sleep(self._seconds * len(images))
        with open(self._log, "ab", buffering=0) as log:
            log.write(b"." * len(images))
        return [self._found(int(image[0, 0, 0]) % 4) for image in images]

    def _found(self, number: int) -> Detections:
        edges = np.linspace(0, 0.5, number, dtype=np.float32)[:, np.newaxis]
        boxes = np.hstack([edges, edges, edges + 0.5, edges + 0.5])
        return Detections(boxes, np.ones(number, np.int32), np.linspace(0.9, 0.5, number, dtype=np.float32))


def start(
    images, output, log, seconds=0.01, elsewhere=False, arguments=(), listing=ListOptions(), **execution
) -> multiprocessing.Process:
    """Starts a job.

    Args:
      images, output: paths or URIs.
      log: file that grows by a byte an image that the model has seen; temporary folders are made beside it.
      seconds: that the model takes an image.
      elsewhere: whether the job takes itself for one on another machine, which holds others for dead after a second.
      arguments: of Beam.
      listing: how inputs are read.
      execution: options of it, beside those that all have.
    """
    process = _CONTEXT.Process(
        target=_run, args=(str(images), str(output), str(log), seconds, elsewhere, list(arguments), listing, execution)
    )
    process.start()
    return process


def _run(images, output, log, seconds, elsewhere, arguments, listing, execution):
    if elsewhere:
        heartbeat.machine = lambda: "another machine"
        heartbeat.DEAD_AFTER_S = 1.0
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.dirname(log)
    sys.stdout = sys.stderr = open(f"{log}.{os.getpid()}", "w")  # noqa: SIM115 - until the process ends
    spec = without_weights(SlowSpec, seconds=seconds, log=log)
    options = {"batch_size": 4, "part_images": PART_IMAGES, **execution}
    job = JobSpec([images], output, LabelConfig(spec), ExecutionOptions(**options), listing)
    options = PipelineOptions(["--runner=FnApiRunner", *arguments])
    try:
        code = run_and_report(Job(job, prepare_label_config(job.labels)), options)
    except UsageError as error:
        print(error)
        code = 2
    sys.stderr.flush()
    os._exit(code)
