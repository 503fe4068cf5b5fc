"""The recipes for schedulers do what they say, with the exit codes that real commands end with."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.images import save_image

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = "tests.fakes.classes:Brightest"  # which needs no TensorFlow


class Airflow:
    """Stands for Airflow: its three names, as its documentation has them."""

    class AirflowException(Exception):
        pass

    class AirflowFailException(AirflowException):
        pass

    @staticmethod
    def task(retries):
        assert retries == 3
        return lambda function: function


def block(document, marker):
    """The indented block of a document that holds a text."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", (ROOT / "docs" / document).read_text() + "\n", re.MULTILINE)
    [found] = [textwrap.dedent(text) for text in blocks if marker in text]
    return found


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """`labelbeam` of this environment is what a shell finds."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "labelbeam"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m labelbeam.pipeline.cli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


@pytest.mark.heavy
def test_airflow_repeats_what_may_help_and_nothing_else(on_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.exceptions", Airflow)
    monkeypatch.setitem(sys.modules, "airflow.sdk", Airflow)
    recipe = types.ModuleType("recipe")
    exec(block("pipelines.md", "AirflowFailException"), vars(recipe))
    image = save_image(tmp_path / "a.jpg", 1).read_bytes()
    with MisbehavingServer({"a.jpg": image}) as server:
        url = server.url("/flaky/503/1/a.jpg")
        (tmp_path / "list.txt").write_text(url)
        assert recipe.COMMAND[2:7] == ["gs://bucket/photos/", "-o", "gs://bucket/labels", "--detector", "demo"]
        recipe.COMMAND[2:7] = ["list.txt", "-o", "out", "--detector", DETECTOR]
        recipe.COMMAND += ["--retries", "0"]
        with pytest.raises(Airflow.AirflowException, match="exit code 1: to be repeated"):
            recipe.label()
        recipe.label()  # its retry, when the server is back
        assert server.count("/flaky/503/1/a.jpg") == 2
    recipe.COMMAND[2] = "nowhere/"
    with pytest.raises(Airflow.AirflowFailException):
        recipe.label()
    recipe.COMMAND[:] = ["sh", "-c", "kill -9 $$"]
    with pytest.raises(Airflow.AirflowException, match="exit code -9"):
        recipe.label()


@pytest.mark.heavy
def test_lines_for_cron_and_scripts_run_as_they_are_written(on_path, tmp_path):
    save_image(tmp_path / "photos" / "a.jpg", 1)
    line = re.search(r"15 2 \* \* \*  (labelbeam .*)", block("pipelines.md", "15 2 * * *"))[1]
    for place, there in (("/data/", f"{tmp_path}/"), ("/var/log/", f"{tmp_path}/"), ("demo", DETECTOR)):
        assert place in line
        line = line.replace(place, there)
    line = line.replace(f"{tmp_path}/photos", str(tmp_path / "photos"))
    assert [subprocess.run(["sh", "-c", line]).returncode for _ in range(2)] == [0, 0]
    said = (tmp_path / "labelbeam.log").read_text()
    assert "Labelled 1 of 1 image in" in said and "Nothing to do: 1 image, labelled already" in said
    script = block("exit-codes.md", "case $?").replace("--detector demo", f"--detector {DETECTOR}")
    assert subprocess.run(["sh", "-c", script]).returncode == 0 and (tmp_path / "report.html").exists()
    script = script.replace("photos/", "nowhere/")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "to be looked at\n" and "nowhere/" in done.stderr
