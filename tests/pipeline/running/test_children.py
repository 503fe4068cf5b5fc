import os
import signal
import subprocess
import sys
import time

import pytest
from apache_beam.utils.subprocess_server import SubprocessServer
from labelbeam.pipeline.running.children import in_own_sessions, kill_children

SCRIPT = """
import os, signal, sys, time
from labelbeam.pipeline.running.children import in_own_sessions
from apache_beam.utils.subprocess_server import SubprocessServer
command = [sys.executable, "-c", "import time; time.sleep(60)"]
with in_own_sessions():
    process, _ = SubprocessServer(lambda channel: None, command, 1).start_process()
signal.signal(signal.SIGINT, lambda *_: (print(process.poll(), flush=True), process.kill(), sys.exit()))
print(process.pid, flush=True)
time.sleep(60)
"""


def sleeping_server():
    server = SubprocessServer(lambda channel: None, [sys.executable, "-c", "import time; time.sleep(60)"], 1)
    process, _ = server.start_process()
    return process


@pytest.mark.heavy
def test_a_signal_for_the_whole_group_does_not_reach_what_beam_has_started():
    driver = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stdout is not None and int(driver.stdout.readline())
    time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.communicate(timeout=30)[0] == "None\n", "it went on"


def test_what_still_runs_can_be_ended_at_once():
    with in_own_sessions():
        process = sleeping_server()
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    kill_children()
    assert process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["local_job_service", "subprocess_server"])
def test_beam_starts_processes_through_a_module_of_this_name(name):
    from apache_beam.runners.portability import local_job_service
    from apache_beam.utils import subprocess_server

    module = {"local_job_service": local_job_service, "subprocess_server": subprocess_server}[name]
    assert module.subprocess is subprocess
    with in_own_sessions():
        assert module.subprocess.Popen is not subprocess.Popen and module.subprocess.PIPE == subprocess.PIPE
    assert module.subprocess is subprocess
