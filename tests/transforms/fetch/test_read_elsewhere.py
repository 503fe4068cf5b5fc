"""Items that something other than the prefetcher's threads reads, as HTTP."""

import threading
import time
from types import SimpleNamespace

import pytest
from labelbeam.transforms.fetch.prefetch import Prefetch

MIB = 1 << 20


class TestReadElsewhere:
    """Items above 0 are read by a fake that `arrive` makes speak; a thread reads the others."""

    @pytest.fixture
    def ahead(self):
        self.reading, self.lock, self.making, self.most_making = {}, threading.Lock(), 0, 0
        ahead = Prefetch(
            self.work,
            None,
            threads=8,
            producers=2,
            max_bytes=1000,
            max_encoded_bytes=100 * MIB,
            read_s=60,
            start=self.start,
        )
        yield ahead
        ahead.close()

    def start(self, item, arrived, take_room):
        if item <= 0:
            return None
        self.reading[item] = reading = SimpleNamespace(
            arrived=arrived, take_room=take_room, cancelled=threading.Event()
        )
        reading.cancel = reading.cancelled.set
        return reading

    def work(self, item, reserve, what="read here"):
        with self.lock:
            self.making += 1
            self.most_making = max(self.most_making, self.making)
        time.sleep(0.002)
        with self.lock:
            self.making -= 1
        reserve(1)
        return item, what

    def arrive(self, *items):
        for item in items:
            threading.Thread(target=self.reading.pop(item).arrived, args=(f"bytes of {item}",), daemon=True).start()

    def test_what_arrives_is_made_by_no_more_threads_than_producers(self, ahead):
        before = threading.active_count()
        for item in range(1, 61):
            ahead.submit(item)
        assert threading.active_count() < before + 10 and len(self.reading) == 60
        self.arrive(*range(1, 61))
        assert sorted(ahead.results()) == [(item, f"bytes of {item}") for item in range(1, 61)]
        assert self.most_making == 2

    def test_what_a_thread_has_to_read_is_read_meanwhile(self, ahead):
        for item in (1, 0, 2, -1):
            ahead.submit(item)
        results = ahead.results()
        assert sorted(next(results) for _ in range(2)) == [(-1, "read here"), (0, "read here")]
        self.arrive(2, 1)
        assert sorted(results) == [(1, "bytes of 1"), (2, "bytes of 2")]

    def test_large_pieces_go_on_when_there_is_room(self, ahead):
        went_on = []
        for item in (1, 2, 3):
            ahead.submit(item)
            self.reading[item].take_room(60 * MIB, lambda item=item: went_on.append(item))
        assert went_on == [1]
        self.arrive(1)
        assert next(ahead.results()) == (1, "bytes of 1")
        assert went_on == [1, 2]
        self.reading[2].take_room(60 * MIB, lambda: went_on.append("again"))
        assert went_on == [1, 2, "again"], "it has its room already"

    def test_closing_cancels_what_is_read(self, ahead):
        ahead.submit(1)
        ahead.submit(2)
        late, cancelled = self.reading[1].arrived, self.reading[2].cancelled
        self.arrive(1)
        assert next(ahead.results()) == (1, "bytes of 1")
        ahead.close()
        assert cancelled.is_set()
        late("too late")
