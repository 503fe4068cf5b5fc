"""The log of an output folder, jobs that begin and close, and what a clean-up deletes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.clean_up import clean_up
from labelbeam.labelset.close import close_early, close_job, gather
from labelbeam.labelset.counting import counting_parts
from labelbeam.labelset.heartbeat import Heartbeat, at_work
from labelbeam.labelset.label_set_file import LabelSet, read_label_set_file
from labelbeam.labelset.log import JobLostError, append, entry_path, read_log, snapshots
from labelbeam.labelset.part_files import DamagedPartError
from labelbeam.labelset.parts import list_parts, part_path
from labelbeam.storage import files
from labelbeam.storage.errors import UsageError

from tests.fakes.folders_of_parts import labelled_names, put_part

LABEL_SET = LabelSet({"detector": "demo", "min_score": 0.3})


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "labels [2024]*")


def begin(out, job_id, **options):
    job = begin_job(out, job_id, LABEL_SET, dead_after_s=0, **options)
    job.bind()
    return job


def run(out, job_id, *parts, **options):
    """A whole job that writes these parts, one after the other."""
    job = begin(out, job_id)
    for names in parts:
        put_part(out, names, job=job_id, **options)
    close_job(job, "complete", gather(job, (), agree=False).parts)
    return job


def test_the_room_needs_neither_beam_nor_tensorflow():
    code = (
        "import sys, pkgutil, importlib, labelbeam.labelset as room\n"
        "for module in pkgutil.iter_modules(room.__path__): importlib.import_module(f'{room.__name__}.{module.name}')\n"
        "assert not {'apache_beam', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_parts_count_when_their_job_has_closed(out):
    job = begin(out, "j1")
    stem = put_part(out, "ab", job="j1")
    assert counting_parts(out) == {} and list(counting_parts(out, with_open_job=True)) == [stem]
    assert read_log(out).open_job == "j1"
    close_job(job, "complete", gather(job, (), agree=False).parts)
    assert list(counting_parts(out)) == [stem] and read_log(out).open_job is None
    assert read_log(out).parts[stem].rows == {"images": 2, "detections": 4}
    late = put_part(out, "ab", job="j1")  # by a worker that was asleep
    assert list(counting_parts(out)) == [stem]
    run(out, "j2", "c")
    assert labelled_names(out) == ["a", "b", "c"] and late not in list_parts(out)


def test_closing_twice_is_closing_once(out):
    job = run(out, "j1", "a")
    before = read_log(out)
    close_job(job, "complete", {})
    close_early(job, "failed")
    assert read_log(out) == before and labelled_names(out) == ["a"]


def test_a_dead_job_is_taken_over_with_what_it_has_labelled(out):
    dead = begin(out, "j1")
    put_part(out, "ab", job="j1")
    job = begin(out, "j2")
    assert labelled_names(out) == ["a", "b"]  # of this moment on
    with pytest.raises(JobLostError, match="job j2 has taken over from job j1"):
        dead.check_open()
    put_part(out, "bc", job="j1")  # by a worker of the dead job
    with pytest.raises(JobLostError, match="job j2 has taken over"):
        close_early(dead, "failed")
    put_part(out, "c", job="j2")
    close_job(job, "complete", gather(job, (), agree=False).parts)
    assert labelled_names(out) == ["a", "b", "c"] and len(list_parts(out)) == 2


def test_repeats_of_a_dead_job_are_sorted_out_when_the_next_one_closes(out):
    """A bundle was tried twice, and images that had failed were labelled anew."""
    run(out, "j0", "abx", failed="ab")
    begin(out, "j1", may_repeat=True)
    put_part(out, "ac", job="j1", minute=1)
    put_part(out, "ac", job="j1", minute=2)
    job = begin(out, "j2")
    assert labelled_names(out) == ["a", "b", "x"] and len(read_log(out).adopted) == 2
    close_job(job, "complete", gather(job, (), agree=False).parts)
    assert labelled_names(out) == ["a", "b", "c", "x"] and labelled_names(out, status="failed") == ["b"]
    assert len(list_parts(out)) == len(counting_parts(out))


def test_a_dead_jobs_repeats_survive_a_second_death(out):
    begin(out, "j1")
    put_part(out, "ab", job="j1")
    put_part(out, "bc", job="j1", minute=1)
    begin(out, "j2")
    job = begin(out, "j3")
    close_job(job, "complete", gather(job, (), agree=False).parts)
    assert labelled_names(out) == ["a", "b", "c"]


def test_taking_over_reads_the_new_parts_alone(out, monkeypatch):
    run(out, "j1", "ab", "cd", "ef")
    begin(out, "j2")
    new, opened, whole = put_part(out, "gh", job="j2"), [], files.open_table
    monkeypatch.setattr(files, "open_table", lambda path: opened.append(path) or whole(path))
    begin(out, "j3")
    assert {path.rpartition("/")[2] for path in opened} == {f"{new}.parquet"}
    assert labelled_names(out) == list("abcdefgh")


def test_a_job_that_lives_is_not_taken_over(out):
    with at_work("j1"):
        begin(out, "j1", heartbeat=Heartbeat(out, "j1"))
        with pytest.raises(UsageError, match="job j1 is at work on it .*pid"):
            begin(out, "j2")
    begin(out, "j2")


def test_of_two_that_begin_at_once_one_wins(out):
    assert append(out, 0, {"entry": "begin", "job_id": "j1"})
    assert not append(out, 0, {"entry": "begin", "job_id": "j2"})
    assert read_log(out).open_job == "j1"


def test_a_folder_that_was_moved_away_is_not_made_anew(out, tmp_path):
    job = begin(out, "j1")
    (tmp_path / "labels [2024]*").rename(tmp_path / "moved")
    with pytest.raises(JobLostError, match="moved or deleted while job j1 was at work"):
        job.check_open()
    with pytest.raises(JobLostError, match="moved or deleted"):
        close_early(job, "failed")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_a_folder_is_bound_by_its_first_part(out):
    begin_job(out, "j1", LABEL_SET)
    other = begin_job(out, "j2", LabelSet({"detector": "other"}), dead_after_s=0)
    other.bind()
    assert read_label_set_file(out)["settings"] == {"detector": "other"}
    with pytest.raises(UsageError, match=r'detector \("other" there, "demo" now\)'):
        begin(out, "j3")


def test_a_setting_with_its_default_is_none(out):
    run(out, "j1", "a")
    newer = LabelSet({**LABEL_SET.settings, "tiles": 1}, {"tiles": 1})
    begin_job(out, "j2", newer, dead_after_s=0)
    with pytest.raises(UsageError, match=r"tiles \(1 there, 2 now\)"):
        begin_job(out, "j3", LabelSet({**newer.settings, "tiles": 2}, newer.defaults), dead_after_s=0)
    assert newer.fingerprint == LABEL_SET.fingerprint


@pytest.mark.parametrize("file", ["_label_set.json", "_log/00000001.json"])
def test_what_a_newer_labelbeam_wrote_is_refused(out, tmp_path, file):
    run(out, "j1", "a")
    path = tmp_path / "labels [2024]*" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(UsageError, match=f"{file}: written by a newer labelbeam .format version 2"):
        begin(out, "j2")


def test_a_damaged_entry_is_named(out):
    run(out, "j1", "a")
    with open(entry_path(out, 1), "w") as file:
        file.write("{")
    with pytest.raises(UsageError, match="00000001.json: damaged"):
        counting_parts(out)


@pytest.mark.parametrize("content", [None, b"", b"not a table", "a table of something else"])
def test_a_damaged_list_of_parts_is_named(out, content):
    run(out, "j1", "a")
    [path] = snapshots(out)
    if isinstance(content, str):
        pq.write_table(pa.table({content: [1]}), path)
    else:
        os.unlink(path) if content is None else Path(path).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{os.path.basename(path)}: damaged .*Restore this file"):
        counting_parts(out)


@pytest.mark.parametrize("how, why", [("gone", "no such file"), ("cut", "10 bytes, expected")])
@pytest.mark.parametrize("table", ["images", "detections"])
def test_damaged_files_are_named_before_anything_is_done(out, tmp_path, table, how, why):
    run(out, "j1", "a")
    [stem] = list_parts(out)
    path = tmp_path / "labels [2024]*" / table / f"{stem}.parquet"
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:10])
    for act in (lambda: counting_parts(out), lambda: begin(out, "j2")):
        with pytest.raises(DamagedPartError, match=f"{stem}.parquet: damaged .{why}.*labelbeam repair"):
            act()
    assert read_log(out).open_job is None


def test_a_copy_without_a_log_counts_as_it_is_and_is_taken_over(out, tmp_path):
    for stem in (put_part(out, "ab"), put_part(out, "cd")):
        assert stem in counting_parts(out)
    (tmp_path / "labels [2024]*" / "_label_set.json").write_text(json.dumps({"settings": dict(LABEL_SET.settings)}))
    run(out, "j1", "e")
    assert labelled_names(out) == ["a", "b", "c", "d", "e"]


def test_a_clean_up_deletes_only_what_is_ours_and_does_not_count(out, tmp_path):
    folder = tmp_path / "labels [2024]*"
    run(out, "j1", "ab")
    [kept] = list_parts(out)
    unfinished = put_part(out, "cd", job="j1")
    (folder / "images" / f"{unfinished}.parquet").unlink()
    ours = [
        f"images/.{kept}.parquet.0123abcd.tmp",
        f"masks_png/0a/.{'0' * 32}-7.png.0123abcd.tmp",
        "_jobs/.20260101T000000-abcdef.json.0123abcd.tmp",
        "_log/.00000001.json.0123abcd.tmp",
        "_log/stop-j1",
    ]
    others = [
        "images/.draft.odt.tmp",
        "images/notes.txt",
        "images/part-00000-of-00010.parquet",
        "images/part-of-another-job-0123456789ab.parquet",
        "thesis/.part-20260101T000000-abcdef-0123456789ab.parquet.deadbeef.tmp",
        "masks_png/0a/.mask.png.0123abcd.tmp",
        "_log/notes.json",
        "_log/.00000009.json.0123abcd.tmp",
        "_log/stop-another-job",
    ]
    for name in ours + others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert clean_up(out) == 5
    assert not any((folder / name).exists() for name in ours) and all((folder / name).exists() for name in others)
    assert not (folder / "detections" / f"{unfinished}.parquet").exists()
    assert (folder / "images" / f"{kept}.parquet").exists() and labelled_names(out) == ["a", "b"]
    assert clean_up(out) == 0


def test_a_clean_up_leaves_a_job_at_work_alone(out):
    run(out, "j1", "a")
    begin(out, "j2")
    stem = put_part(out, "b", job="j2")
    clean_up(out)
    assert stem in list_parts(out) and part_path(out, "images", stem)
