"""Kills at random moments, two jobs at once, a job that sleeps and wakes: on disk and in a store, the same tables."""

import os
import random
import signal
import time

import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from labelbeam.pipeline.running.exit_codes import ExitCode

from tests.fakes.images import save_image
from tests.fakes.store_servers import new_bucket, s3_filesystem, s3_options
from tests.pipeline.jobs.failures.forked_job import PART_IMAGES, start

IMAGES = 200
ROWS_TOGETHER = 32  # images whose rows are made together, if they come within a second: the model is ahead of parts
TIMINGS = ["labelled_at", "fetch_ms", "decode_ms"]


class Place:
    """Where labels go: a folder on disk or in a store, read without labelbeam."""

    def __init__(self, base, filesystem, arguments, log):
        self.base, self.filesystem, self.arguments, self.log = base, filesystem, arguments, log
        self.path = base.removeprefix("s3://")

    def start(self, images, name="out", **options):
        return start(images, f"{self.base}/{name}", self.log, arguments=self.arguments, **options)

    def rows(self, table, name="out"):
        found = ds.dataset(f"{self.path}/{name}/{table}", filesystem=self.filesystem, format="parquet").to_table()
        found = found.drop_columns([column for column in TIMINGS if column in found.column_names])
        return found.sort_by("image_id" if table == "images" else "detection_id").to_pylist()

    def num_files(self, folder, name="out"):
        selector = pyarrow.fs.FileSelector(f"{self.path}/{name}/{folder}", allow_not_found=True)
        return len(self.filesystem.get_file_info(selector))

    def calls(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def said(self, process):
        with open(f"{self.log}.{process.pid}") as file:
            return file.read()


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    log = str(tmp_path / "calls")
    if request.param == "disk":
        return Place(str(tmp_path / "labels"), pyarrow.fs.LocalFileSystem(), [], log)
    port, bucket = request.getfixturevalue("s3_port"), new_bucket()
    return Place(f"s3://{bucket}", s3_filesystem(port, bucket), s3_options(port), log)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        save_image(folder / f"{number:04}.png", number, (8 + number % 7, 10))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def wait_until(condition, process, timeout_s=180):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)


def finish(place, process, code=ExitCode.DONE):
    process.join(timeout=300)
    assert process.exitcode == code, place.said(process)


def assert_like_an_undisturbed_job(place, images):
    finish(place, place.start(images, "whole", seconds=0.0))
    assert len(place.rows("images")) == IMAGES + 1
    for table in ("images", "detections"):
        assert place.rows(table) == place.rows(table, "whole")


@pytest.mark.heavy
def test_twenty_kills(place, images):
    rng, kills = random.Random(1), 0
    for _ in range(20):
        before = place.calls()
        process = place.start(images, seconds=0.02)
        wait_until(lambda before=before, process=process: place.calls() > before or not process.is_alive(), process)
        time.sleep(rng.uniform(0, 0.3))
        if not process.is_alive():
            finish(place, process)  # nothing was left to do
            break
        process.kill()
        process.join()
        kills += 1
    finish(place, place.start(images))
    print({"images the model saw": place.calls(), "of": IMAGES, "kills": kills})
    assert kills >= 10
    assert_like_an_undisturbed_job(place, images)


@pytest.mark.heavy
def test_a_job_that_sleeps_is_taken_over_and_wakes_to_nothing(place, images):
    sleeper = place.start(images)
    wait_until(lambda: place.num_files("images") >= 2, sleeper)
    os.kill(sleeper.pid, signal.SIGSTOP)
    finish(place, place.start(images, elsewhere=True))
    os.kill(sleeper.pid, signal.SIGCONT)
    finish(place, sleeper, ExitCode.FAILED)
    assert "the job was lost" in place.said(sleeper) and "has taken over" in place.said(sleeper)
    done = place.start(images)  # deletes a part that the sleeper may have put in place as it woke
    finish(place, done)
    assert "Nothing to do" in place.said(done)
    assert_like_an_undisturbed_job(place, images)
    assert place.calls() <= 2 * IMAGES + 2 * (PART_IMAGES + ROWS_TOGETHER) + 8


@pytest.mark.heavy
def test_two_jobs_at_once(place, images):
    both = [place.start(images) for _ in range(2)]
    for process in both:
        process.join(timeout=300)
    assert sorted(process.exitcode for process in both) == [ExitCode.DONE, ExitCode.USAGE], list(map(place.said, both))
    assert "is at work on it" in "".join(map(place.said, both))
    assert_like_an_undisturbed_job(place, images)
