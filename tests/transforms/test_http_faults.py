import pytest

from benchmarks.http_faults import PICTURES, measure, wrong_ends


@pytest.mark.heavy
def test_of_10_000_pictures_with_faults_each_ends_as_it_must():
    for run in measure(PICTURES):
        assert sum(run.ends.values()) == PICTURES
        assert not wrong_ends(run)
