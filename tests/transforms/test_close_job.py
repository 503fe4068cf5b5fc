import json

import apache_beam as beam
import pyarrow.dataset as ds
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.labelset import compact as merge_parts
from labelbeam.labelset.job_records import read_record, write_record
from labelbeam.labelset.parts import ids_sum, job_of, list_parts, read_part
from labelbeam.transforms.close_job import CloseJob
from labelbeam.transforms.skip_labelled import ListedCounts
from labelbeam.transforms.write_parts import part_of_tables

from tests.fakes.folders_of_parts import TABLES, put_part, reference

JOB = {"job_id": "j1", "inputs": ["images/"], "retry_failed": None}


def listed(todo, skipped=0):
    return ListedCounts(len(todo) + skipped, skipped, ids_sum(reference(name).image_id for name in todo))


def as_part(folder, stem):
    return part_of_tables(stem, {table: read_part(str(folder), stem, table) for table in TABLES})


def close(folder, reported, counts, job=JOB):
    """Closes a job whose parts with these stems were reported; returns its record."""
    with beam.Pipeline(runner="FnApiRunner") as p:
        parts = p | beam.Create([as_part(folder, stem) for stem in reported])
        records = parts | CloseJob(p | "Counts" >> beam.Create([counts]), str(folder), job)
        assert_that(
            records | beam.combiners.Count.Globally(), lambda n: None if n == [1] else pytest.fail(f"{n} records")
        )
    return read_record(str(folder), "j1")


def labelled(folder):
    return sorted(row["uri"].split("/")[-1][0] for row in ds.dataset(folder / "images").to_table().to_pylist())


def test_the_record_adds_the_parts_up(tmp_path):
    stems = [put_part(tmp_path, "abc", job="j1", failed="a"), put_part(tmp_path, "de", job="j1", failed="d")]
    record = close(tmp_path, stems, listed("abcde", skipped=2))
    assert record["status"] == "complete" and record["inputs"] == ["images/"]
    assert (record["listed"], record["skipped"], record["written"]) == (7, 2, 5)
    assert (record["parts"], record["merged_parts"], record["repeats_removed"]) == (2, 0, 0)
    assert record["rows"] == {"images": 5, "detections": 6} and record["failures"] == {"timeout": 2}
    assert set(list_parts(str(tmp_path))) == set(stems)


def test_no_parts(tmp_path):
    assert close(tmp_path, [], listed("", skipped=4))["status"] == "complete"


@pytest.mark.parametrize(
    "todo, written, message",
    [
        ("abc", "ab", "3 rows were expected in images, but 2 were written"),
        ("a", "ab", "1 rows were expected in images, but 2 were written"),
        ("abc", "abd", "3 rows were expected in images, and were written, but of other images"),
    ],
)
def test_lost_and_foreign_images_fail_the_job_and_the_record_says_so(tmp_path, todo, written, message):
    stem = put_part(tmp_path, written, job="j1")
    with pytest.raises(Exception, match=message):
        close(tmp_path, [stem], listed(todo))
    assert read_record(str(tmp_path), "j1")["status"] == "incomplete"


def test_a_part_that_a_runner_put_in_place_and_forgot_is_settled(tmp_path):
    put_part(tmp_path, "abc", job="j1", minute=0)  # the bundle's first try, of which the runner knows nothing any more
    stems = [put_part(tmp_path, "abc", job="j1", minute=1), put_part(tmp_path, "d", job="j1")]
    record = close(tmp_path, stems, listed("abcd"))
    assert record["status"] == "complete" and record["repeats_removed"] == 3
    assert record["rows"] == {"images": 4, "detections": 8}
    assert labelled(tmp_path) == list("abcd") and set(list_parts(str(tmp_path))) == set(stems)


def test_a_bundle_that_was_reported_twice_is_settled(tmp_path):
    stems = [put_part(tmp_path, "abc", job="j1", minute=i) for i in range(2)]
    record = close(tmp_path, stems, listed("abc"))
    assert (record["status"], record["written"], record["repeats_removed"]) == ("complete", 3, 3)
    assert labelled(tmp_path) == list("abc")


def test_a_repeat_does_not_make_up_for_a_loss(tmp_path):
    stems = [put_part(tmp_path, "ab", job="j1", minute=0), put_part(tmp_path, "b", job="j1", minute=1)]
    with pytest.raises(Exception, match="3 rows were expected in images, but 2 were written"):
        close(tmp_path, stems, listed("abc"))
    assert labelled(tmp_path) == list("ab")


def test_images_labelled_anew_lose_their_old_rows(tmp_path):
    put_part(tmp_path, "abc", job="j0", failed="bc", minute=0)
    stem = put_part(tmp_path, "bc", job="j1", failed="c", minute=1)
    record = close(tmp_path, [stem], listed("bc", skipped=1), {**JOB, "retry_failed": ["timeout"]})
    assert (record["status"], record["repeats_removed"]) == ("complete", 2)
    rows = {row["uri"].split("/")[-1][0]: row for row in ds.dataset(tmp_path / "images").to_table().to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {"a": "ok", "b": "ok", "c": "failed"}
    assert rows["c"]["labelled_at"].minute == 1


def test_what_a_killed_job_left_is_settled_by_the_next(tmp_path):
    write_record(str(tmp_path), {"job_id": "killed", "status": "running"})
    write_record(str(tmp_path), {"job_id": "done", "status": "complete"})
    put_part(tmp_path, "ab", job="killed", minute=0)
    put_part(tmp_path, "ab", job="killed", minute=1)
    stem = put_part(tmp_path, "c", job="j1")
    record = close(tmp_path, [stem], listed("c", skipped=2))
    assert record["repeats_removed"] == 2 and record["settled_jobs"] == ["killed"]
    assert labelled(tmp_path) == list("abc")
    assert read_record(str(tmp_path), "killed") == {"job_id": "killed", "status": "settled", "settled_by": "j1"}
    assert read_record(str(tmp_path), "done")["status"] == "complete"


def test_many_small_parts_become_few(tmp_path):
    stems = [put_part(tmp_path, name, job="j1") for name in "abcdefghij"]
    assert len(stems) >= merge_parts.MIN_PARTS
    record = close(tmp_path, stems, listed("abcdefghij"))
    [merged] = list_parts(str(tmp_path))
    assert job_of(merged) == "j1" and record["merged_parts"] == 1 and record["parts"] == 10
    assert labelled(tmp_path) == list("abcdefghij")
    assert json.dumps(record)
