"""A model that doesn't answer, in real processes."""

import subprocess
import sys
import textwrap

import pytest
from labelbeam.transforms.workers.in_flight import remove_journals

START = """
    import os, sys, threading, time
    from labelbeam.transforms.elements import ImageReference
    from labelbeam.transforms.workers import model_watch
    from labelbeam.transforms.workers.in_flight import in_flight_of

    output, what = sys.argv[1:]
    model_watch.WARN_AFTER_S = 0.5
    good, bad = ImageReference("good.jpg"), ImageReference("bad.jpg")
    in_flight = in_flight_of(output)
    watch = model_watch.ModelWatch(in_flight, 3600.0)

    def call(reference, seconds):
        with in_flight.work("model", [reference.image_id]), watch.call([reference]):
            time.sleep(seconds)

    if in_flight.quarantined(bad.image_id):
        print("quarantined")
    if what == "good first":
        call(good, 0.01)
    threading.Timer(3, os._exit, [7]).start()  # as at a second Ctrl-C
    call(bad, 60)
"""


@pytest.fixture
def start(tmp_path):
    def run(what="good first"):
        command = [sys.executable, "-c", textwrap.dedent(START), str(tmp_path / "out"), what]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.strip(), done.stderr

    yield run
    remove_journals(str(tmp_path / "out"))


@pytest.mark.heavy
def test_an_image_that_a_process_was_ended_for_has_until_the_warning(start):
    code, _, errors = start()
    assert code == 7 and "hasn't answered for" in errors and "bad.jpg" in errors, "a warning alone"
    code, printed, errors = start()
    assert (code, printed) == (1, "") and "again, which is once too often" in errors
    assert start()[1] == "quarantined"


@pytest.mark.heavy
def test_the_first_call_of_a_process_may_take_its_time(start):
    start()
    assert start("nothing first")[0] == 7, "it may compile the model"
