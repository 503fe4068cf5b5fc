"""The budget of encoded bytes: it's taken before a file is read, so that many large files don't fill the memory."""

import threading
import time

from labelbeam.transforms.fetch.prefetch import Prefetch

MIB = 1 << 20


def test_large_pieces_are_read_only_as_far_as_there_is_room_and_a_larger_one_alone():
    sizes = [40 * MIB, 70 * MIB, 30 * MIB, 200 * MIB, 60 * MIB, 100, 20 * MIB] * 3
    lock, held, most = threading.Lock(), [], []

    def work(item, reserve):
        size = sizes[item]
        reserve.encoded(size)
        with lock:
            held.append(size)
            most.append((sum(held), max(held)))
        time.sleep(0.01)
        reserve(1)
        with lock:
            held.remove(size)
        return item

    ahead = Prefetch(work, lambda item: None, threads=8, max_bytes=1000, max_encoded_bytes=100 * MIB, read_s=60.0)
    for item in range(len(sizes)):
        ahead.submit(item)
    assert sorted(ahead.results()) == list(range(len(sizes)))
    assert all(total <= 100 * MIB + 100 or total - largest <= 100 for total, largest in most)
    assert max(total for total, _ in most) >= 200 * MIB


def test_waiting_for_room_is_not_reading():
    def work(item, reserve):
        reserve.encoded(10 * MIB)
        time.sleep(0.3)
        return item

    ahead = Prefetch(work, lambda item: "given up", threads=4, max_bytes=1000, max_encoded_bytes=10 * MIB, read_s=0.6)
    for item in range(4):
        ahead.submit(item)
    assert sorted(ahead.results()) == [0, 1, 2, 3]
