import threading

import pytest
from labelbeam.storage.host_limits import HostBusyError, HostLimits, HostRestsError

WAIT_S = 30


class LimitsWithClock(HostLimits):
    """Limits whose clock stands still unless a test moves `now`."""

    def __init__(self, **options):
        super().__init__(clock=lambda: self.now, **options)
        self.now = 1000.0


@pytest.fixture
def limits():
    return LimitsWithClock()


def slot(limits, name="host", max_requests=2, deadline_s=60.0, remaining_s=60.0):
    return limits.slot(name, max_requests, deadline_s, remaining_s)


def answer(limits, *retry_after_s):
    """Requests one after the other; None for an image, seconds for a 429."""
    for seconds in retry_after_s:
        with slot(limits) as taken:
            if seconds is not None:
                taken.refused(seconds)


def may_start(limits, name="host", max_requests=2, deadline_s=60.0):
    """Whether a request would be admitted; takes nothing."""
    if not limits.admit(name, max_requests, deadline_s):
        return False
    with limits.admitted(name):
        return True


def test_a_host_has_so_many_requests_at_once_and_others_have_their_own(limits):
    with slot(limits):
        assert may_start(limits)
        with slot(limits):
            assert not may_start(limits)
            assert may_start(limits, "other")
            with pytest.raises(HostBusyError):
                slot(limits, remaining_s=0).__enter__()
    assert may_start(limits)


def test_who_waits_for_a_slot_gets_the_next_one():
    limits, entered = HostLimits(), threading.Event()

    def wait_for_slot():
        with slot(limits, max_requests=1):
            entered.set()

    thread = threading.Thread(target=wait_for_slot, daemon=True)
    with slot(limits, max_requests=1):
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(WAIT_S)


def test_what_is_admitted_has_its_slot_and_gives_it_back_even_if_unused(limits):
    assert limits.admit("host", 1, 60) and not may_start(limits, max_requests=1)
    with limits.admitted("host"):
        with slot(limits, max_requests=1, remaining_s=1):
            assert not may_start(limits, max_requests=1)
        assert may_start(limits, max_requests=1)
    assert limits.admit("host", 1, 60)
    with limits.admitted("host"):
        pass
    assert may_start(limits, max_requests=1)


def test_a_request_that_hangs_for_ever_does_not_keep_its_slot(limits):
    with slot(limits, max_requests=1, remaining_s=10):
        assert not may_start(limits, max_requests=1)
        limits.now += 11
        assert may_start(limits, max_requests=1)


def test_after_a_429_half_as_many_requests_until_another_answer(limits):
    answer(limits, 5)
    with slot(limits):
        assert not may_start(limits) and may_start(limits, max_requests=4)
    with slot(limits):
        assert may_start(limits)


def test_two_429_in_a_row_and_the_host_rests(limits):
    answer(limits, 5, None, 5)
    assert may_start(limits)
    answer(limits, 7)
    assert not may_start(limits) and may_start(limits, "other")
    limits.now += 6.9
    assert not may_start(limits)
    limits.now += 0.2
    assert may_start(limits)


def test_who_has_less_time_than_the_host_rests_is_told_at_once(limits):
    answer(limits, 20, 20)
    with pytest.raises(HostRestsError, match="20 s"):
        slot(limits, remaining_s=19).__enter__()


def test_a_host_that_refuses_everything_for_long_enough_fails_images_and_is_asked_again(limits):
    answer(limits, 40, 40)  # rests until 40
    assert not may_start(limits)
    limits.now += 41
    answer(limits, 40)  # refuses since 0, rests until 81
    assert may_start(limits), "to fail at once, not to wait for ever"
    with pytest.raises(HostRestsError):
        slot(limits).__enter__()
    limits.now += 41
    answer(limits, None)
    assert may_start(limits)
    with slot(limits), slot(limits):
        pass


def test_no_rest_is_longer_than_an_image_may_take(limits):
    answer(limits, 86400, 86400)
    limits.now += 61
    with slot(limits):
        pass


def test_hosts_are_forgotten():
    limits = LimitsWithClock(max_remembered=10)
    for number in range(50):
        with slot(limits, f"host-{number}"):
            pass
    assert not len(limits)
    for number in range(50):
        with slot(limits, f"host-{number}") as taken:
            taken.refused(1)
    assert len(limits) <= 10
