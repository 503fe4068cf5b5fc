import pytest

from benchmarks.reading.http_faults import IMAGES, measure, wrong_ends


@pytest.mark.heavy
def test_of_10_000_images_with_faults_each_ends_as_it_must():
    for run in measure(IMAGES):
        assert sum(run.ends.values()) == IMAGES
        assert not wrong_ends(run)
