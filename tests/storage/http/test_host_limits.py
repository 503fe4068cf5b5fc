import pytest
from labelbeam.storage.http.host_limits import HostLimits, ThrottledError


class LimitsWithClock(HostLimits):
    """Limits whose clock stands still unless a test moves `now`."""

    def __init__(self, **options):
        super().__init__(clock=lambda: self.now, **options)
        self.now = 1000.0


@pytest.fixture
def limits():
    return LimitsWithClock()


def take(limits, name="host", max_requests=2, deadline_s=60.0, remaining_s=60.0):
    return limits.take(name, max_requests, deadline_s, remaining_s)


def give_back(limits, name="host", throttled_for_s=None):
    limits.give_back(name, 60.0, throttled_for_s)


def answer(limits, *retry_after_s):
    """Requests one after the other; None for an image, seconds for a 429."""
    for seconds in retry_after_s:
        assert take(limits)
        give_back(limits, throttled_for_s=seconds)


def may_start(limits, name="host", max_requests=2):
    """Whether a request could be made; takes nothing."""
    may = take(limits, name, max_requests)
    if may:
        give_back(limits, name)
    return may


def room(limits, max_requests):
    """How many requests may be made beside those under way. They don't end: giving back would count as an answer."""
    return sum(take(limits, max_requests=max_requests) for _ in range(100))


def test_a_host_has_so_many_requests_at_once_and_others_have_their_own(limits):
    assert take(limits) and take(limits)
    assert not take(limits) and may_start(limits, "other")
    give_back(limits)
    assert take(limits)


def test_after_a_429_half_as_many_requests_until_another_answer(limits):
    answer(limits, 5)
    assert room(limits, 8) == 4
    give_back(limits)
    assert room(limits, 8) == 5


def test_at_least_one_request_however_many_429_there_were(limits):
    answer(limits, 0, 0, 0, 0)
    assert room(limits, 2) == 1


def test_two_429_in_a_row_and_none_is_made_for_a_while(limits):
    answer(limits, 5, None, 5)
    answer(limits, 7)
    assert not take(limits) and may_start(limits, "other")
    limits.now += 6.9
    assert not take(limits)
    limits.now += 0.2
    assert take(limits)


def test_who_has_less_time_than_that_is_told_at_once(limits):
    answer(limits, 20, 20)
    with pytest.raises(ThrottledError, match="20 s"):
        take(limits, remaining_s=19)


def test_a_host_that_answers_nothing_but_429_for_long_enough_fails_images_and_is_asked_again(limits):
    answer(limits, 40, 40)  # until 40
    assert not take(limits)
    limits.now += 41
    answer(limits, 40)  # 429 since 0, until 81
    with pytest.raises(ThrottledError):  # at once, not to wait for ever
        take(limits)
    limits.now += 41
    answer(limits, None)
    assert room(limits, 2) == 2


def test_backing_off_takes_no_longer_than_an_image_may(limits):
    answer(limits, 86400, 86400)
    limits.now += 61
    assert take(limits)


def test_hosts_are_forgotten():
    limits = LimitsWithClock(max_remembered=10)
    for number in range(50):
        assert may_start(limits, f"host-{number}")
    assert not len(limits)
    for number in range(50):
        assert take(limits, f"host-{number}")
        give_back(limits, f"host-{number}", throttled_for_s=1)
    assert len(limits) <= 10
