"""What a job may ask of a store, counted: listings and reads grow with new parts; with all parts only by a request a
page of a listing, and by one a part for its ids.

`benchmarks/labels/request_budgets.py` has the same steps at the sizes of `docs/scale.md`.
"""

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.labels.request_budgets import measure
from tests.fakes.counting.s3 import DELETE, GET, LIST, PUT, counting_s3

FEW, MANY, PAGE = 20, 60, 10
PAGES_MORE = 2 * (MANY - FEW) // PAGE  # of two tables, each listed once

AS_THEY_ARE = ("status", "open to read", "start", "start, {} parts of a dead job")  # which read no part but new ones
CLOSING = ("close with {} new parts", "close, nothing new")
READ_IDS = ("skip what has a row", "close, images of 2 parts labelled again")


@pytest.fixture(scope="module")
def costs():
    """By (parts, new parts) and step."""
    with counting_s3(PAGE) as store:
        FileSystems.set_options(PipelineOptions(store.options))
        yield {sizes: measure(store, *sizes) for sizes in ((FEW, 4), (MANY, 4), (FEW, 8))}
        FileSystems.set_options(PipelineOptions([]))


def growth(costs, step, larger):
    """Requests more by kind than of the smaller label set, or with fewer new parts."""
    less = costs[FEW, 4][step.format(4)].requests
    more = costs[larger][step.format(larger[1])].requests
    return {kind: more[kind] - less[kind] for kind in less if more[kind] != less[kind]}


@pytest.mark.heavy
@pytest.mark.parametrize("step", AS_THEY_ARE + CLOSING)
def test_without_ids_only_listings_grow_with_parts(costs, step):
    assert growth(costs, step, (MANY, 4)) == {LIST: PAGES_MORE}


@pytest.mark.heavy
@pytest.mark.parametrize("step", READ_IDS)
def test_ids_are_one_request_a_small_part(costs, step):
    grown = growth(costs, step, (MANY, 4))
    assert grown.pop(LIST, PAGES_MORE) == PAGES_MORE and grown == {GET: MANY - FEW}
    few, many = (costs[sizes][step] for sizes in ((FEW, 4), (MANY, 4)))
    assert many.written - few.written < 100 * (MANY - FEW)  # the snapshot alone, not the parts


@pytest.mark.heavy
def test_repair_reads_each_file_once_to_verify_and_once_to_compact(costs):
    grown = growth(costs, "repair: reads all, compacts", (MANY, 4))
    assert grown[GET] == 2 * 2 * (MANY - FEW) and PUT not in grown and grown[LIST] <= 2 * PAGES_MORE


@pytest.mark.heavy
def test_new_parts_are_read_once(costs):
    taken_over = growth(costs, "start, {} parts of a dead job", (FEW, 8))
    assert taken_over[GET] == 4 * 2 and set(taken_over) <= {GET, LIST}
    assert growth(costs, "close with {} new parts", (FEW, 8)).keys() <= {LIST}


@pytest.mark.heavy
def test_what_is_deleted_goes_together(costs):
    assert all(cost.requests[DELETE] <= 4 for of_size in costs.values() for cost in of_size.values())
