"""Modules of engine `python` on their way to workers: packed, unpacked, and in a job whose workers lack them."""

import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from labelbeam.detectors.python.package import MAX_BYTES, pack
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.find_detector import find_detector
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.running.preflight import check_importable
from labelbeam.storage.errors import UsageError

from tests.fakes.images import save_image
from tests.fakes.labels import Labels
from tests.fakes.processes import labelbeam, worker_pool

MODULE = """
import numpy as np
from labelbeam import Detections

class Whole:
    batches = False
    class_names = {1: "all"}

    def detect(self, images):
        box, score = np.array([[0, 0, 1, 1]], np.float32), np.array([0.8], np.float32)
        return [Detections(box, np.array([1], np.int32), score) for _ in images]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith("packaged_detectors")]:
        monkeypatch.delitem(sys.modules, name)


def packaged(tmp_path):
    """A package whose detector imports a module beside it."""
    folder = tmp_path / "project" / "packaged_detectors"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "inner.py").write_text(MODULE)
    (folder / "outer.py").write_text("from .inner import Whole as Inner\n\nclass Whole(Inner):\n    version = '2'\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "inner.pyc").write_bytes(b"stale")
    return folder


@pytest.mark.parametrize("given", ["file", "folder around it"])
def test_a_file_goes_along(tmp_path, given):
    name = f"single_{given[:4]}"
    file = tmp_path / "code" / f"{name}.py"
    file.parent.mkdir()
    file.write_text(MODULE)
    spec = find_detector(f"{name}:Whole", package=str(file if given == "file" else file.parent))
    file.unlink()
    [found] = spec.load().detect([np.zeros((8, 8, 3), np.uint8)])
    assert found.class_ids.tolist() == [1] and spec.config.labels == {1: "all"}


def test_a_package_is_the_same_bytes_without_its_caches(tmp_path):
    folder = packaged(tmp_path)
    archive = pack(str(folder), "packaged_detectors.outer")
    assert archive == pack(str(folder.parent), "packaged_detectors") and b"pycache" not in archive
    assert len(find_detector("packaged_detectors.outer:Whole", package=str(folder)).load().detect([])) == 0


@pytest.mark.parametrize(
    "detector, package, named",
    [
        (
            "absent:Whole",
            "project",
            r"expected the file absent\.py, the folder absent with Python files, or the folder",
        ),
        ("demo", "project", r"goes with --detector module:Class, and not with demo"),
        ("big:Whole", "big.py", r"MB of code go along\. Weights belong where workers can read them"),
    ],
)
def test_what_cannot_go_along_is_named(tmp_path, detector, package, named):
    packaged(tmp_path)
    with (tmp_path / "big.py").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match=named):
        find_detector(detector, package=str(tmp_path / package))


@pytest.mark.parametrize(
    "preset, options, gets_it",
    [
        ("in_process", [], True),
        ("multi_process", [], True),
        ("prism", [], True),  # in the command's own process
        ("prism", ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"], False),
        ("flink", [], False),
        ("flink", ["--flink_master=jobmanager:8081"], False),
        ("flink", ["--setup_file={project}/setup.py"], True),
        ("flink", ["--setup_file=./setup.py"], False),  # of another package
        ("flink", ["--extra_package={tmp}/has.tar.gz"], True),
        ("flink", ["--extra_package={tmp}/lacks.tar.gz"], False),
        ("dataflow_gpu", ["--setup_file=./setup.py"], False),
        ("dataflow_gpu", ["--sdk_container_image=mine:1"], True),
    ],
)
def test_which_workers_get_a_module(tmp_path, monkeypatch, preset, options, gets_it):
    folder = packaged(tmp_path)
    monkeypatch.syspath_prepend(str(folder.parent))
    for name, content in (("has", folder), ("lacks", tmp_path / "other.py")):
        (tmp_path / "other.py").touch()
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(content, f"{name}-1.0/{content.name}")
    filled = [option.format(tmp=tmp_path, project=folder.parent) for option in options]
    beam_options = parse_beam_options(filled, runner_config=preset)
    if gets_it:
        check_importable(beam_options, "packaged_detectors.outer:Whole")
    else:
        with pytest.raises(
            UsageError, match="nothing brings them the module packaged_detectors.outer.*--detector-package"
        ):
            check_importable(beam_options, "packaged_detectors.outer:Whole")


@pytest.mark.heavy
def test_workers_of_a_pool_get_the_module_or_the_job_is_refused(tmp_path):
    """The pool's Python doesn't have it; the command's has."""
    folder = packaged(tmp_path)
    for i in range(3):
        save_image(tmp_path / "images" / f"{i}.jpg", i, (40, 60))
    with worker_pool(tmp_path / "pool.log") as pool:
        job = [
            *["label", str(tmp_path / "images"), "-o", str(tmp_path / "out"), "--runner", "PortableRunner"],
            *["--detector", "packaged_detectors.outer:Whole", "--job_endpoint", "embed", *pool.options],
            *["--shared-folders", str(tmp_path)],
        ]
        refused = subprocess.run(
            [sys.executable, "-m", "labelbeam.pipeline.cli", *job],
            env={**os.environ, "PYTHONPATH": str(folder.parent)},
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 2 and "nothing brings them the module" in refused.stderr, refused.stderr
        assert not (tmp_path / "out").exists()
        done = labelbeam(*job, "--detector-package", str(folder))
        printed = "".join(done.communicate(timeout=120))
    assert done.returncode == 0, printed + pool.log.read_text()
    assert Labels(tmp_path / "out").frame("detections")["class_name"].tolist() == ["all"] * 3


def test_check_takes_a_package_too(tmp_path, capsys):
    folder = packaged(tmp_path)
    assert main(["detectors", "--check", "packaged_detectors.inner:Whole", "--detector-package", str(folder)]) == 0
    assert "keeps to the protocol" in capsys.readouterr().out
    assert main(["detectors", "--detector-package", str(folder)]) == 2
    assert "goes with --check module:Class" in capsys.readouterr().err
