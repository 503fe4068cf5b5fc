import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.transforms import packs
from labelbeam.transforms.packs import PackFn, unpack

ELEMENTS = [(key, key + b"%d" % number) for number in range(50) for key in (b"a", b"b", b"c")]


class Pairs(PackFn):
    def keyed(self, element):
        return element


@pytest.mark.parametrize("at_once, num_packs", [(1000, 3), (150, 3), (60, 9), (1, 150)])
def test_elements_come_out_under_their_keys_in_as_many_packs_as_memory_asks_for(monkeypatch, at_once, num_packs):
    monkeypatch.setattr(packs, "ELEMENTS_AT_ONCE", at_once)

    def check(packed):
        assert len(packed) == num_packs
        assert sorted((key, data) for key, pack in packed for data in unpack([pack])) == sorted(ELEMENTS)

    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create(ELEMENTS, reshuffle=False) | beam.ParDo(Pairs()), check)


def test_nothing_in_nothing_out():
    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(
            p | beam.Create([]) | beam.ParDo(Pairs()), lambda packed: None if packed == [] else pytest.fail(str(packed))
        )


def test_packs_of_alike_elements_are_small():
    uris = [(b"a", f"s3://bucket/images/of/one/collection/{number:08d}.jpg".encode()) for number in range(100)]
    packer = Pairs()
    packer.start_bundle()
    assert not [pack for uri in uris for pack in packer.process(uri)]
    [packed] = packer.finish_bundle()
    assert len(packed.value[1]) < sum(len(uri) for _, uri in uris) / 4
