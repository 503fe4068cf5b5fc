"""Parts on disk: put in place, replaced, merged, settled, swept."""

import os

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.clean_up import sweep
from labelbeam.labelset.compact import merge_parts, plan_merges
from labelbeam.labelset.deduplicate import settle_repeats
from labelbeam.labelset.parts import (
    ids_sum,
    job_of,
    list_parts,
    new_stem,
    part_path,
    replaced_by,
    replaces_others,
    replacing_stem,
)

from tests.fakes.folders_of_parts import part_tables, put_part, reference


def rows(folder, table="images"):
    return ds.dataset(folder / table, format="parquet").to_table().to_pylist() if (folder / table).exists() else []


def names(folder):
    return sorted(row["uri"].split("/")[-1][0] for row in rows(folder))


def assert_whole(folder):
    """Each image has one row, and as many detections as it says."""
    images, detections = rows(folder), rows(folder, "detections")
    assert len({row["image_id"] for row in images}) == len(images)
    counted = [sum(d["image_id"] == row["image_id"] for d in detections) for row in images]
    assert counted == [row["num_detections"] or 0 for row in images]


def test_names_tell_the_job_and_whether_others_are_replaced():
    stem = new_stem("20260101T000000-abcdef")
    assert job_of(stem) == "20260101T000000-abcdef" and not replaces_others(stem)
    merged = replacing_stem("j-1", [stem, "other"])
    assert merged == replacing_stem("j-1", ["other", stem]) and job_of(merged) == "j-1" and replaces_others(merged)
    assert job_of("part-00000-of-00010") == "" and not replaces_others("anything")


def test_the_sum_of_ids_tells_sets_apart():
    ids = [reference(name).image_id for name in "abc"]
    assert ids_sum(ids) == ids_sum(reversed(ids)) == (ids_sum(ids[:1]) + ids_sum(ids[1:])) % 2**128
    assert ids_sum(ids) != ids_sum([*ids[:2], ids[1]])


def test_small_parts_are_merged_and_sorted(tmp_path):
    stems = [put_part(tmp_path, name * 1) for name in "dacb"]
    before = sorted(map(str, rows(tmp_path, "detections")))
    merged = merge_parts(str(tmp_path), "job", stems)
    assert list(list_parts(str(tmp_path))) == [merged]
    assert [row["image_id"] for row in rows(tmp_path)] == sorted(reference(name).image_id for name in "abcd")
    assert sorted(map(str, rows(tmp_path, "detections"))) == before
    assert [row["rank"] for row in rows(tmp_path, "detections")] == [0, 1] * 4
    assert pq.read_schema(part_path(str(tmp_path), "images", merged)).metadata[b"labelbeam.label_set"] == b"{}"
    assert merge_parts(str(tmp_path), "job", stems) == merged  # tried again by a runner
    assert_whole(tmp_path)


def test_what_is_merged_is_decided_by_size():
    sizes = {f"part-{i:02d}": {"images": 10, "detections": 20} for i in range(10)}
    threes = [[f"part-{i:02d}" for i in three] for three in ((0, 1, 2), (3, 4, 5), (6, 7, 8))]
    assert plan_merges(sizes, target_bytes=90, min_parts=8) == threes
    assert plan_merges(sizes, target_bytes=1000, min_parts=8) == [sorted(sizes)]
    assert plan_merges(sizes, target_bytes=1000, min_parts=11) == []
    assert plan_merges(sizes, target_bytes=50, min_parts=1) == []  # none is small
    assert plan_merges({**sizes, "part-99": {"detections": 1}}, 1000, 8) == [
        sorted(sizes)
    ]  # an unfinished one doesn't count


@pytest.mark.parametrize("deleted_before_death", range(3))
def test_a_death_while_merging_is_cleaned_up(tmp_path, monkeypatch, deleted_before_death):
    stems, count, unlink = [put_part(tmp_path, name) for name in "abc"], [], os.unlink

    def dies(path):
        if path.endswith(".parquet"):
            if len(count) == deleted_before_death:
                raise KeyboardInterrupt
            count.append(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", dies)
    with pytest.raises(KeyboardInterrupt):
        merge_parts(str(tmp_path), "job", stems)
    monkeypatch.undo()
    [merged] = set(list_parts(str(tmp_path))) - set(stems)
    assert replaced_by(str(tmp_path), merged) == sorted(stems)
    sweep(str(tmp_path))
    assert list(list_parts(str(tmp_path))) == [merged] and names(tmp_path) == ["a", "b", "c"]
    assert_whole(tmp_path)


def test_sweeping_takes_what_does_not_count_and_nothing_else(tmp_path):
    kept = put_part(tmp_path, "ab")
    unfinished = put_part(tmp_path, "cd")
    os.unlink(part_path(str(tmp_path), "images", unfinished))
    (tmp_path / "images" / ".part-1.parquet.1234.tmp").write_bytes(b"half")
    (tmp_path / "masks_png" / "00").mkdir(parents=True)
    (tmp_path / "masks_png" / "00" / ".0.png.1234.tmp").write_bytes(b"half")
    (tmp_path / "images" / "notes.txt").write_text("somebody's")
    assert sweep(str(tmp_path)) == 3
    assert list(list_parts(str(tmp_path))) == [kept]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "notes.txt",
        f"{kept}.parquet",
        f"{kept}.parquet",
    ]
    assert sweep(str(tmp_path)) == 0


def test_of_repeats_an_ok_row_beats_a_failed_one_and_else_the_latest_counts(tmp_path):
    put_part(tmp_path, "ab", job="one", minute=0)
    put_part(tmp_path, "bcd", job="two", minute=1, failed="bc", num_detections=3)
    put_part(tmp_path, "cde", job="three", minute=2, failed="c", num_detections=1)
    assert settle_repeats(str(tmp_path)) == 3
    found = {
        row["uri"].split("/")[-1][0]: (row["status"], row["labelled_at"].minute, row["num_detections"])
        for row in rows(tmp_path)
    }
    assert found == {
        "a": ("ok", 0, 2),
        "b": ("ok", 0, 2),
        "c": ("failed", 2, None),
        "d": ("ok", 2, 1),
        "e": ("ok", 2, 1),
    }
    assert_whole(tmp_path)
    assert {job_of(stem) for stem in list_parts(str(tmp_path))} == {"one", "three"}  # nothing was left of the second
    assert settle_repeats(str(tmp_path)) == 0


def test_only_repeats_of_suspects_are_looked_for(tmp_path):
    put_part(tmp_path, "ab", minute=0)
    put_part(tmp_path, "bc", minute=1)
    late = put_part(tmp_path, "cd", minute=2)
    assert settle_repeats(str(tmp_path), suspects=[late]) == 1
    assert names(tmp_path) == ["a", "b", "b", "c", "d"]
    assert settle_repeats(str(tmp_path)) == 1
    assert_whole(tmp_path)


def test_ids_are_compared_in_portions(tmp_path, monkeypatch):
    from labelbeam.labelset import deduplicate as module

    monkeypatch.setattr(module, "MAX_ROWS_AT_ONCE", 3)
    for minute in range(3):
        put_part(tmp_path, "abcdefgh", minute=minute)
    assert settle_repeats(str(tmp_path)) == 16
    assert_whole(tmp_path)


def test_a_table_must_be_whole(tmp_path):
    stem = put_part(tmp_path, "ab")
    assert list_parts(str(tmp_path))[stem].keys() == {"images", "detections"} == part_tables("a").keys()
