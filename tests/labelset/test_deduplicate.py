"""Deduplicating: which of an image's rows counts, and what is written in place of the parts with the others."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelbeam.labelset import deduplicate as deduplicate_module
from labelbeam.labelset.deduplicate import deduplicate, find_losers, to_compare
from labelbeam.labelset.parts import list_parts

from tests.fakes.folders_of_parts import parts_of, put_part, rows_of


@pytest.fixture
def out(tmp_path):
    return str(tmp_path)


@pytest.fixture(params=["in memory", "on the disk"])
def how_many(request, monkeypatch):
    """New rows that fit in memory, and such as don't."""
    if request.param == "on the disk":
        monkeypatch.setattr(deduplicate_module, "MAX_ROWS_AT_ONCE", 0)
        monkeypatch.setattr(deduplicate_module, "ROWS_TOGETHER", 4)


def name_of(row):
    return row["uri"].split("/")[-1][0]


def one_row_an_image(out, candidates=None):
    """Deduplicates a folder's parts; (rows of images by name, rows left out)."""
    parts = parts_of(out)
    losers = find_losers(out, to_compare("closing", parts, parts if candidates is None else candidates))
    replaced = {stem: deduplicate(out, "closing", parts[stem], ids) for stem, ids in losers.items()}
    removed = sum(map(len, losers.values()))
    stems = [stem for stem in parts if stem not in replaced] + [part.stem for part in replaced.values() if part]
    for stem in stems:
        held = [row["image_id"] for row in rows_of(out, "detections", [stem])]
        for row in rows_of(out, "images", [stem]):
            assert held.count(row["image_id"]) == (row["num_detections"] or 0)
    return rows_of(out, "images", stems), removed


@pytest.mark.usefixtures("how_many")
def test_of_repeats_an_ok_row_beats_a_failed_one_and_else_the_latest_counts(out):
    put_part(out, "ab", job="one", minute=0)
    put_part(out, "bcd", job="two", minute=1, failed="bc", num_detections=3)
    put_part(out, "cde", job="three", minute=2, failed="c", num_detections=1)
    before = list_parts(out)
    images, removed = one_row_an_image(out)
    assert removed == 3 and before.items() <= list_parts(out).items()
    assert {name_of(row): (row["status"], row["labelled_at"].minute, row["num_detections"]) for row in images} == {
        "a": ("ok", 0, 2),
        "b": ("ok", 0, 2),
        "c": ("failed", 2, None),
        "d": ("ok", 2, 1),
        "e": ("ok", 2, 1),
    }


@pytest.mark.usefixtures("how_many")
def test_a_newer_job_s_row_counts_even_if_it_failed_or_its_clock_is_behind(out):
    counting = put_part(out, "abc", job="one", minute=9)
    put_part(out, "ab", job="dead", minute=8, num_detections=3)
    put_part(out, "bc", job="closing", minute=7, failed="bc")
    images, removed = one_row_an_image(out, candidates=set(parts_of(out)) - {counting})
    assert removed == 4
    assert {name_of(row): (row["status"], row["labelled_at"].minute) for row in images} == {
        "a": ("ok", 8),
        "b": ("failed", 7),
        "c": ("failed", 7),
    }


@pytest.mark.usefixtures("how_many")
def test_only_repeats_in_certain_parts_are_looked_for(out):
    put_part(out, "ab", minute=0)
    put_part(out, "bc", minute=1)
    late = put_part(out, "cd", minute=2)
    images, removed = one_row_an_image(out, candidates=[late])
    assert removed == 1 and sorted(map(name_of, images)) == ["a", "b", "b", "c", "d"]


def small_parts():
    """(job, names, those that failed, minute) of each part."""
    names = st.text("abcdef", min_size=1, max_size=6).map(lambda text: "".join(sorted(set(text))))
    return st.lists(
        st.tuples(st.sampled_from(["one", "dead", "closing"]), names, st.text("abcdef", max_size=3), st.integers(0, 2)),
        min_size=1,
        max_size=6,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=small_parts())
def test_the_row_that_counts_is_the_newest_job_s_then_an_ok_one_then_the_latest(made, tmp_path_factory, monkeypatch):
    out = str(tmp_path_factory.mktemp("out"))
    told = {put_part(out, names, job, failed=failed, minute=minute): (job, names, failed, minute)
            for job, names, failed, minute in made}  # fmt: skip
    parts = parts_of(out)
    best, new = {}, set()
    for stem, (job, names, failed, minute) in sorted(told.items()):
        for name in names:
            rank = (["one", "dead", "closing"].index(job), name not in failed, minute, stem)
            best[name] = max(best.get(name, rank), rank)
            new |= {name} if job != "one" else set()
    expected = {
        (stem, name)
        for stem, (_, names, _, _) in told.items()
        for name in names
        if name in new and best[name][-1] != stem
    }
    compared = to_compare("closing", parts, [stem for stem, (job, *_) in told.items() if job != "one"])
    for at_once in (1000, 0):
        monkeypatch.setattr(deduplicate_module, "MAX_ROWS_AT_ONCE", at_once)
        losers = find_losers(out, compared)
        names = {row["image_id"]: name_of(row) for row in rows_of(out, "images", parts)}
        assert {(stem, names[str(id_)]) for stem, ids in losers.items() for id_ in ids} == expected
