import pytest

from benchmarks.jobs.memory_against_images import measure


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_images():
    few, many = measure(200, 1000)
    assert many.peak_mib <= 1.2 * few.peak_mib
