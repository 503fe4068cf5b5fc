"""Several real processes on one machine: who gets which GPU, and how many threads TensorFlow has in each."""

import os
import signal
import subprocess
import sys

import pytest
from labelbeam.detectors.device_share import processors

HOLD = """
import sys
from pathlib import Path
from labelbeam.detectors.device_share import take_slot
print(take_slot(["gpu-0", "gpu-1"], int(sys.argv[2]), Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""
THREADS = """
import sys
import tensorflow as tf
from labelbeam.detectors.device_share import take_share
for _ in range(2):
    take_share(int(sys.argv[1]))
tf.constant(1.0) + 1  # as the detector does it, with what is set
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
"""


@pytest.fixture
def hold(tmp_path):
    started = []

    def start(processes):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "locks"), str(processes)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_process_takes_a_device_of_its_own_while_there_are_some(hold):
    assert [hold(4)[1] for _ in range(4)] == [0, 1, 0, 1]


def test_the_device_of_a_process_that_dies_is_free_again(hold):
    first, device = hold(2)
    assert device == 0 and hold(2)[1] == 1
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert hold(2)[1] == 0


@pytest.mark.heavy  # three processes that each import TensorFlow
@pytest.mark.parametrize(
    "processes, threads", [(1, 0), (2, max(1, processors() // 2)), (1000, 1)]
)  # 0: TensorFlow decides
def test_tensorflows_threads_are_shared_out(processes, threads):
    printed = subprocess.run(
        [sys.executable, "-c", THREADS, str(processes)], text=True, capture_output=True, check=True
    ).stdout
    assert printed.split() == [str(threads)] * 2
