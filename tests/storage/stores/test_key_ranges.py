"""Ranges of keys: together all that follow, in order, and about even for the names that buckets have."""

import bisect
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelbeam.storage.stores.key_ranges import between, split_keys

PAGE = 10


def split(keys, max_ranges=64, max_pages=200):
    """(Ranges, number of keys in each, pages asked for)."""
    keys, pages = sorted(keys), 0

    def page_after(key):
        nonlocal pages
        pages += 1
        place = bisect.bisect_right(keys, key)
        return keys[place : place + PAGE]

    ranges = split_keys(page_after, PAGE, keys[0], max_ranges, max_pages)
    ends = [bisect.bisect_right(keys, keys_of.after) for keys_of in ranges] + [len(keys)]
    return ranges, [end - begin for begin, end in zip(ends, ends[1:])], pages


@given(
    st.lists(st.text("ab/0_~é\n", min_size=1, max_size=5), unique=True, min_size=1, max_size=150), st.integers(1, 40)
)
def test_ranges_are_all_that_follows_in_order(keys, max_ranges):
    ranges, sizes, pages = split(keys, max_ranges)
    assert [keys_of.until for keys_of in ranges] == [*(keys_of.after for keys_of in ranges[1:]), None]
    assert ranges[0].after == min(keys) and sum(sizes) == len(keys) - 1
    assert len(ranges) <= max_ranges and pages <= 202
    # The first key of a page that was found is the last one of the range before.
    assert len(ranges) == 1 or min(sizes) >= PAGE - 1


@given(st.text(max_size=4), st.one_of(st.none(), st.text(min_size=1, max_size=4)), st.booleans())
def test_between_two_lies_between_them(low, high, nearest):
    if high is not None and low >= high:
        return
    middle = between(low, high, nearest)
    assert middle is None or (low < middle and (high is None or middle < high))


@pytest.mark.parametrize(
    "keys, largest_share",
    [
        ([f"img-{number:09}.jpg" for number in range(4000)], 0.2),
        ([f"2024/{m:02}/{d:02}/{i:04}.jpg" for m in range(1, 13) for d in range(1, 29) for i in range(12)], 0.2),
        ([f"{random.Random(i).getrandbits(64):016x}.jpg" for i in range(4000)], 0.1),
        ([f"写真/{number:06}.jpg" for number in range(4000)], 0.2),
        ([f"most/{number:06}.jpg" for number in range(4000)] + [f"{c}/{i}" for c in "abxyz" for i in range(30)], 0.2),
    ],
    ids=["one folder", "dates", "hashes", "outside ASCII", "one of many folders"],
)
def test_no_range_has_most_of_them(keys, largest_share):
    _, sizes, pages = split(keys)
    assert max(sizes) <= largest_share * len(keys) and pages <= 202


def test_few_are_one_range_after_one_page():
    ranges, sizes, pages = split([f"{number:03}" for number in range(PAGE)])
    assert (len(ranges), sizes, pages) == (1, [PAGE - 1], 1)
