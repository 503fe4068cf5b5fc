import json
import os
from datetime import datetime, timezone

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.detectors.protocol import Detections
from labelbeam.labelset.begin import OpenJob, begin_job
from labelbeam.labelset.label_set_file import LabelSet, read_label_set_file
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.to_rows import RowOptions, image_rows
from labelbeam.transforms.write_parts import WriteParts

TABLES = ("images", "detections")
LABEL_SET = LabelSet({"detector": "demo"})


def rows(index: int, failed: bool = False):
    reference = ImageReference(f"/images/{index}.jpg")
    found = Detections(
        np.tile(np.float32([0, 0, 1, 1]), (index % 3, 1)),
        np.ones(index % 3, np.int32),
        np.full(index % 3, 0.5, np.float32),
    )
    facts = ImageFacts(1, 64, 48)
    image = FailedImage(reference, facts, "timeout", "slow") if failed else LabelledImage(reference, facts, found)
    return image_rows(image, RowOptions({1: "ball"}), datetime.now(timezone.utc))


def write(tmp_path, images, limits=ExecutionOptions(), check=lambda parts: None):
    job = begin_job(str(tmp_path), "job", LABEL_SET)
    with beam.Pipeline(runner="FnApiRunner") as p:
        parts = p | beam.Create(images, reshuffle=False) | WriteParts(job, TABLES, limits)
        assert_that(parts, check)
    return sorted((tmp_path / "images").glob("*.parquet"))


def test_a_part_is_one_file_a_table_with_one_stem(tmp_path):
    def check(parts):
        [part] = parts
        assert part.stem.startswith("part-job-")
        assert part.rows == {"detections": 9, "images": 11} and part.failures == {"timeout": 1}

    [path] = write(tmp_path, [rows(i) for i in range(10)] + [rows(10, failed=True)], check=check)
    assert (tmp_path / "detections" / path.name).is_file()
    assert json.loads(pq.read_schema(path).metadata[b"labelbeam.label_set"])["detector"] == "demo"
    assert read_label_set_file(str(tmp_path))["settings"] == LABEL_SET.settings


@pytest.mark.parametrize(
    "limits, sizes",
    [
        (ExecutionOptions(part_images=4), [2, 4, 4]),
        (ExecutionOptions(part_seconds=1e-9), [1] * 10),
        (ExecutionOptions(part_bytes=1), [1] * 10),
    ],
)
def test_parts_are_closed_at_their_limits(tmp_path, limits, sizes):
    paths = write(tmp_path, [rows(i) for i in range(10)], limits)
    assert sorted(pq.read_metadata(path).num_rows for path in paths) == sizes


def test_no_images_no_part(tmp_path):
    def check(parts):
        assert parts == []

    assert write(tmp_path, [], check=check) == []
    assert not (tmp_path / "_label_set.json").exists()  # so another label set may still have the folder


def test_a_job_that_was_lost_writes_no_more(tmp_path):
    job = begin_job(str(tmp_path), "job", LABEL_SET)
    begin_job(str(tmp_path), "other", LABEL_SET, dead_after_s=0)
    with pytest.raises(Exception, match="job other has taken over from job job"), beam.Pipeline() as p:
        _ = p | beam.Create([rows(1)]) | WriteParts(job, TABLES)
    assert not (tmp_path / "images").exists()


def test_images_come_last_and_a_part_that_breaks_off_does_not_exist(tmp_path, monkeypatch):
    replace, order = os.replace, []

    def breaks_at_images(source, target):
        order.append(target.split("/")[-2])
        if order[-1] == "images":
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", breaks_at_images)
    with pytest.raises(Exception, match="No space left"):
        write(tmp_path, [rows(1)])
    assert order == ["detections", "images"]
    assert list((tmp_path / "images").iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_of_a_part(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    job = OpenJob(str(tmp_path), "job", begin_job(str(tmp_path), "job").number)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"), beam.Pipeline(runner="FnApiRunner") as p:
        _ = p | beam.Create([rows(1)]) | WriteParts(job, TABLES)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path for path in before if path.is_file()]


def test_an_image_that_comes_twice_in_a_bundle_is_written_once(tmp_path):
    def check(parts):
        [part] = parts
        assert part.rows == {"detections": 3, "images": 2}
        assert part.ids_sum == (int(rows(1).image_id, 16) + int(rows(2).image_id, 16)) % 2**128

    write(tmp_path, [rows(1), rows(2), rows(1)], check=check)
