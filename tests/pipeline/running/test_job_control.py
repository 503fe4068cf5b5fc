"""What a signal makes of a job: workers are told where they can be, wherever they are."""

import os
import signal
import time

import pytest
from labelbeam.pipeline.running.job_control import JobControl, Phase
from labelbeam.transforms.workers.driver_link import LABELLED, DriverLink


def interrupted(control):
    with control.heeding_signals():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # for Python to run the handler


def running(link):
    control = JobControl()
    control.run(link)
    return control


def test_workers_of_this_machine_are_told_through_a_folder(tmp_path):
    link = DriverLink(str(tmp_path))
    tally = link.tally()
    tally.add(LABELLED)
    tally.close()
    control = running(link)
    interrupted(control)
    assert control.phase is Phase.STOPPING and control.was_stopped and link.is_stopping()


def test_workers_elsewhere_are_told_through_the_output_folder(tmp_path):
    (tmp_path / "link").mkdir()
    stop_file = str(tmp_path / "out" / "_log" / "stop-job")
    control = running(DriverLink(str(tmp_path / "link"), stop_file))
    interrupted(control)
    elsewhere = DriverLink(str(tmp_path / "not-here"), stop_file)
    deadline = time.monotonic() + 10
    while not elsewhere.is_stopping():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert control.phase is Phase.STOPPING


def test_where_nobody_can_be_told_the_job_ends_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(running(DriverLink(str(tmp_path))))


@pytest.mark.parametrize("number, heeded", [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGHUP, False)])
def test_nohup_keeps_a_job_alive_and_a_scripts_background_job_can_be_stopped(tmp_path, number, heeded):
    """Shells of scripts have SIGINT ignored for what is started with `&`; nohup does so with SIGHUP."""
    link = DriverLink(str(tmp_path))
    tally = link.tally()
    tally.add(LABELLED)
    tally.close()
    control, before = running(link), signal.signal(number, signal.SIG_IGN)
    try:
        with control.heeding_signals():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        assert control.was_stopped is heeded and signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
