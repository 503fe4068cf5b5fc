"""Images that end the process: the same command, started again, gets past them, and labels all others."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tests.fakes.labels import Labels
from tests.pipeline.jobs.failures.fatal_job import FATAL

ROOT = Path(__file__).parents[4]
IMAGES = 20
MAX_STARTS = 5


class Start(NamedTuple):
    """One start of a job: its exit code, what it printed, the calls of its model, the images in parts when it began."""

    code: int
    stderr: str
    calls: list[list[int]]
    done: set[int]


class FatalJob:
    """Starts the job of `fatal_job.py` on images of which one is fatal in the way that each start says."""

    def __init__(self, folder):
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        for number in range(IMAGES):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(self.images / f"{number}.png")
        self.labels = Labels(folder / "out")

    def numbers(self, **status):
        images = self.labels.frame("images").to_dict("records") if self.labels.parts() else []
        return [int(Path(row["uri"]).stem) for row in images if all(row[k] == v for k, v in status.items())]

    def start(self, how, *options) -> Start:
        log = self.folder / "log"
        log.write_text("")
        done = set(self.numbers())
        command = [
            sys.executable,
            "-c",
            "from tests.pipeline.jobs.failures.fatal_job import main; main()",
            str(self.images),
            str(self.labels.folder),
            str(log),
            how,
            *options,
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            _, stderr = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the workers, which hold its pipes open
            if "--direct_running_mode=multi_processing" not in options:
                raise
            pytest.skip("Beam's runner of several processes waits for ever for a worker that has died, once in a while")
        calls = [[int(number) for number in line.split()] for line in log.read_text().splitlines()]
        return Start(process.returncode, stderr, calls, done)

    def start_until_done(self, how, *options) -> list[Start]:
        starts = []
        while not starts or starts[-1].code:
            assert len(starts) < MAX_STARTS, starts[-1].stderr
            starts.append(self.start(how, *options))
        return starts

    def assert_all_labelled_but_one(self, error_kind):
        assert sorted(self.numbers()) == list(range(IMAGES)), "one row each"
        assert self.numbers(status="failed") == [FATAL]
        [row] = [row for row in self.labels.frame("images").to_dict("records") if row["status"] == "failed"]
        assert row["error_kind"] == error_kind
        assert not (self.labels.folder / "_in_flight").exists()
        return row["error_message"]


@pytest.fixture
def job(tmp_path):
    return FatalJob(tmp_path)


def assert_nothing_done_twice(starts):
    for start in starts:
        assert not start.done & {number for call in start.calls for number in call}


def assert_found_out_in_two_crashes(starts):
    assert [start.code == 0 for start in starts] == [False, False, True]
    first, second, last = (start.calls for start in starts)
    assert [call for call in first if FATAL in call]
    assert [call for call in second if FATAL in call] == [[FATAL]]
    assert not [call for call in last if FATAL in call]
    assert max(Counter(number for call in last for number in call).values()) == 1
    assert_nothing_done_twice(starts)


@pytest.mark.heavy
def test_a_fault_in_a_thread_of_the_models_own(job):
    starts = job.start_until_done("foreign")
    assert_found_out_in_two_crashes(starts)
    assert starts[0].code == starts[1].code == -signal.SIGABRT
    assert next(call for call in starts[0].calls if FATAL in call) != [FATAL], (
        "with others: there was something to find out"
    )
    message = job.assert_all_labelled_but_one("inference")
    assert "died 2 times" in message and "SIGABRT in the model" in message


@pytest.mark.heavy
def test_a_model_that_never_answers(job):
    starts = job.start_until_done("hang")
    assert_found_out_in_two_crashes(starts)
    assert starts[0].code == starts[1].code == 1
    assert f"{FATAL}.png" in starts[0].stderr
    # Two seconds, or a little more on a busy machine.
    assert re.search(r"hasn't answered for \d s, which is too long \(--model-timeout-s\)", starts[0].stderr)
    assert re.search(r"no answer for \d s.* in the model", job.assert_all_labelled_but_one("inference"))


@pytest.mark.heavy
def test_a_fault_in_a_decoder(job):
    (job.images / f"{FATAL}.png").write_bytes(b"FATAL" * 10)
    starts = job.start_until_done("none")
    assert [start.code for start in starts] == [-signal.SIGSEGV, -signal.SIGSEGV, 0]
    assert_nothing_done_twice(starts)
    assert FATAL not in {number for start in starts for call in start.calls for number in call}
    message = job.assert_all_labelled_but_one("unsupported")
    assert "died 2 times" in message and "SIGSEGV while it was decoded" in message


@pytest.mark.heavy
def test_a_fault_in_a_worker_process_whose_model_others_share(job):
    starts = job.start_until_done(
        "segfault", "--share-model", "--direct_running_mode=multi_processing", "--direct_num_workers=2"
    )
    assert_found_out_in_two_crashes(starts)
    assert "SIGSEGV in the model" in job.assert_all_labelled_but_one("inference")


@pytest.mark.heavy
def test_nothing_follows_from_being_killed(job):
    for _ in range(3):
        killed = job.start("killed")
        assert killed.code == -signal.SIGKILL and [call for call in killed.calls if FATAL in call]
    last = job.start("none")
    assert last.code == 0
    assert min(len(call) for call in last.calls if FATAL in call) > 1, "not under suspicion"
    assert_nothing_done_twice([last])
    assert sorted(job.numbers(status="ok")) == list(range(IMAGES))
    assert not (job.labels.folder / "_in_flight").exists()
