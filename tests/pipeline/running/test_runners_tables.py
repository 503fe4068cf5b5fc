"""One command on several runners: the same tables, the detector loaded as often as promised, and what follows when a
worker dies.

Those with Prism need it beside python, where `make prism` builds it.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from labelbeam.labelset.parts import list_parts

from tests.fakes.images import BAD, IMAGES, save_images_some_bad
from tests.fakes.processes import labelbeam, wait_until, worker_pool, workers_below
from tests.fixtures.jobs import configured
from tests.same_tables import read_tables

pytestmark = pytest.mark.heavy

PROCESSES = ("--runner-config", "multi_process")
PRISM = ("--runner-config", "prism")


@pytest.fixture(scope="module")
def prism():
    if not (Path(sys.executable).parent / "prism").is_file():
        pytest.skip("there's no Prism beside python: make prism")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return save_images_some_bad(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Notes each of its calls, and takes some 10 ms for it."""
    folder = tmp_path_factory.mktemp("detector")
    return Detector(configured(folder, call_log=str(folder / "calls"), slow_steps=20), folder / "calls")


class Detector(NamedTuple):
    yaml: str
    log: Path

    def take_calls(self) -> int:
        """How often it was called since it was last asked."""
        calls = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        self.log.write_text("")
        return calls


class Job:
    """One command, started."""

    def __init__(self, image_folder, output, detector, *options, prefix=()):
        self.output = output
        self.process = labelbeam(
            "label",
            "--input",
            str(image_folder),
            "--output",
            str(output),
            "--detector",
            detector.yaml,
            "--part-images",
            "20",
            *options,
            prefix=prefix,
        )

    def wait(self, timeout_s=300) -> "Ended":
        try:
            printed = self.process.communicate(timeout=timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with its workers
        return Ended(self.process.returncode, *printed, self.output)

    def wait_for_parts(self):
        wait_until(
            lambda: sum("images" in tables for tables in list_parts(str(self.output)).values()),
            self.process,
            lambda: self.process.communicate()[1],
        )


class Ended(NamedTuple):
    code: int
    stdout: str
    stderr: str
    output: Path

    @property
    def loads(self) -> int:
        return int(re.search(r"loaded (\d+)×", self.stdout)[1])

    def tables(self) -> dict[str, list[dict]]:
        return read_tables(self.output)


@pytest.fixture(scope="module")
def in_process(image_folder, tmp_path_factory, detector):
    """The tables of the in-process job, which those of the others must equal."""
    ended = Job(image_folder, tmp_path_factory.mktemp("in_process") / "out", detector).wait()
    assert ended.code == 0 and ended.loads == 1, ended.stderr
    assert detector.take_calls() == IMAGES - BAD
    tables = ended.tables()
    assert len(tables["images"]) == IMAGES and sum(row["status"] == "failed" for row in tables["images"]) == BAD
    assert len(tables["detections"]) == len(tables["masks"]) == 4 * (IMAGES - BAD)
    return tables


def assert_same(ended, tables, detector, loads):
    assert ended.code == 0, ended.stderr
    assert ended.loads == loads
    [record] = map(json.loads, [path.read_text() for path in (ended.output / "_jobs").glob("*.json")])
    assert record["detector_loads"]["count"] == loads and record["detector_loads"]["resident_bytes"] > 0
    assert detector.take_calls() == IMAGES - BAD
    assert ended.tables() == tables
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "options, loads",
    [
        (PROCESSES, 2),
        ((*PROCESSES, "--share-model"), 1),
        ((*PROCESSES, "--share-model", "--model-copies", "2"), 2),
    ],
    ids=["one each", "shared", "two shared"],
)
def test_two_processes(image_folder, tmp_path, detector, in_process, options, loads):
    assert_same(Job(image_folder, tmp_path / "out", detector, *options).wait(), in_process, detector, loads)


def test_prism_with_the_commands_own_process_as_worker(image_folder, tmp_path, detector, in_process, prism):
    assert_same(Job(image_folder, tmp_path / "out", detector, *PRISM).wait(), in_process, detector, 1)


def test_prism_with_a_worker_pool(image_folder, tmp_path, detector, in_process, prism):
    with worker_pool(tmp_path / "pool.log") as pool:
        assert_same(
            Job(image_folder, tmp_path / "out", detector, *PRISM, *pool.options).wait(), in_process, detector, 1
        )


def test_a_killed_worker_of_two_processes(image_folder, tmp_path, detector, in_process):
    job = Job(image_folder, tmp_path / "out", detector, *PROCESSES)
    job.wait_for_parts()
    os.kill(workers_below(job.process.pid)[0], signal.SIGKILL)
    try:
        ended = job.wait(timeout_s=120)
    except subprocess.TimeoutExpired:
        pytest.skip("Beam's runner of several processes waits for ever for a worker that has died, once in a while")
    if ended.code == 0:  # it was the one that had nothing more to do
        assert ended.tables() == in_process
        return
    assert ended.code == 1 and "labelbeam: the job failed: " in ended.stderr
    assert_rerun_completes(image_folder, detector, in_process, ended, *PROCESSES)


def test_a_killed_worker_of_a_pool(image_folder, tmp_path, detector, in_process, prism):
    with worker_pool(tmp_path / "pool.log") as pool:
        job = Job(image_folder, tmp_path / "out", detector, *PRISM, *pool.options)
        job.wait_for_parts()
        [worker] = workers_below(pool.pid)
        os.kill(worker, signal.SIGKILL)
        ended = job.wait()
        assert ended.code == 1 and "labelbeam: the job failed: " in ended.stderr
        assert_rerun_completes(
            image_folder, detector, in_process, ended, *PRISM, *pool.options
        )  # the pool takes the next job


def assert_rerun_completes(image_folder, detector, in_process, failed, *options):
    done = sum(row["status"] == "ok" for row in failed.tables()["images"])
    assert 0 < done < IMAGES - BAD
    detector.take_calls()
    again = Job(image_folder, failed.output, detector, *options).wait()
    assert again.code == 0, again.stderr
    assert detector.take_calls() == IMAGES - BAD - done, "what finished parts hold isn't labelled again"
    assert again.tables() == in_process
