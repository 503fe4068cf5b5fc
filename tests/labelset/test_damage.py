"""Damaged, empty, foreign and missing files of a label set: every command that reads it names them in one sentence, and
`repair` takes their parts out."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_job, gather
from labelbeam.labelset.heartbeat import Heartbeat, at_work
from labelbeam.labelset.label_set_file import LabelSet
from labelbeam.labelset.parts import part_path
from labelbeam.pipeline.cli import main

import labelbeam
from tests.fakes.folders_of_parts import labelled_names, put_part
from tests.fakes.output_folders import detections, labelled, write_part

LABEL_SET = LabelSet({"detector": "demo", "labels": {"1": "ball"}})


def begin(out, job_id):
    """A job of this process, which dies when this returns."""
    with at_work(job_id):
        job = begin_job(out, job_id, LABEL_SET, heartbeat=Heartbeat(out, job_id))
        job.bind()
    return job


@pytest.fixture
def out(tmp_path):
    """A label set of two parts, with the images a and b in the first."""
    out = str(tmp_path / "out")
    job = begin(out, "j1")
    for names in ("ab", "cd"):
        put_part(out, names, job="j1")
    close_job(job, "complete", gather(job, (), agree=False).parts)
    return out


def file_of(out, table="images", name="a"):
    """The path of one of the files of the part that holds an image."""
    for stem in labelbeam.open_label_set(out).parts:
        path = part_path(out, "images", stem)
        if any(uri.endswith(f"{name}.jpg") for uri in pq.read_table(path)["uri"].to_pylist()):
            return Path(part_path(out, table, stem))
    raise AssertionError


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def replace_by_another_table(path):
    pq.write_table(pa.table({"a": [1]}), path)


def replace_by_another_of_the_same_size(path):
    path.write_bytes(b"PAR1".ljust(path.stat().st_size - 4, b"x") + b"PAR1")


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


def is_named(path, printed):
    return str(path) in printed and "Traceback" not in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize("table", ["images", "detections"])
@pytest.mark.parametrize(
    "damage",
    [os.unlink, cut, empty, replace_by_another_table, replace_by_another_of_the_same_size, replace_by_a_folder],
)
def test_a_damaged_file_is_named_by_every_command(out, tmp_path, capsys, damage, table):
    whole, annotations = tmp_path / "whole", tmp_path / "instances.json"
    shutil.copytree(out, whole)
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    annotations.write_text(
        json.dumps({"images": [image], "annotations": [], "categories": [{"id": 1, "name": "ball"}]})
    )
    path = file_of(out, table)
    damage(path)
    for command in (
        ("show", out, "a.jpg", "-o", str(tmp_path / "a.png")),
        ("report", out, "-o", str(tmp_path / "report.html")),
        ("evaluate", out, "--annotations", str(annotations)),
        ("compare", str(whole), out),
        ("compare", out, str(whole)),
        ("export", out, "--format", "coco", "--to", str(tmp_path / "coco")),
    ):
        assert main(list(command)) == 2, command
        assert is_named(path, capsys.readouterr().err), command
    with pytest.raises(labelbeam.UsageError, match=f"{path.name}: damaged"):
        labelbeam.open_label_set(out).arrow(table)
    if damage is not replace_by_another_of_the_same_size:  # which only reading it tells; status reads no tables
        assert main(["status", out]) == 0
        assert f"damaged     {path}: " in capsys.readouterr().out
    assert main(["repair", out]) == 0
    printed = capsys.readouterr().out
    assert str(path) in printed and "took out 1 damaged part with 2 images" in printed
    assert labelled_names(out) == ["c", "d"]
    assert main(["repair", out]) == 0 and "nothing to repair" in capsys.readouterr().out


def test_repair_takes_over_from_a_dead_job_although_a_part_is_damaged(out, capsys):
    cut(file_of(out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labelbeam.labelset.begin.find_damage", lambda *_: [])  # the job began before
        begin(out, "j2")
    put_part(out, "ef", job="j2")
    cut(Path(part_path(out, "images", put_part(out, "gh", job="j2"))))
    assert main(["repair", out]) == 0
    assert "took out 1 damaged part with" in capsys.readouterr().out
    assert labelled_names(out) == ["c", "d", "e", "f"]


@pytest.mark.parametrize("damage", [os.unlink, empty, lambda path: path.write_bytes(b"GIF89a, and no PNG")])
def test_the_file_of_a_mask_is_one_of_its_parts(tmp_path, capsys, damage):
    out, stem = tmp_path / "out", "part-j1-0123456789ab"
    write_part(out, [labelled("/images/a.jpg", (30, 40), detections([0.9, 0.8]))], "png", stem=stem)
    close_job(job := begin_job(str(out), "j2"), "complete", job.state().parts)
    [path, _] = sorted((out / "masks_png").rglob("*.png"))
    damage(path)
    assert main(["export", str(out), "--format", "coco", "--to", str(tmp_path / "coco")]) == 2
    assert is_named(path, capsys.readouterr().err)
    assert main(["repair", str(out)]) == 0
    printed = capsys.readouterr().out
    assert str(path) in printed and "took out 1 damaged part with 1 image" in printed


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"job_id": "x", "status": 7}'])
def test_a_record_that_is_none_is_named_and_stops_nobody(out, capsys, content):
    path = Path(out, "_jobs", "x.json")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    for command in ("status", "repair"):
        assert main([command, out]) == 0
        printed = capsys.readouterr()
        assert f"{path}: can't be read as a job's record" in printed.out and not printed.err
    assert path.read_bytes() == content


def test_a_record_with_values_of_odd_types_is_named(out, capsys):
    path = Path(out, "_jobs", "x.json")
    path.parent.mkdir(exist_ok=True)
    for odd in ({"error": 5}, {"written": "7", "finished_at": "now"}, {"started_at": 3}):
        path.write_text(json.dumps({"job_id": "x", "status": "failed", **odd}))
        assert main(["status", out]) == 0
        assert f"{path}: can't be read as a job's record" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"settings": []}', "\udcff"])
def test_a_label_set_file_that_is_none_is_named(out, capsys, content):
    Path(out, "_label_set.json").write_text(content, errors="surrogateescape")
    for command in ("status", "repair", "report"):
        assert main([command, out]) == 2
        printed = capsys.readouterr().err
        assert "_label_set.json" in printed and "Traceback" not in printed
