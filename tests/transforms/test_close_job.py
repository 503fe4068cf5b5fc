import json

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.transforms.close_job import CloseJob, record_path
from labelbeam.transforms.skip_labelled import ListedCounts
from labelbeam.transforms.write_parts import Part

JOB = {"job_id": "j1", "inputs": ["pictures/"]}


def close(output, parts, counts, check=lambda records: None):
    with beam.Pipeline(runner="FnApiRunner") as p:
        listed = p | "Counts" >> beam.Create([counts])
        assert_that(p | beam.Create(parts) | CloseJob(listed, str(output), JOB), check)
    return json.loads(open(record_path(str(output), "j1")).read())


def test_the_record_adds_the_parts_up(tmp_path):
    parts = [Part("part-b", {"images": 3, "detections": 9}, {"timeout": 1}),
             Part("part-a", {"images": 2, "detections": 0}, {"timeout": 1, "not_found": 1})]

    def check(records):
        assert len(records) == 1

    record = close(tmp_path, parts, ListedCounts(7, 2), check)
    assert record["status"] == "complete" and record["inputs"] == ["pictures/"]
    assert (record["listed"], record["skipped"], record["written"]) == (7, 2, 5)
    assert record["parts"] == ["part-a", "part-b"]
    assert record["rows"] == {"images": 5, "detections": 9}
    assert record["failures"] == {"not_found": 1, "timeout": 2}


def test_no_parts(tmp_path):
    assert close(tmp_path, [], ListedCounts(4, 4))["status"] == "complete"


@pytest.mark.parametrize("written", [4, 6])
def test_lost_and_repeated_rows_fail_the_job_and_the_record_says_so(tmp_path, written):
    with pytest.raises(Exception, match=f"5 rows were expected in images, but {written} were written"):
        close(tmp_path, [Part("p", {"images": written})], ListedCounts(5, 0))
    assert json.loads(open(record_path(str(tmp_path), "j1")).read())["status"] == "incomplete"
