"""Jobs that are cut off, repeated, aimed at one folder together: nothing lost, nothing done twice. Real processes and
signals.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import apache_beam as beam
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset import heartbeat
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.counting import counting_parts
from labelbeam.labelset.parts import list_parts
from labelbeam.pipeline.cli import main
from labelbeam.transforms.write_parts import WriteParts

from tests.fakes.images import save_image


def rows(folder, table, leave_out=("labelled_at", "fetch_ms", "decode_ms", "attempts")):
    found = ds.dataset(folder / table, format="parquet").to_table()
    keys = ["image_id"] if table == "images" else ["detection_id"]
    found = found.drop_columns([c for c in leave_out if c in found.column_names])
    return found.sort_by([(key, "ascending") for key in keys]).to_pylist()


def start(image_folder, out, detector, *options, images_in_part=20):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "labelbeam.pipeline.cli",
            "label",
            "--input",
            str(image_folder),
            "--output",
            str(out),
            "--detector",
            detector,
            "--part-images",
            str(images_in_part),
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # whatever nohup had the tests ignore
    )


def wait_until(condition, process, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def num_parts(out):
    return sum("images" in tables for tables in list_parts(str(out)).values())


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(300):
        save_image(folder / f"{i:04}.jpg", i, (24 + i % 7, 20 + i % 11))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.mark.heavy
def test_ctrl_c_finishes_the_open_part_and_the_same_command_goes_on(many_images, tmp_path, slow_detector):
    out = tmp_path / "out"
    process = start(many_images, out, slow_detector)
    wait_until(lambda: num_parts(out), process)
    process.send_signal(signal.SIGINT)
    printed = "".join(process.communicate(timeout=120))
    assert process.returncode == 130, printed
    assert "finishing what is under way" in printed and "goes on from here" in printed
    [record] = [json.loads(path.read_text()) for path in (out / "_jobs").glob("*.json")]
    done = len(rows(out, "images"))
    assert record["status"] == "interrupted" and 20 < record["written"] == done < 301
    process = start(many_images, out, slow_detector)
    printed = "".join(process.communicate(timeout=200))
    assert process.returncode == 0 and f"skipped     {done}" in printed, printed
    assert len(rows(out, "images")) == 301


@pytest.mark.heavy
def test_ctrl_c_of_a_terminal_reaches_worker_processes_too_and_they_close_their_parts(
    many_images, tmp_path, slow_detector
):
    out = tmp_path / "out"
    process = start(many_images, out, slow_detector, "--runner-config", "multi_process", "--direct_num_workers", "2")
    wait_until(lambda: num_parts(out), process)
    os.killpg(process.pid, signal.SIGINT)
    printed = "".join(process.communicate(timeout=120))
    assert process.returncode == 130 and "goes on from here" in printed and "Traceback" not in printed, printed
    [record] = [json.loads(path.read_text()) for path in (out / "_jobs").glob("*.json")]
    assert record["status"] == "interrupted" and 20 < record["written"] == len(rows(out, "images")) < 301


@pytest.mark.heavy
def test_two_jobs_at_once_on_one_folder(many_images, tmp_path, slow_detector):
    out = tmp_path / "out"
    process = start(many_images, out, slow_detector)
    try:
        wait_until((out / "_log" / "00000000.json").exists, process)
        process.send_signal(signal.SIGSTOP)  # stopped, but not dead
        second = start(many_images, out, slow_detector)
        printed = "".join(second.communicate(timeout=120))
        assert second.returncode == 2 and "is at work on it" in printed and f"pid {process.pid}" in printed
    finally:
        process.kill()
        process.communicate()


@pytest.mark.heavy
def test_failed_images_are_labelled_again_on_request(label, image_folder):
    (image_folder / "broken.jpg").write_bytes(b"no image")
    (image_folder / "absent.txt").write_text(str(image_folder / "absent.jpg"))
    inputs = [image_folder, image_folder / "absent.txt"]
    _, _, labels = label(*inputs)
    assert labels.frame("images").set_index("uri").error_kind.dropna().to_dict() == {
        str(image_folder / "broken.jpg"): "not_an_image",
        str(image_folder / "absent.jpg"): "not_found",
    }
    save_image(image_folder / "broken.jpg", 7)
    save_image(image_folder / "absent.jpg", 8)
    code, printed, labels = label(*inputs)
    assert code == 0 and "Nothing to do" in printed
    code, printed, labels = label(*inputs, options=["--retry-failed", "not_found"])
    assert code == 0 and "Labelled 1 of 8 images" in printed
    assert labels.frame("images").error_kind.dropna().tolist() == ["not_an_image"]
    code, printed, labels = label(*inputs, options=["--retry-failed"])
    images = labels.frame("images")
    assert code == 0 and (images.status == "ok").all() and images.image_id.is_unique and len(images) == 8
    assert labels.frame("detections").detection_id.is_unique
    code, printed, _ = label(*inputs, options=["--retry-failed", "timeot"])
    assert code == 2 and "--retry-failed timeot: not a kind of error" in printed


class Lossy(beam.PTransform):
    """A runner that does to its elements what `change` says."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def expand(self, rows):
        return rows | beam.FlatMap(self.change)


@pytest.mark.parametrize(
    "loses, code, message",
    [
        (True, 1, "6 rows were expected in images, but 5 were written. Missing: .*0.jpg"),
        (False, 0, "Labelled 6 of 6"),
    ],
)
@pytest.mark.heavy
def test_elements_that_a_runner_drops_or_repeats(label, image_folder, monkeypatch, loses, code, message):
    import re

    whole, lost = WriteParts.expand, str(image_folder / "0.jpg")

    def change(image):
        is_one = image.tables["images"]["uri"][0] == lost
        return [] if is_one and loses else [image, image] if is_one else [image]

    monkeypatch.setattr(WriteParts, "expand", lambda self, images: whole(self, images | Lossy(change)))
    found, printed, labels = label(image_folder)
    assert found == code and re.search(message, printed), printed
    assert labels.frame("images").image_id.is_unique
    if loses:
        assert labels.records()[0]["missing"] == [lost]
        monkeypatch.undo()
        found, printed, labels = label(image_folder)
        assert found == 0 and "Labelled 1 of 6" in printed
    assert len(labels.frame("images")) == 6


def test_status_and_repair(label, image_folder, tmp_path, capsys):
    (image_folder / "broken.jpg").write_bytes(b"no image")
    _, _, labels = label(image_folder)
    [stem] = list_parts(str(labels.folder))
    dead = begin_job(str(labels.folder), "dead")  # and killed: nobody is at work on it
    (labels.folder / "_jobs" / "dead.json").write_text('{"job_id": "dead", "status": "running"}')
    (labels.folder / "_jobs" / "x.json").write_text("{}")
    unfinished = f"part-{dead.job_id}-0123456789ab"
    (labels.folder / "detections" / f"{unfinished}.parquet").write_bytes(b"of a part that never was finished")
    assert main(["status", str(labels.folder)]) == 0
    printed = capsys.readouterr().out
    for expected in (
        "images      7: 6 ok, 1 failed",
        "failed      1 not_an_image",
        "broken.jpg: ",
        "dead  running, as far as is known",
        "x.json: can't be read as a job's record",
        "complete: 7 images written",
    ):
        assert expected in printed
    assert main(["status", str(labels.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == {"ok": 6, "failed": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "DEAD_AFTER_S", 0)
        assert main(["repair", str(labels.folder)]) == 0
    assert "deleted 1: parts" in capsys.readouterr().out
    assert list(list_parts(str(labels.folder))) == [stem]
    main(["status", str(labels.folder)])
    printed = capsys.readouterr().out
    assert "left behind" not in printed and "dead  killed" in printed
    for command in ("status", "repair"):
        assert main([command, str(tmp_path)]) == 2
        assert "not the output folder of a label set" in capsys.readouterr().err


def flip_a_bit(path):
    """In the last page of the ids: the file keeps its size."""
    content, names = bytearray(path.read_bytes()), pq.read_schema(path).names
    column = pq.read_metadata(path).row_group(0).column(names.index("image_id"))
    content[column.dictionary_page_offset + column.total_compressed_size - 4] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("table, damage", [("detections", os.unlink), ("images", flip_a_bit)])
@pytest.mark.heavy
def test_a_damaged_file_is_named_by_every_command_and_repaired(label, image_folder, capsys, table, damage):
    _, _, labels = label(image_folder, options=["--part-images", "3"])
    [path, _] = labels.parts(table)
    damage(path)
    met = 2 if damage is os.unlink else 1  # a wrong checksum is met at work
    for expected, options in ((met, ()), (2, ["--dry-run"])):
        code, printed, _ = label(image_folder, options=options)
        assert code == expected and f"{path}: damaged" in printed and "labelbeam repair" in printed, printed
        assert "Traceback" not in printed
    for command, expected in (("status", 0), ("report", 2), ("repair", 0)):
        assert main([command, str(labels.folder)]) == expected
        printed = "".join(capsys.readouterr())
        assert str(path) in printed and "Traceback" not in printed, printed
    assert len(labels.frame("images")) == 3
    code, printed, labels = label(image_folder)
    assert code == 0 and "Labelled 3 of 6" in printed, printed
    assert len(labels.frame("detections")) == labels.frame("images").num_detections.sum() == 24


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_job_as_ctrl_c_does(many_images, tmp_path, slow_detector, number):
    out = tmp_path / "out"
    process = start(many_images, out, slow_detector)
    wait_until(lambda: num_parts(out), process)
    process.send_signal(number)
    printed = "".join(process.communicate(timeout=120))
    assert process.returncode == 130 and "finishing what is under way" in printed, printed
    [record] = [json.loads(path.read_text()) for path in (out / "_jobs").glob("*.json")]
    assert record["status"] == "interrupted" and record["written"] == len(rows(out, "images")) < 301
    assert counting_parts(str(out)).keys() == list_parts(str(out)).keys()


@pytest.mark.heavy
def test_an_output_that_is_moved_away_ends_the_job_with_one_true_sentence(many_images, tmp_path, slow_detector):
    out = tmp_path / "out"
    process = start(many_images, out, slow_detector)
    wait_until(lambda: num_parts(out), process)
    out.rename(tmp_path / "moved")
    printed = "".join(process.communicate(timeout=120))
    assert process.returncode == 1 and "the job was lost" in printed and "moved or deleted while job" in printed, (
        printed
    )
    assert not list(out.glob("images/*")) and "Traceback" not in printed
    done = start(many_images, tmp_path / "moved", slow_detector)
    printed = "".join(done.communicate(timeout=200))
    assert done.returncode == 0 and len(rows(tmp_path / "moved", "images")) == 301, printed


@pytest.mark.heavy
def test_a_disk_that_fills_up_fails_the_job_and_the_rerun_completes(label, image_folder, monkeypatch):
    whole = os.fsync

    def full(descriptor):
        if "detections" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, printed, labels = label(image_folder)
    assert code == 1 and "No space left on device" in printed
    assert labels.records()[0]["status"] == "failed"
    monkeypatch.undo()
    code, printed, labels = label(image_folder)
    assert code == 0 and len(labels.frame("images")) == 6
    assert [r["status"] for r in labels.records()] == ["failed", "complete"]


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 200 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small filesystem")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.heavy
def test_a_disk_that_is_really_full(label, many_images, small_disk):
    """Parts fit until the disk is full; what has fitted stays whole, and goes on when there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 100_000)
    options = ("--part-images", "20")
    code, printed, labels = label(many_images, output=small_disk / "out", options=options)
    assert code == 1 and "No space left on device" in printed
    done = labels.frame("images")
    assert 0 < len(done) < 301 and done.image_id.is_unique
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    code, printed, labels = label(many_images, output=small_disk / "out", options=options)
    images = labels.frame("images")
    assert code == 0 and len(images) == 301 and images.image_id.is_unique
    assert len(labels.frame("detections")) == images.num_detections.sum()


@pytest.mark.heavy
def test_ten_kills_change_nothing(tmp_path_factory, tmp_path, counting_detector):
    """SIGKILL at ten random moments: the same tables, and at most one open part's images labelled twice a kill."""
    folder, part_size, kills = tmp_path_factory.mktemp("images"), 50, 10
    for i in range(2000):
        save_image(folder / f"{i:04}.jpg", i, (24 + i % 7, 20 + i % 11))
    detector, calls = counting_detector
    process = start(folder, tmp_path / "whole", detector, images_in_part=part_size)
    wait_until(calls, process)
    began = time.monotonic()
    printed = process.communicate(timeout=600)
    labelling_s = time.monotonic() - began
    assert process.returncode == 0, printed
    undisturbed_calls = calls()
    rng, survived = random.Random(1), 0

    def begun():
        return len(list((tmp_path / "out" / "_log").glob("0*.json")))

    for kill in range(kills):
        process = start(folder, tmp_path / "out", detector, images_in_part=part_size)
        before, jobs = calls(), kill
        wait_until((lambda: begun() > jobs) if kill % 5 == 4 else (lambda: calls() > before), process)
        time.sleep(rng.uniform(0, labelling_s / 15))
        survived += process.poll() is not None
        process.kill()
        process.communicate()
    process = start(folder, tmp_path / "out", detector, images_in_part=part_size)
    printed = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    print(
        {
            "calls": undisturbed_calls,
            "calls with kills": calls() - undisturbed_calls,
            "jobs that ended before": survived,
        }
    )
    for table in ("images", "detections", "masks"):
        assert rows(tmp_path / "out", table) == rows(tmp_path / "whole", table)
    assert undisturbed_calls == 2000
    under_way = 16  # in the model at the moment of the kill
    assert 2000 < calls() - undisturbed_calls <= 2000 + kills * (part_size + under_way)
    assert survived < kills / 2
