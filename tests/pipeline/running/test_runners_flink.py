"""The preset `flink` on a real Flink, with the libraries that `make flink` fetches: skipped where it hasn't.

The runner there is Beam 2.62's for Flink 1.19; jobs are submitted by the Python SDK as it is installed.
"""

import json
import os

import pytest

from tests.fakes.images import BAD, IMAGES, save_images_some_bad
from tests.fakes.processes import labelbeam, worker_pool
from tests.pipeline.running.flink_cluster import JOB_SERVER, session_cluster, why_none
from tests.same_tables import read_tables

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(why_none() is not None, reason=str(why_none()))]

FLINK = ("--runner-config", "flink", "--flink_job_server_jar", str(JOB_SERVER))


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    return save_images_some_bad(tmp_path_factory.mktemp("images"))


def label(image_folder, output, detector, *options):
    """Runs the command; returns its tables, and how often a detector was loaded."""
    job = labelbeam(
        "label",
        "--input",
        str(image_folder),
        "--output",
        str(output),
        "--detector",
        detector,
        "--part-images",
        "20",
        *options,
    )
    _, stderr = job.communicate(timeout=400)
    assert job.returncode == 0, stderr
    [record] = [json.loads(path.read_text()) for path in (output / "_jobs").glob("*.json")]
    return read_tables(output), record["detector_loads"]["count"]


@pytest.fixture(scope="module")
def in_process(image_folder, tmp_path_factory, fake_detector):
    tables, _ = label(image_folder, tmp_path_factory.mktemp("in_process") / "out", fake_detector)
    assert len(tables["images"]) == IMAGES and sum(row["status"] == "failed" for row in tables["images"]) == BAD
    return tables


def test_a_flink_inside_the_job_server(image_folder, tmp_path, fake_detector, in_process):
    tables, loads = label(
        image_folder,
        tmp_path / "out",
        fake_detector,
        *FLINK,
        "--flink_master=[local]",
        "--environment_type=LOOPBACK",
        "--environment_config=",
    )
    assert tables == in_process and loads == 1


def test_a_session_cluster_with_a_worker_pool(image_folder, tmp_path, fake_detector, in_process):
    with session_cluster(tmp_path / "flink") as master, worker_pool(tmp_path / "pool.log") as pool:
        tables, loads = label(
            image_folder,
            tmp_path / "out",
            fake_detector,
            *FLINK,
            "--flink_master",
            master,
            *pool.options,
            "--parallelism",
            str(min(2, os.cpu_count() or 1)),
        )
    assert tables == in_process
    assert loads == 1
