import os
from datetime import datetime, timezone

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.detectors.protocol import Detections
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference, LabelledImage
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.to_rows import RowOptions, image_rows
from labelbeam.transforms.write_parts import WriteParts

TABLES = ("images", "detections")


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
    with beam.Pipeline(runner="FnApiRunner") as p:
        parts = (
            p
            | beam.Create(images, reshuffle=False)
            | WriteParts(str(tmp_path), "job", TABLES, {"key": "value"}, limits)
        )
        assert_that(parts, check)
    return sorted((tmp_path / "images").glob("*.parquet"))


def test_a_part_is_one_file_a_table_with_one_stem(tmp_path):
    def check(parts):
        [part] = parts
        assert part.stem.startswith("part-job-")
        assert part.rows == {"detections": 9, "images": 11} and part.failures == {"timeout": 1}

    [path] = write(tmp_path, [rows(i) for i in range(10)] + [rows(10, failed=True)], check=check)
    assert (tmp_path / "detections" / path.name).is_file()
    assert pq.read_schema(path).metadata[b"key"] == b"value"


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

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        write(tmp_path, [rows(1)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_image_that_comes_twice_in_a_bundle_is_written_once(tmp_path):
    def check(parts):
        [part] = parts
        assert part.rows == {"detections": 3, "images": 2}
        assert part.ids_sum == (int(rows(1).image_id, 16) + int(rows(2).image_id, 16)) % 2**128

    write(tmp_path, [rows(1), rows(2), rows(1)], check=check)
