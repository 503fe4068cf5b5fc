"""Temporary folders of processes that were killed are deleted by the next one; those of others stay."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from labelbeam.storage.temporary import temporary_folder

HOLDS_ONE = """
import sys, tempfile
from pathlib import Path
from labelbeam.storage.temporary import temporary_folder
tempfile.tempdir = sys.argv[1]
with temporary_folder("job") as folder:
    Path(folder, "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def holder(place):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays(place):
    (killed, left), (alive, used) = holder(place), holder(place)
    assert left.is_dir() and used.is_dir()
    killed.kill()
    killed.communicate()
    others = [place / name for name in ("labelbeam-notes", "labelbeam-in_flight-0-1", "beam-pipeline-temp0d45si81")]
    for other in others:
        other.mkdir()
    with temporary_folder("dry-run") as mine:
        assert Path(mine).is_dir() and not left.exists() and (used / "file").exists()
    alive.communicate("")
    assert alive.returncode == 0
    assert sorted(place.iterdir()) == sorted(others)


def test_a_link_of_such_a_name_is_not_followed(place):
    (place / "precious").mkdir()
    link = place / "labelbeam-job.abcdefgh"
    link.symlink_to(place / "precious")
    with temporary_folder("job"):
        assert (place / "precious").is_dir() and link.is_symlink()
