import json
import os

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.labelset import compact, deduplicate
from labelbeam.labelset.begin import OpenJob, begin_job
from labelbeam.labelset.close import close_job, closed_as, gather
from labelbeam.labelset.counting import counting_parts
from labelbeam.labelset.job_records import read_record
from labelbeam.labelset.parts import count_part, ids_sum, job_of, list_parts, read_part
from labelbeam.transforms.close_job import CloseJob
from labelbeam.transforms.skip_labelled import ListedCounts

from tests.fakes.folders_of_parts import labelled_names, put_part, reference

FACTS = {"job_id": "j1", "inputs": ["images/"]}


@pytest.fixture
def job(tmp_path):
    return begin_job(str(tmp_path), "j1")


@pytest.fixture(params=["by one worker", "by all workers"])
def losers_found(request, monkeypatch):
    if request.param == "by all workers":
        monkeypatch.setattr(deduplicate, "MAX_ROWS_AT_ONCE", 0)


def listed(todo, skipped=0):
    return ListedCounts(len(todo) + skipped, skipped, ids_sum(reference(name).image_id for name in todo))


def close(job, reported, counts):
    """Closes a job whose parts with these stems were reported; returns its record."""
    found = [count_part(job.output, stem, list_parts(job.output)[stem]) for stem in reported]
    with beam.Pipeline(runner="FnApiRunner") as p:
        parts = p | beam.Create(found)
        records = parts | CloseJob(job, p | "Counts" >> beam.Create([counts]), FACTS)
        assert_that(
            records | beam.combiners.Count.Globally(), lambda n: None if n == [1] else pytest.fail(f"{n} records")
        )
    record = read_record(job.output, "j1")
    assert closed_as(job)["record"] == record
    return record


def test_the_record_adds_the_parts_up(job):
    stems = [put_part(job.output, "abc", job="j1", failed="a"), put_part(job.output, "de", job="j1", failed="d")]
    record = close(job, stems, listed("abcde", skipped=2))
    assert record["status"] == "complete" and record["inputs"] == ["images/"]
    assert (record["listed"], record["skipped"], record["written"]) == (7, 2, 5)
    assert (record["parts"], record["compacted_parts"], record["repeats_removed"]) == (2, 0, 0)
    assert record["rows"] == {"images": 5, "detections": 6} and record["failures"] == {"timeout": 2}
    assert set(list_parts(job.output)) == set(stems)


def test_the_job_is_kept_alive_by_all_who_close_it(job, monkeypatch):
    attended = []
    monkeypatch.setattr(OpenJob, "attend", lambda job: attended.append(job.job_id))
    stems = [put_part(job.output, name, job="j1", minute=minute) for minute, name in enumerate("aabcdefghi")]
    record = close(job, stems, listed("abcdefghi"))
    assert (record["repeats_removed"], record["compacted_parts"]) == (1, 9)
    assert attended == ["j1"] * 4  # finding, leaving out, compacting, closing


def test_no_parts(job):
    assert close(job, [], listed("", skipped=4))["status"] == "complete"


@pytest.mark.parametrize(
    "todo, written, message",
    [
        ("abc", "ab", "3 rows were expected in images, but 2 were written"),
        ("a", "ab", "1 rows were expected in images, but 2 were written"),
        ("abc", "abd", "3 rows were expected in images, and were written, but of other images"),
    ],
)
def test_lost_and_foreign_images_fail_the_job_and_the_record_says_so(job, todo, written, message):
    stem = put_part(job.output, written, job="j1")
    with pytest.raises(Exception, match=message):
        close(job, [stem], listed(todo))
    assert read_record(job.output, "j1")["status"] == "incomplete"


@pytest.mark.usefixtures("losers_found")
def test_a_part_that_a_runner_put_in_place_and_forgot_is_deduplicated(job):
    put_part(
        job.output, "abc", job="j1", minute=0
    )  # the bundle's first try, of which the runner knows nothing any more
    stems = [put_part(job.output, "abc", job="j1", minute=1), put_part(job.output, "d", job="j1")]
    record = close(job, stems, listed("abcd"))
    assert record["status"] == "complete" and record["repeats_removed"] == 3
    assert record["rows"] == {"images": 4, "detections": 8}
    assert labelled_names(job.output) == list("abcd") and set(list_parts(job.output)) == set(stems)


@pytest.mark.usefixtures("losers_found")
def test_a_bundle_that_was_reported_twice_is_deduplicated(job):
    stems = [put_part(job.output, "abc", job="j1", minute=i) for i in range(2)]
    record = close(job, stems, listed("abc"))
    assert (record["status"], record["written"], record["repeats_removed"]) == ("complete", 3, 3)
    assert labelled_names(job.output) == list("abc")


@pytest.mark.usefixtures("losers_found")
def test_a_repeat_does_not_make_up_for_a_loss(job):
    stems = [put_part(job.output, "ab", job="j1", minute=0), put_part(job.output, "b", job="j1", minute=1)]
    with pytest.raises(Exception, match="3 rows were expected in images, but 2 were written"):
        close(job, stems, listed("abc"))
    assert labelled_names(job.output) == list("ab")


@pytest.mark.usefixtures("losers_found")
def test_images_labelled_anew_lose_their_old_rows(tmp_path):
    out = str(tmp_path)
    earlier = begin_job(out, "j0")
    put_part(out, "abc", job="j0", failed="bc", minute=0)
    close_job(earlier, "complete", gather(earlier, (), agree=False).parts)
    job = begin_job(out, "j1", may_repeat=True)
    stem = put_part(out, "bc", job="j1", failed="c", minute=1)
    record = close(job, [stem], listed("bc", skipped=1))
    assert (record["status"], record["repeats_removed"]) == ("complete", 2)
    assert labelled_names(out, "ok") == ["a", "b"] and labelled_names(out, "failed") == ["c"]
    rows = [row for stem in counting_parts(out) for row in read_part(out, stem, "images").to_pylist()]
    assert {row["uri"]: row["labelled_at"].minute for row in rows}[reference("c").uri] == 1


def test_a_job_that_was_lost_does_not_close(job):
    stem = put_part(job.output, "a", job="j1")
    begin_job(job.output, "j2", dead_after_s=0)
    with pytest.raises(Exception, match="job j2 has taken over from job j1"):
        close(job, [stem], listed("a"))
    assert labelled_names(job.output) == ["a"]


def test_a_step_that_a_runner_tries_again_closes_once(job):
    stem = put_part(job.output, "a", job="j1")
    record = close(job, [stem], listed("a"))
    assert close(job, [stem], listed("a")) == record and labelled_names(job.output) == ["a"]


def test_a_disk_that_is_full_only_while_compacting_fails_no_job(job, monkeypatch):
    stems = [put_part(job.output, name, job="j1") for name in "abcdefghij"]
    whole = os.fsync

    def full(descriptor):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        if "-c" in name.partition("part-j1")[2]:  # compacted parts alone, not the log's entries
            raise OSError(28, "No space left on device")
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    record = close(job, stems, listed("abcdefghij"))
    assert (record["status"], record["compacted_parts"]) == ("complete", 0)
    assert labelled_names(job.output) == list("abcdefghij")


def test_many_small_parts_become_few(job):
    stems = [put_part(job.output, name, job="j1") for name in "abcdefghij"]
    assert len(stems) >= compact.MIN_PARTS
    record = close(job, stems, listed("abcdefghij"))
    [merged] = list_parts(job.output)
    assert job_of(merged) == "j1" and record["compacted_parts"] == 10 and record["parts"] == 10
    assert labelled_names(job.output) == list("abcdefghij")
    assert json.dumps(record)
