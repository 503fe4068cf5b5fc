"""One job at a time works on an output folder, and a dead one doesn't hold it."""

import json
import multiprocessing
import os
import threading
import time

import pytest
from labelbeam.labelset.lease import LEASE_FILE, current_holder, holding
from labelbeam.storage.errors import UsageError


def hold(output, job_id="mine", on_lost=lambda: None, **options):
    return holding(str(output), job_id, on_lost, **options)


def rewrite(folder, **changes):
    path = folder / LEASE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def leave_lease(output, job_id):
    """What a job of this process leaves that can't tidy up."""
    with hold(output, job_id):
        content = (output / LEASE_FILE).read_text()
    (output / LEASE_FILE).write_text(content)


def die_holding(output):
    with hold(output, "dead"):
        os._exit(1)


def test_a_second_job_is_told_who_is_at_work(tmp_path):
    with hold(tmp_path, "first"):
        assert current_holder(str(tmp_path))["job_id"] == "first"
        with (
            pytest.raises(UsageError, match=f"job first is at work on it .*pid {os.getpid()}"),
            hold(tmp_path, "second"),
        ):
            pytest.fail("two jobs at once")
        assert current_holder(str(tmp_path))["job_id"] == "first"
    assert not list(tmp_path.iterdir()) and current_holder(str(tmp_path)) is None
    with hold(tmp_path, "second"):
        pass


def test_a_killed_process_of_this_machine_holds_nothing(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=die_holding, args=(tmp_path,))
    process.start()
    process.join()
    assert json.loads((tmp_path / LEASE_FILE).read_text())["job_id"] == "dead" and current_holder(str(tmp_path)) is None
    with hold(tmp_path):
        assert current_holder(str(tmp_path))["job_id"] == "mine"


def test_a_lease_that_could_not_be_given_back_does_not_bind_its_own_process(tmp_path):
    leave_lease(tmp_path, "mine")
    with hold(tmp_path, "again"):
        pass


def test_a_process_id_that_is_used_again_is_not_the_holder(tmp_path):
    leave_lease(tmp_path, "dead")
    rewrite(tmp_path, process_started="long ago")
    with hold(tmp_path):
        pass


@pytest.mark.parametrize("age_s, taken_over", [(10, False), (1000, True)])
def test_a_job_elsewhere_is_dead_when_it_has_been_silent_for_long(tmp_path, age_s, taken_over):
    leave_lease(tmp_path, "elsewhere")
    rewrite(tmp_path, host="another", refreshed_at=time.time() - age_s)
    if taken_over:
        with hold(tmp_path):
            pass
    else:
        with pytest.raises(UsageError, match="host another, .* last sign of life 1[0-9] s ago"), hold(tmp_path):
            pass


def test_the_lease_is_kept_fresh(tmp_path):
    with hold(tmp_path, refresh_s=0.05):
        rewrite(tmp_path, refreshed_at=0)
        deadline = time.monotonic() + 10
        while json.loads((tmp_path / LEASE_FILE).read_text())["refreshed_at"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_who_was_taken_for_dead_is_told_and_leaves_the_others_lease_alone(tmp_path):
    lost = threading.Event()
    with hold(tmp_path, on_lost=lost.set, refresh_s=0.05):
        rewrite(tmp_path, token="other", job_id="other")
        assert lost.wait(10)
    assert json.loads((tmp_path / LEASE_FILE).read_text())["job_id"] == "other"


def test_of_many_who_find_a_dead_lease_one_gets_it(tmp_path):
    leave_lease(tmp_path, "dead")
    rewrite(tmp_path, process_started="long ago")
    won, refused, together, done = [], [], threading.Barrier(8), threading.Event()

    def compete(i):
        together.wait()
        try:
            with hold(tmp_path, f"job-{i}"):
                won.append(i)
                done.wait(20)
        except UsageError:
            refused.append(i)
            if len(refused) == 7:
                done.set()

    threads = [threading.Thread(target=compete, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(refused) == 7


def test_a_half_written_lease_holds_nothing(tmp_path):
    (tmp_path / LEASE_FILE).write_text('{"job_id": "x", ')
    with hold(tmp_path):
        pass
