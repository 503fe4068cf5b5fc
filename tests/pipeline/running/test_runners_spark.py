"""The preset `spark` on a real Spark, with the libraries that `make spark` fetches: skipped where it hasn't.

The runner there is Beam 2.62's with Spark 3.5; jobs are submitted by the Python SDK as it is installed.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.fakes.images import BAD, IMAGES, save_images_some_bad
from tests.fakes.processes import labelbeam, worker_pool
from tests.same_tables import read_tables

JOB_SERVER = Path(__file__).parents[3] / "build" / "spark" / "job-server.jar"
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("java") is None, reason="there's no java in PATH"),
    pytest.mark.skipif(not JOB_SERVER.is_file(), reason="there's no build/spark/job-server.jar: make spark"),
]


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return save_images_some_bad(tmp_path_factory.mktemp("images"))


def label(image_folder, output, detector, *options):
    """Runs the command; returns its tables, and how often a detector was loaded."""
    arguments = ["--input", str(image_folder), "--output", str(output), "--detector", detector, "--part-images", "20"]
    job = labelbeam("label", *arguments, *options)
    _, stderr = job.communicate(timeout=400)
    assert job.returncode == 0, stderr
    [record] = [json.loads(path.read_text()) for path in (output / "_jobs").glob("*.json")]
    return read_tables(output), record["detector_loads"]["count"]


def test_a_spark_inside_the_job_server_with_a_worker_pool(image_folder, tmp_path, fake_detector):
    expected, _ = label(image_folder, tmp_path / "in_process", fake_detector)
    assert len(expected["images"]) == IMAGES and sum(row["status"] == "failed" for row in expected["images"]) == BAD
    with worker_pool(tmp_path / "pool.log") as pool:
        spark = ("--runner-config", "spark", "--spark_job_server_jar", str(JOB_SERVER), "--spark_master_url=local[2]")
        tables, loads = label(image_folder, tmp_path / "out", fake_detector, *spark, *pool.options)
    assert tables == expected and loads == 1
