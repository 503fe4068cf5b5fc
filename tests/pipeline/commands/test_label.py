"""`labelbeam label` beyond the job: --dry-run, lists on standard input, --max-failed and other exit codes."""

import ast
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from labelbeam.pipeline.cli import main


def test_a_dry_run_says_what_would_be_done_and_does_nothing(label, image_folder, tmp_path):
    code, printed, labels = label(image_folder, options=["--dry-run"])
    assert code == 0 and not labels.folder.exists()
    assert "6 images would be labelled" in printed and "fake (engine saved_model" in printed and "masks" in printed
    assert label(image_folder, options=["--limit", "2"])[0] == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in labels.folder.rglob("*"))
    code, printed, labels = label(image_folder, options=["--dry-run"])
    assert code == 0 and "4 images would be labelled; 2 of 6 have rows already" in printed
    assert before == sorted((path, path.stat().st_mtime_ns) for path in labels.folder.rglob("*"))


def test_a_dry_run_refuses_what_the_job_would(label, image_folder):
    assert label(image_folder, options=["--dry-run", "--keep", "no_such_output"])[0] == 2


def test_the_summary_s_line_that_reads_the_tables_works(label, image_folder):
    _, printed, labels = label(image_folder, output='Ann\'s "$HOME" [1]')
    [line] = [line.partition("read them")[2] for line in printed.splitlines() if "read them" in line]
    done = subprocess.run(["env", "-i", "sh", "-c", line], capture_output=True, text=True)
    rows = [ast.literal_eval(row) for row in done.stdout.splitlines()]
    assert done.returncode == 0 and rows == labels.table("detections").slice(0, 5).to_pylist(), done.stderr


@pytest.mark.parametrize(
    "min_score, note",
    [
        ("0.99", None),  # 1 of 100 is 99 %
        ("0.999", "--min-score 0.999 dropped 600 of the 600 detections that the detector gave; is it too high?"),
        ("0.3", None),
        ("0.001", "--min-score 0.001 dropped nothing of the 600 detections that the detector gave; is it too low?"),
        ("0", None),  # meant
    ],
)
def test_a_threshold_that_drops_nearly_all_or_nothing_is_noted(label, image_folder, min_score, note):
    options = ["--min-score", min_score, "--max-detections", "7"] if note is None else ["--min-score", min_score]
    code, printed, _ = label(image_folder, detector="tests.fakes.classes:Hundred", options=options)
    assert code == 0, printed
    notes = [line.partition("note")[2].strip() for line in printed.splitlines() if line.startswith("  note")]
    assert notes == ([note] if note else [])


def test_the_usual_scores_are_told(label, image_folder, fake_detector, tmp_path):
    (tmp_path / "usual.yaml").write_text(Path(fake_detector).read_text() + "usual_min_score: [0.2, 0.4]\n")
    _, printed, _ = label(image_folder, detector=str(tmp_path / "usual.yaml"), options=["--dry-run"])
    assert "a score of 0.3 or more, at most 100 an image (with fake, 0.2 to 0.4 is usual)" in printed
    for i in range(6, 40):
        shutil.copy(image_folder / "0.jpg", image_folder / f"{i}.jpg")
    options = ["--min-score", "0.96", "--mask-format", "none"]
    _, printed, _ = label(image_folder, detector=str(tmp_path / "usual.yaml"), options=options)
    assert "dropped 200 of the 200 detections that the detector gave; is it too high (with fake, 0.2 to 0.4" in printed


def test_a_list_on_standard_input(fake_detector, image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(image_folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"0.jpg\n\n{image_folder / '1.jpg'}\n"))
    assert main(["label", "-", "-o", str(tmp_path / "out"), "--detector", fake_detector]) == 0
    from labelbeam.results.reader import open_label_set

    uris = open_label_set(str(tmp_path / "out")).arrow("images", ["uri"])["uri"].to_pylist()
    assert sorted(uris) == [str(image_folder / "0.jpg"), str(image_folder / "1.jpg")]


@pytest.mark.heavy
def test_what_makes_no_sense_on_standard_input_is_the_same_row_each_time(
    fake_detector, image_folder, tmp_path, monkeypatch, capsys
):
    out = str(tmp_path / "out")
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{image_folder / '0.jpg'}\ns3a://bucket/a.jpg\n"))
        main(["label", "-", "-o", out, "--detector", fake_detector])
    from labelbeam.results.reader import open_label_set

    uris = open_label_set(out).arrow("images", ["uri"])["uri"].to_pylist()
    assert sorted(uris) == [str(image_folder / "0.jpg"), "standard input#s3a://bucket/a.jpg"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    capsys.readouterr()
    assert main(["label", "-", "-o", out, "--detector", fake_detector]) == 2
    said = capsys.readouterr().err
    assert "input standard input: matches no image; standard input is a list without URIs" in said
    for file in (tmp_path / "out" / "_jobs").iterdir():
        assert "labelbeam-stdin" not in file.read_text()


class TestFailures:
    @pytest.fixture
    def mixed(self, image_folder):
        (image_folder / "bad.jpg").write_bytes(b"no image")
        return image_folder

    @pytest.mark.parametrize(
        "most, code", [([], 0), (["--max-failed", "1"], 0), (["--max-failed", "0"], 1), (["--max-failed", "10%"], 1)]
    )
    def test_more_than_allowed_are_exit_code_1(self, most, code, label, mixed):
        found, printed, labels = label(mixed, options=most)
        assert found == code and ("1 of 7 images failed, and --max-failed is" in printed) == bool(code)
        assert len(labels.table("images")) == 7, "all is written, whatever the exit code"

    def test_nothing_but_failures_is_exit_code_1(self, label, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "bad.jpg").write_bytes(b"no image")
        code, printed, _ = label(tmp_path / "images")
        assert code == 1 and "none of 1 image could be labelled" in printed
