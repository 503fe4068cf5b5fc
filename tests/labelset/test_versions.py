"""A label set that each version of the format wrote is read, added to and compacted by this labelbeam."""

import shutil
from pathlib import Path

import pytest
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_job, gather, replaced
from labelbeam.labelset.compact import compact_parts
from labelbeam.labelset.counting import counting_parts
from labelbeam.labelset.label_set_file import FORMAT_VERSION, LabelSet, read_label_set_file
from labelbeam.labelset.parts import read_part
from labelbeam.labelset.schemas import TABLES
from labelbeam.results.reader import open_label_set

from tests.fakes.folders_of_parts import labelled_names, put_part

DATA = Path(__file__).parents[1] / "data"
VERSIONS = range(1, FORMAT_VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_label_set_of_a_version(tmp_path, version):
    out = str(tmp_path / "out")
    shutil.copytree(DATA / f"label_set_v{version}", out)
    held = read_label_set_file(out)
    assert held["version"] == version
    assert labelled_names(out) == list("abcde") and labelled_names(out, "failed") == ["c"]
    assert open_label_set(out).arrow("detections").num_rows == 8

    label_set = LabelSet(held["settings"])
    assert label_set.fingerprint == held["fingerprint"]
    job = begin_job(out, "20300101T000000-cccccc", label_set, may_repeat=True)
    job.bind()
    put_part(out, "cf", job=job.job_id, minute=60 * 24)
    gathered = gather(job, (), agree=False)
    made = compact_parts(out, job.job_id, list(gathered.parts.values()))
    close_job(job, "complete", replaced(gathered.parts, [(list(gathered.parts), made)]))

    assert labelled_names(out, "ok") == list("abcdef") and list(counting_parts(out)) == [made.stem]
    assert open_label_set(out).arrow("detections").num_rows == 12
    for table in ("images", "detections"):
        assert read_part(out, made.stem, table).schema.names == TABLES[table].names
