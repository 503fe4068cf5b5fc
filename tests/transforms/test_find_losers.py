import random

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.deduplicate import find_losers, to_compare
from labelbeam.transforms.find_losers import FindLosers

from tests.fakes.folders_of_parts import parts_of, put_part


@pytest.mark.parametrize("seed", range(3))
def test_all_workers_together_find_what_one_finds(tmp_path, seed):
    out, chance = str(tmp_path), random.Random(seed)
    job = begin_job(out, "closing")
    names = [f"n{number}" for number in range(40)]
    for number in range(12):
        held = chance.sample(names, 10)
        put_part(out, held, ("one", "dead", "closing")[number % 3], failed=held[:3], minute=chance.randrange(3))
    parts = parts_of(out)
    compared = to_compare("closing", parts, [stem for stem in parts if "-one-" not in stem])
    expected = {stem: sorted(ids.to_pylist()) for stem, ids in find_losers(out, compared).items()}

    def agrees(found):
        assert {part.stem: sorted(ids.to_pylist()) for part, ids in found} == expected

    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create(compared) | FindLosers(job), agrees)
    assert sum(map(len, expected.values())) > 20


def test_nothing_to_compare(tmp_path):
    job = begin_job(str(tmp_path), "closing")
    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create([]) | FindLosers(job), lambda found: None if not found else pytest.fail(str(found)))
