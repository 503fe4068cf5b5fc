"""Two hosts, as two network namespaces: runner in one, worker pool in the other, a shared folder as the store. Needs
root.
"""

import os
import re
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.fakes.images import save_image
from tests.fakes.processes import free_port, labelbeam, worker_pool
from tests.same_tables import read_tables

pytestmark = pytest.mark.heavy

IMAGES, BAD = 300, 10
RUNNER_ADDRESS, POOL_ADDRESS = "10.213.77.1", "10.213.77.2"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def namespaces():
    """Names of two namespaces whose only way to each other is a virtual cable."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root, and iproute2")
    names = [f"labelbeam-{uuid.uuid4().hex[:6]}" for _ in range(2)]
    hosts = [Path("/etc/netns", name, "hosts") for name in names]
    try:
        for name, file in zip(names, hosts):
            ip("netns", "add", name)
            file.parent.mkdir(
                parents=True
            )  # `ip netns exec` puts it over /etc/hosts: the runner tells workers its host's name
            file.write_text(f"127.0.0.1 localhost\n{RUNNER_ADDRESS} {socket.gethostname()}\n")
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (RUNNER_ADDRESS, POOL_ADDRESS)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name, file in zip(names, hosts):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
            shutil.rmtree(file.parent, ignore_errors=True)


def test_a_job_across_the_network(namespaces, tmp_path, fake_detector):
    for number in range(IMAGES):
        path = save_image(tmp_path / "images" / f"{number}.jpg", number, (24 + number % 7, 20 + number % 11))
        if number % (IMAGES // BAD) == 0:
            path.write_bytes(b"no image")
    inside = [["ip", "netns", "exec", name] for name in namespaces]
    arguments = ["label", "--input", str(tmp_path / "images"), "--detector", fake_detector, "--output"]
    with worker_pool(tmp_path / "pool.log", POOL_ADDRESS, inside[1], free_port()) as pool:
        remote = [
            *arguments,
            str(tmp_path / "remote"),
            "--runner=PortableRunner",
            "--job_endpoint=embed",
            *pool.options,
        ]
        refused = labelbeam(*remote, prefix=inside[0])
        assert "can't see it" in refused.communicate(timeout=200)[1] and refused.returncode == 2
        job = labelbeam(*remote, "--shared-folders", str(tmp_path), os.path.dirname(fake_detector), prefix=inside[0])
        stdout, stderr = job.communicate(timeout=300)
        assert job.returncode == 0, f"{stderr}\n{pool.log.read_text()}"
        assert re.search(r"loaded 1×", stdout) and "Starting worker" in pool.log.read_text()
    here = labelbeam(*arguments, str(tmp_path / "here"))
    assert here.communicate(timeout=300) and here.returncode == 0
    tables = read_tables(tmp_path / "remote")
    assert len(tables["images"]) == IMAGES and tables == read_tables(tmp_path / "here")
    assert sum(row["status"] == "failed" for row in tables["images"]) == BAD
