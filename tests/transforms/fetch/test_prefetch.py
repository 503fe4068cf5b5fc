import random
import threading
import time

import pytest
from labelbeam.transforms.fetch.prefetch import Prefetch, ReadsHangError

WAIT_S = 60  # for what must happen; nothing waits as long unless it is broken


def prefetch(work, give_up=lambda item: ("given up", item), threads=4, max_bytes=1000, read_s=60.0):
    return Prefetch(work, give_up, threads=threads, max_bytes=max_bytes, read_s=read_s)


def wait_until(condition):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.002)


class Counting:
    """Work that knows how many items are between their start and being taken, and the most there have been."""

    def __init__(self, sizes=None):
        self.sizes = sizes or {}
        self.started, self.reserved, self.most_reserved, self.alone_only = 0, 0, 0, True
        self.lock = threading.Lock()

    def __call__(self, item, reserve):
        with self.lock:
            self.started += 1
        size = self.sizes.get(item, 0)
        reserve(size)
        with self.lock:
            self.reserved += size
            self.most_reserved = max(self.most_reserved, self.reserved)
        return item, size

    def taken(self, size):
        with self.lock:
            self.reserved -= size


def test_every_item_gives_one_result_in_the_order_they_are_ready():
    slow = threading.Event()

    def work(item, reserve):
        if item == 0:
            assert slow.wait(WAIT_S)
        return item

    ahead = prefetch(work)
    for item in range(50):
        ahead.submit(item)
    results = ahead.results()
    first = [next(results) for _ in range(49)]
    slow.set()
    assert sorted(first) == list(range(1, 50))
    assert list(results) == [0]
    assert list(ahead.results()) == []


def test_works_ahead_while_the_consumer_is_busy_but_no_further_than_it_lets_it():
    work = Counting()
    ahead = prefetch(work, threads=3)
    taken = 0
    for item in range(30):
        ahead.submit(item)
        for _ in ahead.results(leave=9):
            taken += 1
            # Busy, until all that has been submitted is done: it would never be, if work waited for the consumer.
            wait_until(lambda: work.started == item + 1)
        assert work.started - taken <= 9 + 1
    assert taken >= 20
    assert taken + len(list(ahead.results())) == 30


def test_bytes_are_bounded():
    sizes = {item: 1 + item % 5 for item in range(300)}
    work = Counting(sizes)
    ahead = prefetch(work, threads=16, max_bytes=7)
    for item in sizes:
        ahead.submit(item)
        for _, size in ahead.results(leave=40):
            work.taken(size)
    for _, size in ahead.results():
        work.taken(size)
    assert work.started == 300
    assert 5 <= work.most_reserved <= 7 + 5  # freed as it is yielded, which `taken` counts a moment later


def test_an_item_larger_than_all_bytes_passes_alone():
    inside, most_beside_large = set(), 0
    lock = threading.Lock()

    def work(item, reserve):
        nonlocal most_beside_large
        reserve(5000 if item == "large" else 10)
        with lock:
            inside.add(item)
            if "large" in inside:
                most_beside_large = max(most_beside_large, len(inside) - 1)
        time.sleep(0.001)
        with lock:
            inside.discard(item)
        return item

    ahead = prefetch(work, threads=8, max_bytes=100)
    for item in [*range(20), "large", *range(20, 40)]:
        ahead.submit(item)
    assert len(list(ahead.results())) == 41
    assert most_beside_large == 0


def test_a_large_item_is_not_overtaken_for_ever():
    order = []

    asking = []

    def work(item, reserve):
        if item == "large":
            wait_until(lambda: order)
        if isinstance(item, int):
            wait_until(lambda: "large" in asking)
            time.sleep(0.05)  # until the large one stands in line
        asking.append(item)
        reserve({"first": 30, "large": 100}.get(item, 60))
        order.append(item)
        return item

    ahead = prefetch(work, threads=4, max_bytes=100)
    for item in ("first", "large", 1, 2, 3, 4, 5, 6):
        ahead.submit(item)
    wait_until(lambda: len(asking) == 5 or len(order) > 1)  # there is room for a small one beside the first
    assert len(list(ahead.results())) == 8
    assert order[:2] == ["first", "large"]


@pytest.mark.parametrize("threads, max_bytes", [(1, 1), (16, 1), (16, 10), (64, 3)])
def test_never_stuck(threads, max_bytes):
    rng = random.Random(0)
    sizes = {item: rng.choice([0, 1, 2, 3, 50]) for item in range(400)}
    work = Counting(sizes)
    ahead = prefetch(work, threads=threads, max_bytes=max_bytes)
    results = []

    def take():
        for item in sizes:
            ahead.submit(item)
            results.extend(ahead.results(leave=rng.choice([0, 1, 30])))
        results.extend(ahead.results())

    consumer = threading.Thread(target=take, daemon=True)
    consumer.start()
    consumer.join(WAIT_S)
    assert not consumer.is_alive(), "stuck"
    assert sorted(item for item, _ in results) == list(sizes)


def test_what_work_raises_is_raised_to_the_consumer():
    def work(item, reserve):
        raise ZeroDivisionError(item)

    ahead = prefetch(work)
    ahead.submit("x")
    with pytest.raises(ZeroDivisionError, match="x"):
        list(ahead.results())
    assert list(ahead.results()) == []


class TestHangingReads:
    def test_are_given_up_and_others_go_on(self):
        hangs, late = threading.Event(), []

        def work(item, reserve):
            if item % 20 == 0:
                hangs.wait(WAIT_S)
                late.append(item)
            return "done", item

        ahead = prefetch(work, threads=2, read_s=1)
        for item in range(30):
            ahead.submit(item)
        results = list(ahead.results())
        assert sorted(results) == sorted(("done" if item % 20 else "given up", item) for item in range(30))

        hangs.set()  # what comes too late is dropped, and its thread ends
        wait_until(lambda: len(late) == 2)
        ahead.submit(1)
        assert list(ahead.results()) == [("done", 1)]

    @pytest.mark.heavy
    def test_time_counts_from_the_start_of_reading_not_in_the_queue_or_for_room(self):
        def work(item, reserve):
            reserve(1000)
            time.sleep(0.15)  # "decoding"
            return item

        ahead = prefetch(work, threads=8, max_bytes=1000, read_s=1)
        for item in range(15):
            ahead.submit(item)
        assert sorted(ahead.results()) == list(range(15))

    def test_many_at_once_stop_the_job(self):
        hangs = threading.Event()
        ahead = prefetch(lambda item, reserve: hangs.wait(WAIT_S), threads=2, read_s=0.02)
        for item in range(20):
            ahead.submit(item)
        with pytest.raises(ReadsHangError, match="hanging for more than 0.02 s"):
            list(ahead.results())
        hangs.set()
        ahead.close()

    def test_one_that_is_late_at_the_reservation_takes_no_room(self):
        late = threading.Event()
        asked, reserved = [], []

        def work(item, reserve):
            if item == "late":
                late.wait(WAIT_S)
            asked.append(item)
            reserve(1000)
            reserved.append(item)
            return item

        ahead = prefetch(work, threads=1, max_bytes=1000, read_s=0.05)
        ahead.submit("late")
        assert list(ahead.results()) == [("given up", "late")]
        late.set()
        wait_until(lambda: asked == ["late"])
        ahead.submit("next")
        assert list(ahead.results()) == ["next"]
        assert reserved == ["next"]


def test_close_ends_all_threads_whatever_they_wait_for():
    before = threading.active_count()
    asked = []
    ahead = prefetch(lambda item, reserve: (asked.append(item), reserve(600)), threads=4, max_bytes=1000)
    for item in range(10):
        ahead.submit(item)
    wait_until(lambda: len(asked) == 5)  # one has got room, four wait for it
    ahead.close()
    idle = prefetch(lambda item, reserve: item)
    idle.submit(1)
    assert list(idle.results()) == [1]
    idle.close()
    wait_until(lambda: threading.active_count() <= before)


class TestProducers:
    def test_no_more_than_allowed_make_at_once_however_many_read(self):
        making, most_making, reading = 0, 0, threading.Barrier(8)
        lock = threading.Lock()

        def work(item, reserve):
            nonlocal making, most_making
            if item < 8:
                reading.wait(WAIT_S)  # all eight threads read together
            reserve(1)
            with lock:
                making += 1
                most_making = max(most_making, making)
            time.sleep(0.002)
            with lock:
                making -= 1
            return item

        ahead = Prefetch(work, None, threads=8, producers=2, max_bytes=1000, read_s=60)
        for item in range(40):
            ahead.submit(item)
        assert sorted(ahead.results()) == list(range(40))
        assert most_making == 2

    def test_no_more_results_wait_than_allowed(self):
        made = []

        def work(item, reserve):
            reserve(1)
            made.append(item)
            return item

        ahead = Prefetch(work, None, threads=4, max_made=5, max_bytes=1000, read_s=60)
        for item in range(30):
            ahead.submit(item)
        wait_until(lambda: len(made) == 5)
        results = ahead.results()
        for taken in range(1, 31):
            next(results)
            wait_until(lambda: len(made) >= min(30, taken + 5))
            assert len(made) <= taken + 5
        ahead.close()

    def test_where_reads_dont_wait_most_threads_sleep(self):
        workers = []

        def work(item, reserve):
            reserve(1)
            time.sleep(0.003)
            workers.append(threading.get_ident())
            return item

        ahead = Prefetch(work, None, threads=64, producers=2, max_bytes=1000, read_s=60)
        for item in range(300):
            ahead.submit(item)
            list(ahead.results(leave=99))
        assert len(list(ahead.results())) == 99
        assert len(set(workers[-150:])) <= 16
        ahead.close()

    def test_where_reads_begin_to_hang_others_start(self):
        hangs = threading.Event()

        def work(item, reserve):
            if item == "hangs":
                assert hangs.wait(WAIT_S)
            reserve(1)
            time.sleep(0.001)
            return item

        ahead = Prefetch(work, None, threads=8, producers=1, max_bytes=1000, read_s=60)
        for item in [*range(50), *["hangs"] * 7, *range(50, 100)]:
            ahead.submit(item)
        results = ahead.results()
        assert sorted(next(results) for _ in range(100)) == list(range(100))
        hangs.set()
        assert list(results) == ["hangs"] * 7
        ahead.close()


class TestTakenAtOnce:
    def test_waits_for_as_many(self):
        last, done = threading.Event(), []

        def work(item, reserve):
            if item == 3:
                assert last.wait(WAIT_S)
            done.append(item)
            return item

        ahead = Prefetch(work, None, threads=4, max_bytes=1000, read_s=60, at_once=4)
        for item in range(4):
            ahead.submit(item)
        taken = []
        consumer = threading.Thread(target=lambda: taken.extend(ahead.results(leave=3)), daemon=True)
        consumer.start()
        wait_until(lambda: len(done) == 3)
        time.sleep(0.05)  # the consumer could have taken them
        assert not taken
        last.set()
        consumer.join(WAIT_S)
        assert sorted(taken) == [0, 1, 2, 3], "all four, though three might have been left"

    def test_takes_fewer_when_there_is_no_room_for_more(self):
        ahead = Prefetch(
            lambda item, reserve: (reserve(60), item)[1], None, threads=4, max_bytes=100, read_s=60, at_once=4
        )
        for item in range(10):
            ahead.submit(item)
        assert sorted(ahead.results()) == list(range(10))
        ahead.close()
