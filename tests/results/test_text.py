import pytest
from labelbeam.results.text import duration, few, percent


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (7201, "2 h 1 s"),
        (86400 * 2 + 3700, "2 days 1 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_some_of_many_are_named():
    assert few([1, 2, 3]) == "1, 2, 3" and few(range(5)) == "0, 1, 2, … (5)" and few("ab", 70) == "a, b, … (70)"


def test_what_is_not_quite_all_does_not_look_so():
    assert [percent(share) for share in (1, 0.99999, 0.5, 0.00001, 0, None)] == [
        "100.0 %",
        "over 99.9 %",
        "50.0 %",
        "below 0.1 %",
        "0.0 %",
        "–",
    ]
