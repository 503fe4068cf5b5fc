import faulthandler
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.workers import in_flight as crash_notes
from labelbeam.transforms.workers.in_flight import notes_folder, open_notes, remove_notes
from labelbeam.transforms.workers.quarantine import ENTRY, Crash, InHand, find_candidates, judge, read_notes

A, B, C = map(image_id, "abc")
PATIENCE_S = 60  # for what must happen


@pytest.fixture
def output(tmp_path):
    yield str(tmp_path / "out")
    remove_notes(str(tmp_path / "out"))


def die(output, how, *, alone=False):
    """A process that has image `a` in the decoder of one thread and `b` in the model on another, and ends in the
    former.
    """
    script = textwrap.dedent("""
        import ctypes, os, signal, sys, threading
        from labelbeam.transforms.workers.in_flight import open_notes
        from labelbeam.transforms.elements import image_id

        output, how, alone = sys.argv[1:]
        notes = open_notes(output)

        def fall():
            if how == "segfault":
                ctypes.string_at(0)
            elif how == "foreign":  # a thread that Python doesn't know
                libc = ctypes.CDLL(None)
                libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.abort, None)
                threading.Event().wait()
            elif how == "exit":
                raise SystemExit
            else:
                os.kill(os.getpid(), getattr(signal, how))
                threading.Event().wait()

        def bystander():
            with notes.in_hand("model", [image_id("b")]):
                begun.set()
                threading.Event().wait()

        with notes.in_hand("decode", [image_id("c")]):
            pass  # no longer in hand
        begun = threading.Event()
        if alone == "no":
            threading.Thread(target=bystander, daemon=True).start()
            begun.wait()
        with notes.in_hand("decode", [image_id("a")]):
            fall()
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, output, how, "yes" if alone else "no"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def verdicts(output):
    """What a new process makes of it: (suspects, set aside)."""
    notes = open_notes(output)
    try:
        return {i for i in (A, B, C) if notes.is_suspect(i)}, {i: f for i in (A, B, C) if (f := notes.why_set_aside(i))}
    finally:
        notes.close()


class TestAfterACrash:
    def test_the_crashed_threads_image_is_suspect_and_set_aside_after_the_second(self, output, caplog):
        assert verdicts(output) == (set(), {})
        assert die(output, "segfault") == -signal.SIGSEGV
        assert verdicts(output) == ({A}, {})
        assert "SIGSEGV" in caplog.text
        die(output, "segfault", alone=True)
        suspects, set_aside = verdicts(output)
        assert not suspects and set(set_aside) == {A}
        assert set_aside[A].kind == "unsupported"
        assert "died 2 times" in set_aside[A].message and "SIGSEGV while it was decoded" in set_aside[A].message

    def test_a_foreign_thread_makes_all_in_hand_suspect_and_none_is_set_aside_for_another(self, output):
        assert die(output, "foreign") == -signal.SIGABRT
        [(table, dump)] = [
            (p.read_bytes(), p.with_suffix(".dump").read_text()) for p in notes_folder(output).glob("*.notes")
        ]
        leave_crash(output, "of-one-that-did-not-know", table, dump)
        assert verdicts(output) == ({A, B}, {})
        die(output, "foreign", alone=True)
        suspects, set_aside = verdicts(output)
        assert suspects == {B} and set(set_aside) == {A}
        assert "died 3 times" in set_aside[A].message and "SIGABRT" in set_aside[A].message

    @pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
    def test_nothing_follows_from_a_kill_and_its_files_are_swept(self, output, how):
        for _ in range(2):
            assert die(output, how) == -getattr(signal, how)
        assert len(list(notes_folder(output).iterdir())) == 2, "each start sweeps what the one before left"
        assert verdicts(output) == (set(), {})
        assert not list(notes_folder(output).iterdir())

    def test_an_orderly_end_leaves_nothing(self, output):
        assert die(output, "exit") == 0
        assert not list(notes_folder(output).iterdir())

    def test_the_end_of_the_job_forgets_crashes(self, output):
        die(output, "segfault")
        notes = open_notes(output)
        assert notes.is_suspect(A)
        remove_notes(output)
        assert not notes_folder(output).exists()
        assert verdicts(output) == (set(), {}), "though somebody still has the old notes"
        notes.close()

    def test_a_process_that_runs_learns_of_crashes_beside_it(self, output):
        notes = open_notes(output)
        die(output, "segfault")
        assert not notes.is_suspect(A)
        notes.refresh()
        assert notes.is_suspect(A)
        notes.close()


def leave_crash(output, name, table, dump="Fatal Python error: Aborted\n"):
    folder = notes_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.notes").write_bytes(table)
    (folder / f"{name}.dump").write_text(dump)


def entry(thread_id, stage, image):
    return ENTRY.pack(thread_id, stage, bytes.fromhex(image))


class TestDamage:
    @pytest.mark.parametrize(
        "table, dump",
        [
            (b"", "Fatal Python error: Aborted\n"),
            (entry(1, 2, A)[:-3], "Fatal Python error: Aborted\n"),
            (entry(1, 77, A), "Fatal Python error: Aborted\n"),
            (b"\xff" * ENTRY.size, "Fatal Python error: Aborted\n"),
            (entry(1, 2, A), "Fatal Pyth"),
            (entry(1, 2, A), "\0\xff\xfe no dump"),
        ],
    )
    def test_what_cannot_be_read_is_passed_over_with_a_warning(self, output, table, dump, caplog):
        leave_crash(output, "damaged", table, dump)
        leave_crash(output, "good", entry(1, 2, B))
        assert verdicts(output) == ({B}, {})
        assert (
            len([r for r in caplog.records if "damaged.notes" in r.getMessage() and r.levelno == logging.WARNING]) == 1
        )

    def test_a_dump_that_was_cut_short_names_no_thread_but_still_is_a_crash(self, output):
        leave_crash(
            output, "cut", entry(0x1F, 2, A) + entry(0x2F, 3, B), "Fatal Python error: Bus error\n\nCurrent thr"
        )
        assert verdicts(output)[0] == {A, B}

    def test_notes_without_a_dump_are_no_crash(self, output):
        leave_crash(output, "alone", entry(1, 2, A))
        (notes_folder(output) / "alone.dump").unlink()
        assert verdicts(output) == (set(), {})

    def test_where_nothing_can_be_written_work_goes_on(self, tmp_path, caplog):
        (tmp_path / "file").write_text("not a folder")
        was_enabled = faulthandler.is_enabled()
        notes = open_notes(str(tmp_path / "file"))
        with notes.in_hand("model", [A, B]):
            assert faulthandler.is_enabled() == was_enabled
        notes.close()
        assert "no notes can be kept" in caplog.text

    def test_a_full_disk_is_noticed_before_it_ends_the_process(self, tmp_path, caplog):
        folder = tmp_path / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(folder)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        try:
            notes = open_notes(str(folder))
            with notes.in_hand("model", [A]):
                pass
            notes.close()
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        assert "No space left on device" in caplog.text


class TestVerdicts:
    @pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"])
    def test_signals_by_their_names(self, tmp_path, name):
        with (tmp_path / "dump").open("wb") as dump:
            code = (
                "import faulthandler, os, signal, sys; faulthandler.enable(int(sys.argv[2])); "
                "os.kill(os.getpid(), getattr(signal, sys.argv[1]))"
            )
            subprocess.run([sys.executable, "-c", code, name, str(dump.fileno())], pass_fds=[dump.fileno()])
        assert find_candidates([], (tmp_path / "dump").read_text()).signal == name

    def test_kinds(self):
        decoder, model = Crash("SIGSEGV", {A: "decode"}), Crash("SIGABRT", {A: "model"})
        assert judge([decoder, decoder]).set_aside[A].kind == "unsupported"
        assert judge([model, model]).set_aside[A].kind == "inference"
        mixed = judge([Crash("SIGABRT", {A: "decode", B: "model"}), model])
        assert mixed.set_aside[A].kind == "inference" and mixed.suspects == {B}
        assert "SIGABRT in the model" in mixed.set_aside[A].message

    def test_the_crashed_thread_is_found_in_the_dumps_of_all_pythons(self):
        in_hand = [InHand(0xAB, "model", A), InHand(0xCD, "decode", B)]
        for line in (
            "Current thread 0x00000000000000cd (most recent call first):",
            "Current thread 0x000000cd [labelbeam-fetch] (most recent call first):",
        ):
            dump = (
                f"Fatal Python error: Illegal instruction\n\nThread 0xab (most recent call first):\n  x\n\n{line}\n  y"
            )
            assert find_candidates(in_hand, dump) == Crash("SIGILL", {B: "decode"})

    def test_a_crashed_thread_without_images_worked_for_another(self):
        dump = "Fatal Python error: Aborted\n\nCurrent thread 0x2 (most recent call first):"
        in_hand = [InHand(1, "model", A), InHand(3, "open", B)]
        assert find_candidates(in_hand, dump).candidates == {A: "model"}, "headers are read beside suspects"
        assert find_candidates(in_hand[1:], dump).candidates == {B: "open"}
        assert find_candidates(in_hand, dump.replace("0x2", "0x3")).candidates == {B: "open"}


class TestInOneProcess:
    def test_users_share_one_pair_of_files_until_the_last_closes(self, output):
        first, second = open_notes(output), open_notes(output)
        assert first is second and len(list(notes_folder(output).iterdir())) == 2
        first.close()
        assert len(list(notes_folder(output).iterdir())) == 2
        second.close()
        assert not list(notes_folder(output).iterdir())

    def test_the_table_holds_what_is_in_hand_and_no_more(self, output):
        notes = open_notes(output)
        [path] = notes_folder(output).glob("*.notes")
        many = [image_id(str(i)) for i in range(2000)]  # more than a new table has room for
        with notes.in_hand("model", many), ThreadWith(notes, "decode", [A]) as thread:
            found = read_notes(path.read_bytes())
            assert {i.image_id for i in found if i.stage == "model"} == set(many)
            assert {i.thread_id for i in found if i.stage == "model"} == {threading.get_ident()}
            assert [i for i in found if i.stage == "decode"] == [InHand(thread.ident, "decode", A)]
        assert read_notes(path.read_bytes()) == []
        size = path.stat().st_size
        with notes.in_hand("model", many):
            assert path.stat().st_size == size, "room is used again"
        notes.close()

    def test_an_error_ends_the_entry(self, output):
        notes = open_notes(output)
        with pytest.raises(ZeroDivisionError), notes.in_hand("decode", [A]):
            raise ZeroDivisionError
        [path] = notes_folder(output).glob("*.notes")
        assert read_notes(path.read_bytes()) == []
        notes.close()

    def test_a_suspect_is_worked_on_alone(self, output):
        leave_crash(output, "crash", entry(1, 2, A))
        notes = open_notes(output)
        with ThreadWith(notes, "model", [B]):
            suspect = ThreadWith(notes, "decode", [A])
            suspect.start()
            assert not suspect.begun.wait(0.1), "waits for what was in hand"
            other = ThreadWith(notes, "decode", [C])
            other.start()
            assert not other.begun.wait(0.1), "and isn't overtaken"
        assert suspect.begun.wait(PATIENCE_S)
        assert not other.begun.wait(0.1)
        suspect.end()
        assert other.begun.wait(PATIENCE_S)
        other.end()
        with ThreadWith(notes, "model", [A]), notes.in_hand("open", [A]), notes.in_hand("open", [B]):
            pass  # reading goes on meanwhile
        notes.close()

    def test_faulthandler_is_given_back(self, output, tmp_path):
        script = textwrap.dedent("""
            import faulthandler, sys
            from labelbeam.transforms.workers.in_flight import open_notes
            if sys.argv[1] == "before":
                faulthandler.enable()
            notes, other = open_notes(sys.argv[2]), open_notes(sys.argv[2] + "-other")
            assert faulthandler.is_enabled()
            other.close()
            assert faulthandler.is_enabled()
            notes.close()
            print(faulthandler.is_enabled())
        """)
        for before, after in (("before", "True"), ("never", "False")):
            assert subprocess.check_output([sys.executable, "-c", script, before, output], text=True).strip() == after

    def test_a_forked_child_has_no_part_in_its_parents_notes(self, output):
        notes = open_notes(output)
        context = multiprocessing.get_context("fork")
        ready, go = context.Event(), context.Event()

        def child():
            ready.set()
            go.wait(PATIENCE_S)
            os._exit(0 if not faulthandler.is_enabled() and not crash_notes._open else 1)

        process = context.Process(target=child)
        process.start()
        assert ready.wait(PATIENCE_S)
        notes.close()
        assert not list(notes_folder(output).iterdir())
        go.set()
        process.join(PATIENCE_S)
        assert process.exitcode == 0


class ThreadWith(threading.Thread):
    """A thread that has images in hand until it is told to end."""

    def __init__(self, notes, stage, image_ids):
        super().__init__(daemon=True)
        self.notes, self.stage, self.image_ids = notes, stage, image_ids
        self.begun, self.told = threading.Event(), threading.Event()

    def run(self):
        with self.notes.in_hand(self.stage, self.image_ids):
            self.begun.set()
            self.told.wait(PATIENCE_S)

    def end(self):
        self.told.set()
        self.join(PATIENCE_S)

    def __enter__(self):
        self.start()
        assert self.begun.wait(PATIENCE_S)
        return self

    def __exit__(self, *_):
        self.end()


def test_no_output_folder_no_notes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    was_enabled = faulthandler.is_enabled()
    notes = open_notes(None)
    with notes.in_hand("model", [A]):
        assert faulthandler.is_enabled() == was_enabled and not list(tmp_path.iterdir())
    assert not notes.is_suspect(A) and notes.why_set_aside(A) is None
    notes.close()


def test_notes_of_a_store_lie_on_the_workers_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = notes_folder("gs://bucket/labels")
    assert folder.parent == tmp_path
    assert folder == notes_folder("gs://bucket/labels/") != notes_folder("gs://bucket/other")
