"""Whether a job lives: known at once on the same boot, else by watching its counter."""

import json
import multiprocessing
import os
import threading
import time

import pytest
from labelbeam.labelset import heartbeat
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_early
from labelbeam.labelset.heartbeat import Heartbeat, at_work, beating, find_death, heartbeat_path, read_heartbeat, watch


def change(output, **changes):
    """Changes what the sign of life of job `j` says."""
    path = heartbeat_path(str(output), "j")
    with open(path) as file:
        content = json.load(file)
    with open(path, "w") as file:
        json.dump({**content, **changes}, file)


def beat_and_die(output):
    Heartbeat(output, "j").beat()
    os._exit(1)


@pytest.fixture
def output(tmp_path):
    return str(tmp_path / "out")


def test_a_job_of_this_process_lives_as_long_as_the_process_is_at_work_on_it(output):
    heartbeat = Heartbeat(output, "j")
    with at_work("j"):
        heartbeat.beat({"done": 3})
        assert watch(output, "j")["done"] == 3
    assert find_death(read_heartbeat(output, "j")) is True
    assert watch(output, "j") is None


def test_a_killed_process_of_this_machine_is_known_to_be_dead_at_once(output):
    process = multiprocessing.get_context("spawn").Process(target=beat_and_die, args=(output,))
    process.start()
    process.join()
    started = time.monotonic()
    assert watch(output, "j") is None and time.monotonic() - started < 5


def test_a_process_id_that_is_used_again_is_not_the_job(output):
    with at_work("j"):
        Heartbeat(output, "j").beat()
        process = read_heartbeat(output, "j")["process"]
        change(output, process={**process, "started": "1"})
        assert watch(output, "j") is None


@pytest.mark.parametrize(
    "process",
    [None, {"machine": "another boot", "pid": os.getpid(), "started": "1"}],
    ids=["a cluster's job", "another machine or container, whatever its host name"],
)
def test_elsewhere_the_counter_decides(output, process):
    Heartbeat(output, "j").beat()
    change(output, process=process, host="another", at="1999-01-01T00:00:00+00:00")
    waited = []
    assert watch(output, "j", waited.append, dead_after_s=0.3, look_every_s=0.05) is None
    assert [content["host"] for content in waited] == ["another"]
    renew = threading.Timer(0.2, lambda: change(output, count=7))
    renew.start()
    assert watch(output, "j", dead_after_s=20, look_every_s=0.05)["count"] == 7
    renew.join()


def test_signs_of_life_go_on_after_an_error(output):
    count = []

    def beat():
        count.append(1)
        if len(count) == 1:
            raise OSError("the store is down")

    with beating(beat, every_s=0.02):
        deadline = time.monotonic() + 10
        while len(count) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_sign_of_life_is_that_of_a_dead_job(output):
    assert read_heartbeat(output, "j") == {}
    assert watch(output, "j", dead_after_s=0.1, look_every_s=0.02) is None


def test_a_worker_renews_what_nobody_else_renews_until_the_job_has_closed(output, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.02)
    job = begin_job(output, "j", heartbeat=Heartbeat(output, "j", with_process=False))
    job.attend()
    assert watch(output, "j", dead_after_s=20, look_every_s=0.01)["renewed_by"]
    close_early(job, "interrupted", {})
    deadline = time.monotonic() + 20
    while any(thread.name == "attend" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
