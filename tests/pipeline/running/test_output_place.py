"""Places that can't hold labels are refused before anything is done."""

import sys

import pytest
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.running.output_place import check_output_place
from labelbeam.storage.errors import UsageError


@pytest.mark.parametrize(
    "output, named",
    [
        ("", "empty"),
        (" ", "empty"),
        ("{tmp}/file", "file is a file"),
        ("{tmp}/file/out", "file is a file"),
        ("/proc/out", "can't be written to"),
        ("nosuch://x/y", "no such scheme"),
        ("http://127.0.0.1/x", "over http"),
        ("s3://", "no bucket"),
        ("gs:///", "no bucket"),
        ("file://{tmp}/out", "give the path itself, as {tmp}/out"),
        ("file:{tmp}/out", "give the path itself, as {tmp}/out"),
        ("FILE://localhost{tmp}/out", "give the path itself, as {tmp}/out"),
        ("s3://key:secret@bucket/out", "s3://bucket: user and password"),
        ("s3a://bucket/out", "write s3://bucket/out"),
    ],
)
def test_refused(output, named, tmp_path, image_folder, capsys):
    (tmp_path / "file").write_text("x")
    output, named = output.format(tmp=tmp_path), named.format(tmp=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["label", str(image_folder), f"--output={output}", "--detector", "demo"]) == 2
    said = capsys.readouterr().err
    assert named in said and said.count("\n") == 1 and "secret" not in said
    assert "--output" in said or "s3://bucket:" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_filesystem_of_beam_that_lacks_its_client(image_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hdfs", None)
    assert main(["label", str(image_folder), "--output", "hdfs://user:secret@host/out", "--detector", "demo"]) == 2
    said = capsys.readouterr().err
    assert "--output hdfs://host/out: Beam's filesystem for hdfs:// can't be used here" in said and "secret" not in said


@pytest.mark.parametrize("command", ["status", "repair", "report", "show", "export", "compare"])
@pytest.mark.parametrize("place, named", [("s3a://b/x", "write s3://b/x"), ("file:/x", "as /x"), ("no://b", "no such")])
def test_a_label_set_is_never_looked_for_there(command, place, named, capsys):
    more = {"show": ["x"], "compare": ["other"], "export": ["--format", "coco", "--to", "x"]}.get(command, [])
    with pytest.raises(SystemExit) as ended:
        main([command, place, *more])
    assert ended.value.code == 2 and named in capsys.readouterr().err


@pytest.mark.parametrize("output", ["{tmp}", "{tmp}/new/folder", "s3://bucket/labels", "gs://bucket"])
def test_taken(output, tmp_path):
    check_output_place(output.format(tmp=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_may_not_write_to(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(UsageError, match="can't be written to .Permission denied"):
        check_output_place(str(tmp_path / "out"))
