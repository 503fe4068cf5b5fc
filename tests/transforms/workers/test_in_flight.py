import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.workers.in_flight import in_flight_of, journals_folder, remove_journals

A, B, C = map(image_id, "abc")
WAIT_S = 60  # for what must happen


@pytest.fixture
def output(tmp_path):
    yield str(tmp_path / "out")
    remove_journals(str(tmp_path / "out"))


def journals(output):
    return sorted(journals_folder(output).glob("*"))


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, timeout=WAIT_S
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def die(output, how, *, alone=False, limited=False):
    """A process that decodes image `a` and has `b` in the model on another thread, and then ends."""
    return run(
        """
        import ctypes, os, resource, signal, sys, threading
        from labelbeam.labelset.rows import image_id
        from labelbeam.transforms.workers.in_flight import in_flight_of

        output, how, alone, limited = sys.argv[1:]
        ballast = bytearray(100 << 20)
        if limited == "yes":
            size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + (16 << 20), size + (16 << 20)))
        in_flight = in_flight_of(output)

        def bystander():
            with in_flight.work("model", [image_id("b")]):
                begun.set()
                threading.Event().wait()

        with in_flight.work("decode", [image_id("c")]):
            pass  # no longer in flight
        begun = threading.Event()
        if alone == "no":
            threading.Thread(target=bystander, daemon=True).start()
            begun.wait()
        with in_flight.work("decode", [image_id("a")]):
            if how == "exit":
                raise SystemExit
            if how == "foreign":  # a thread that Python doesn't know
                libc = ctypes.CDLL(None)
                libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.abort, None)
            elif how == "hang":
                in_flight.note_hanging([image_id("b")], 30)
                os._exit(1)
            else:
                os.kill(os.getpid(), getattr(signal, how))
            threading.Event().wait()
        """,
        output,
        how,
        "yes" if alone else "no",
        "yes" if limited else "no",
    )


def verdicts(output):
    """What is known in a new process: the images to run alone, those quarantined, the share of budgets."""
    script = """
        import json, sys
        from labelbeam.transforms.workers.in_flight import in_flight_of
        in_flight = in_flight_of(sys.argv[1])
        ids = sys.argv[2:]
        quarantined = {i: failure.kind for i in ids if (failure := in_flight.quarantined(i))}
        print(json.dumps([[i for i in ids if in_flight.runs_alone(i)], quarantined, in_flight.budget_share]))
    """
    printed = subprocess.check_output([sys.executable, "-c", textwrap.dedent(script), output, A, B, C], text=True)
    alone, quarantined, share = json.loads(printed)
    return set(alone), quarantined, share


def test_images_in_flight_at_a_crash_run_alone_and_the_one_that_crashes_again_is_quarantined(output):
    assert verdicts(output) == (set(), {}, 1)
    assert die(output, "SIGSEGV") == -signal.SIGSEGV
    assert verdicts(output) == ({A, B}, {}, 1)
    assert die(output, "foreign", alone=True) == -signal.SIGABRT
    assert verdicts(output) == ({B}, {A: "unsupported"}, 1)
    remove_journals(output)
    assert not journals_folder(output).exists()
    assert verdicts(output) == (set(), {}, 1)


def test_a_model_that_did_not_answer(output):
    assert die(output, "hang") == 1
    assert verdicts(output) == ({B}, {}, 1)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_nothing_follows_from_a_kill_and_its_journal_goes(output, how):
    assert die(output, how) == -getattr(signal, how)
    assert len(journals(output)) == 1
    assert verdicts(output) == (set(), {}, 1)
    assert not journals(output)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system doesn't tell an address space")
def test_an_abort_for_lack_of_memory_halves_budgets_and_blames_nobody(output):
    assert die(output, "SIGABRT", alone=True, limited=True) == -signal.SIGABRT
    assert verdicts(output) == (set(), {}, 0.5)
    assert die(output, "SIGABRT", alone=True, limited=True) == -signal.SIGABRT
    assert verdicts(output) == (set(), {}, 0.25)


def test_an_orderly_end_leaves_nothing(output):
    assert die(output, "exit") == 0
    assert not journals(output)


def test_a_process_that_runs_learns_of_deaths_beside_it(output):
    in_flight = in_flight_of(output)
    die(output, "SIGSEGV")
    assert not in_flight.runs_alone(A)
    in_flight.refresh()
    assert in_flight.runs_alone(A)
    assert in_flight_of(output) is in_flight
    assert verdicts(output)[0] == {A, B}, "and the journal of this one, which lives, says nothing"


def test_a_journal_is_bounded_and_keeps_what_is_in_flight(output):
    many = [image_id(str(i)) for i in range(1000)]
    in_flight = in_flight_of(output)
    with in_flight.work("decode", [A]):
        sizes = []
        for _ in range(150):
            with in_flight.work("model", many):
                pass
            [journal] = journals(output)
            sizes.append(journal.stat().st_size)
        assert max(sizes) < 5 << 20 and sizes[-1] < max(sizes), "it was begun anew"
        assert f"+ decode {A}\n" in journal.read_text()


def test_an_error_ends_the_work(output):
    in_flight = in_flight_of(output)
    with pytest.raises(ZeroDivisionError), in_flight.work("decode", [A]):
        raise ZeroDivisionError
    assert journals(output)[0].read_text().splitlines()[-1] == f"- {A}"


@pytest.mark.parametrize("text", ["\0\xff\xfe", "[]\n", "{}\n"])
def test_a_journal_that_cannot_be_read_is_passed_over_with_a_warning(output, text, caplog):
    die(output, "SIGSEGV")
    (journals_folder(output) / "damaged.journal").write_text(text)
    in_flight = in_flight_of(output)
    in_flight.refresh()
    assert in_flight.runs_alone(A)
    assert len([record for record in caplog.records if "damaged.journal" in record.getMessage()]) == 1


def test_where_nothing_can_be_written_work_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    in_flight = in_flight_of(str(tmp_path / "file"))
    with in_flight.work("model", [A, B]):
        pass
    assert "no journal can be kept" in caplog.text


def test_a_full_disk_ends_the_journal_not_the_work(output, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    in_flight = in_flight_of(output)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))  # writing fails as on a full disk
    try:
        with in_flight.work("model", [A]):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "no journal can be kept" in caplog.text and not journals(output)


def test_a_forked_child_has_no_part_in_its_parents_journal(output):
    in_flight = in_flight_of(output)
    with in_flight.work("model", [A]):
        child = os.fork()
        if not child:
            with in_flight.work("decode", [B]):
                in_flight.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        [journal] = journals(output)
        assert A in journal.read_text() and B not in journal.read_text()


def test_no_output_folder_no_journal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    in_flight = in_flight_of(None)
    with in_flight.work("model", [A]):
        assert not list(tmp_path.iterdir())
    assert not in_flight.runs_alone(A) and in_flight.quarantined(A) is None and in_flight.budget_share == 1


def test_journals_of_a_store_lie_on_the_workers_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = journals_folder("gs://bucket/labels")
    assert folder.parent == tmp_path
    assert folder == journals_folder("gs://bucket/labels/") != journals_folder("gs://bucket/other")
