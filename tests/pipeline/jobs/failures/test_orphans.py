"""What a killed command leaves on its machine: no process that works on, no temporary folder after the next start."""

import os
import signal
import time
from pathlib import Path

import pytest
from labelbeam.labelset.parts import list_parts
from labelbeam.pipeline.running.exit_codes import ExitCode

from tests.fakes.images import save_image
from tests.fakes.processes import descendants, process_start
from tests.pipeline.jobs.failures.forked_job import start

IMAGES = 120
WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        save_image(folder / f"{number:04}.png", number, (8, 10))
    return folder


def wait_until(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "arguments, execution",
    [((), {}), (WORKERS, {}), (WORKERS, {"share_model": True})],
    ids=["in this process", "worker processes", "a shared model"],
)
def test_a_killed_command_leaves_nobody_at_work(images, tmp_path, arguments, execution):
    out, log = tmp_path / "out", tmp_path / "calls"
    job = start(images, out, log, seconds=0.05, arguments=arguments, **execution)
    wait_until(lambda: len(list_parts(str(out))) >= 2)
    left = {pid: process_start(pid) for pid in descendants(job.pid)}
    assert len(left) >= 2 or not arguments
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    parts = len(list_parts(str(out)))
    wait_until(lambda: all(process_start(pid) != started for pid, started in left.items()), timeout_s=20)
    assert len(list_parts(str(out))) <= parts + 2  # what was being written at that moment, of each worker
    assert list(tmp_path.glob("labelbeam-job.*")) and list(tmp_path.glob("labelbeam-beam.*"))
    done = start(images, out, log, seconds=0.0)
    done.join(timeout=120)
    assert done.exitcode == ExitCode.DONE, Path(f"{log}.{done.pid}").read_text()
    assert not list(tmp_path.glob("labelbeam-*"))
