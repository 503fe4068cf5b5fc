"""A store's folder of very many objects: others list the rest of it, and together find what one would have found."""

from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from labelbeam.transforms.list_images import PASSED_OVER, ListImages
from labelbeam.transforms.sources.find_files import find_files, find_in_portion

from tests.fakes.counting.s3 import LIST, counting_s3

FOLDERS = {
    ".hidden": "jpg",
    "2023": "jpg",
    "2024/01": "jpg",
    "2024/02": "png",
    "2024/old": "jpg",
    "notes": "txt",
    "réunion": "jpg",
    "sets/labels": "png",
    "zebras": "jpg",
}
IN_EACH = 1200
EXCLUDE = ["old"]


@pytest.fixture(scope="module")
def store():
    with counting_s3() as found:
        for folder, extension in FOLDERS.items():
            for number in range(IN_EACH):
                found.put(f"photos/{folder}/{number:05}.{extension}", b"x")
        found.put("photos/sets/labels/_label_set.json", b"{}")
        for number in range(IN_EACH):
            found.put(f"photos/sets/labels/masks/{number:05}.png", b"x")
        yield found


@pytest.fixture
def reachable(store, use_store_options):
    use_store_options(store.options)
    return store


def find(uri, listed_alone=None):
    """(Files found, how many portions gave them, what was passed over)."""
    passed_over, found, portions = Counter(), [], 0

    def pass_over(reason, uri):
        passed_over[reason] += 1

    for file in find_files(uri, EXCLUDE, pass_over, listed_alone):
        if file.portion is None:
            found.append(file)
        else:
            portions += 1
            found.extend(find_in_portion(file.uri, file.portion, EXCLUDE, pass_over))
    return found, portions, passed_over


@pytest.mark.parametrize(
    "uri, listed_alone, at_least",
    [("s3://photos", 1234, 4), ("s3://photos/2024/", 50, 2), ("s3://photos/*/000*.jpg", 5000, 2)],
)
def test_the_same_files_and_reasons(reachable, uri, listed_alone, at_least):
    whole, none, expected = find(uri)
    found, portions, passed_over = find(uri, listed_alone)
    assert none == 0 and portions >= at_least
    assert found == whole and len(whole) > 30  # in the same order, none twice
    assert passed_over == expected


def test_a_small_folder_is_listed_by_one(reachable):
    reachable.reset()
    found, portions, _ = find("s3://photos/2023", listed_alone=200_000)
    assert (len(found), portions) == (IN_EACH, 0)
    assert reachable.count(LIST) == 2


def test_the_whole_step(reachable):
    with TestPipeline(options=PipelineOptions(reachable.options)) as pipeline:
        uris = pipeline | ListImages(["s3://photos/"], listed_alone=2000) | beam.Map(lambda reference: reference.uri)
        found = uris | beam.Filter(lambda uri: "/old/" not in uri)
        assert_that(found, equal_to([file.uri for file in find("s3://photos/")[0] if file.format == "image"]))
    counters = pipeline.result.metrics().query(MetricsFilter().with_name(f"{PASSED_OVER}hidden"))["counters"]
    assert sum(counter.committed for counter in counters) == 1
