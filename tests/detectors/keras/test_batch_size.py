import pytest
from labelbeam.detectors.keras.batch_size import BatchSize


def run(batches, seconds_of, calls=40):
    for _ in range(calls):
        batches.finished(batches.size, seconds_of(batches.size))
    return batches.size


def test_grows_while_throughput_grows():
    assert run(BatchSize(), lambda size: 1 + 0.1 * max(size - 8, 0) * 100) == 8
    assert run(BatchSize(largest=16), lambda size: 1.0) == 16
    assert run(BatchSize(), lambda size: size * 1.0) == 1


def test_the_first_batch_of_a_size_is_not_judged():
    batches, seen = BatchSize(largest=8), set()

    def seconds(size):
        first = size not in seen
        seen.add(size)
        return 100.0 if first else 1.0  # the first one compiles

    assert run(batches, seconds) == 8


def test_a_given_size_stays():
    assert run(BatchSize(6), lambda size: 1.0) == 6


def test_smaller_for_good_after_running_out_of_memory():
    batches = BatchSize(8)
    batches.out_of_memory(8)
    batches.out_of_memory(3)  # a remainder that was smaller than the batch
    assert batches.size == 1
    assert run(batches, lambda size: 0.001) == 1


def test_a_late_failure_of_a_larger_batch_does_not_raise_the_size():
    batches = BatchSize(8)
    batches.out_of_memory(4)
    batches.out_of_memory(8)  # another thread's batch, begun before
    assert batches.size == 2


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError):
        BatchSize(4).out_of_memory(1)
