import random

import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.transforms.coders import ImageReferenceCoder
from labelbeam.transforms.elements import ImageReference, MemberLocation
from labelbeam.transforms.group_by_chunk import GroupByChunk


def member(container, offset, chunk):
    return ImageReference(f"{container}#{offset}", MemberLocation(container, "tar", offset, 10, chunk=chunk))


MEMBERS = [
    member(container, offset, chunk=offset // 100)
    for container in ("/a.tar", "/b\udcff.tar")
    for offset in range(0, 1000, 10)
]


def encoded(references):
    return [ImageReferenceCoder().encode(reference) for reference in references]


PLAIN = [ImageReference(f"/{i}.jpg") for i in range(50)]


def test_members_of_a_chunk_come_together_and_in_order():
    shuffled = random.Random(0).sample(MEMBERS + PLAIN, len(MEMBERS) + len(PLAIN))

    def check(found):
        assert sorted(map(repr, found)) == sorted(map(repr, MEMBERS + PLAIN))
        places = [(r.location.container, r.location.chunk, r.location.offset) for r in found if r.location]
        chunks = [place[:2] for place in places]
        changes = sum(before != after for before, after in zip(chunks, chunks[1:]))
        assert changes == len(set(chunks)) - 1  # each chunk in one run
        assert all(before < after for before, after in zip(places, places[1:]) if before[:2] == after[:2])

    with TestPipeline(runner="FnApiRunner") as pipeline:
        grouped = pipeline | beam.Create(encoded(shuffled), reshuffle=False) | GroupByChunk()
        assert_that(grouped, check, reify_windows=False)


def test_repeats_are_kept():
    with TestPipeline(runner="FnApiRunner") as pipeline:
        grouped = pipeline | beam.Create(encoded([PLAIN[0], PLAIN[0]])) | GroupByChunk() | beam.Map(lambda r: r.uri)
        assert_that(grouped, equal_to(["/0.jpg", "/0.jpg"]))
