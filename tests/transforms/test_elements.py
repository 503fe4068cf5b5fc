import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.transforms.coders import ImageReferenceCoder
from labelbeam.transforms.elements import BoxPrompts, ImageReference, MemberLocation

REFERENCES = [
    ImageReference(""),
    ImageReference("/photos/naïve 图.jpg"),
    ImageReference("/photos/\udcff.jpg"),  # a file's name that isn't UTF-8
    ImageReference("/a\udcff.tar#x", MemberLocation("/a\udcff.tar", "tar", 1 << 40, 10, chunk=3)),
    ImageReference("/b.parquet#7", MemberLocation("/b.parquet", "parquet", 7, column="image.bytes")),
    ImageReference("/c.jpg", boxes=BoxPrompts(b"\0" * 16, "pixels")),
    ImageReference("/e.jpg", listed_as="/e.jpg"),
    ImageReference("/f.jpg", listed_as="f.jpg", carried=(1, None, "x")),
    ImageReference("/l.csv#line 3", problem="list /l.csv, line 3: no"),
    ImageReference("/d.tar#y", MemberLocation("/d.tar", "tar", 512), BoxPrompts()),
]


@pytest.mark.parametrize("reference", REFERENCES, ids=ascii)
def test_references_survive_their_coder(reference):
    coder = beam.coders.registry.get_coder(ImageReference)
    assert isinstance(coder, ImageReferenceCoder)
    assert coder.decode(coder.encode(reference)) == reference


def test_a_plain_reference_takes_hardly_more_than_its_uri():
    assert len(ImageReferenceCoder().encode(ImageReference("https://images.example.com/1.jpg"))) <= 40


def test_references_survive_a_shuffle():
    with beam.Pipeline(runner="FnApiRunner") as p:
        assert_that(p | beam.Create(REFERENCES) | beam.Reshuffle(), equal_to(REFERENCES))
