"""What counts is never wrong, in whatever order jobs take their steps, and wherever they die: see `interleaving.py`."""

import itertools
import random
from dataclasses import replace

import pytest
from labelbeam.labelset import begin, clean_up, close, log, parts

from tests.labelset.interleaving import IMAGES, MemoryStore, Play, Violation, job, stray

ACTORS = {"first": 0, "second": 1, "stray": 2, "last": 3}
MAX_STEPS = 75  # that a job takes, about


def play(monkeypatch, schedule, again=False):
    """Runs (actor, steps) one after the other, then a last job that finds what is left; returns the number of steps.

    The first job writes each image twice, as a runner does that tries again; the second one labels images that have a
    row, if `again`.
    """
    with monkeypatch.context() as patch:
        told = []
        first = job("j1", twice=True, on_begin=lambda *what: told.append(what))
        actors = first, job("j2", again=again), stray(told), job("j4")
        stage = Play(patch, *actors)
        try:
            for actor, steps in schedule:
                stage.run(ACTORS[actor], steps)
            stage.run(ACTORS["last"])
            stems, entry = stage.store.counting()
            assert entry["entry"] == "close" and entry["job_id"] == "j4"
            assert sorted(name for stem in stems for name in stage.store.images[stem]) == sorted(IMAGES)
            return sum(stage.steps.values())
        finally:
            stage.close()


def two_pauses(every, firsts=None, seconds=None):
    """The first job pauses or dies at a step, the second one runs for a while, the first goes on, the second ends."""
    for first in firsts or range(1, MAX_STEPS, every):
        for second in seconds or range(1, MAX_STEPS, every):
            yield [("first", first), ("second", second), ("first", MAX_STEPS * 9), ("second", MAX_STEPS * 9)]
            yield [("first", first), ("second", second), ("stray", 9), ("first", 2 * every)]


def at_random(number, seed=0):
    rng = random.Random(seed)
    for _ in range(number):
        yield [(rng.choice(("first", "second", "second", "first", "stray")), rng.randint(1, 40)) for _ in range(12)]


def test_one_pause_or_death_anywhere(monkeypatch):
    for steps in range(1, MAX_STEPS, 5):
        play(monkeypatch, [("first", steps), ("second", 999), ("first", 999)])
        play(monkeypatch, [("first", steps)])


@pytest.mark.heavy
def test_orders_drawn_at_random(monkeypatch):
    for schedule in at_random(30):
        play(monkeypatch, schedule)


@pytest.mark.heavy
def test_jobs_that_label_again_what_has_a_row(monkeypatch):
    for steps in range(1, MAX_STEPS, 6):
        play(monkeypatch, [("first", 999), ("second", steps)], again=True)
        play(monkeypatch, [("first", steps), ("second", steps), ("first", 999), ("second", 999)], again=True)


@pytest.mark.heavy
def test_two_pauses_anywhere_and_many_orders(monkeypatch):
    orders = steps = 0
    one_pause = ([("first", n), ("second", 999), ("first", 999)] for n in range(1, MAX_STEPS))
    for schedule in itertools.chain(one_pause, two_pauses(every=5), at_random(300, seed=1)):
        steps += play(monkeypatch, schedule)
        orders += 1
    print({"orders": orders, "steps": steps})


def overwrites_an_entry(patch):
    def create(store, path, data):
        store.write_atomically(path, data)
        return True

    patch.setattr(MemoryStore, "create_exclusive", create)


def closes_without_a_look(patch):
    def append(output, number, *args):
        return log.append(output, log.last_number(output) + 1, *args)

    patch.setattr(close, "append", append)
    patch.setattr(close, "find_entry", lambda output, number: None)
    patch.setattr(begin.OpenJob, "check_open", lambda job: None)


def deletes_before_the_close(patch):
    def append(output, number, entry, counting=(), *args):
        counting = list(counting)
        named = {part.stem for part in counting}
        listed = parts.list_parts(output).items()
        parts.delete_parts(output, {stem: tables for stem, tables in listed if stem not in named})
        return log.append(output, number, entry, counting, *args)

    patch.setattr(close, "append", append)


def cleans_up_by_name(patch):
    patch.setattr(clean_up, "find_jobs", lambda output, job_ids: set(job_ids))
    patch.setattr(clean_up, "job_of", lambda stem: "anybody")


def cleans_up_what_is_open(patch):
    def read_log(output):
        return replace(log.read_log(output), open_job=None, adopted={})

    patch.setattr(clean_up, "read_log", read_log)


def cleans_up_by_a_log_read_before_listing(patch):
    read_before = []

    def list_parts(output):
        read_before.append(log.read_log(output))
        return parts.list_parts(output)

    patch.setattr(clean_up, "list_parts", list_parts)
    patch.setattr(clean_up, "read_log", lambda output: read_before.pop())


def takes_over_what_repeats(patch):
    taken_over = begin.taken_over

    def all_of_it(*args):
        kept, adopted = taken_over(*args)
        return kept + adopted, []

    patch.setattr(begin, "taken_over", all_of_it)


@pytest.mark.parametrize(
    "mutation",
    [
        overwrites_an_entry,
        closes_without_a_look,
        deletes_before_the_close,
        cleans_up_by_name,
        cleans_up_what_is_open,
        cleans_up_by_a_log_read_before_listing,
        takes_over_what_repeats,
    ],
)
@pytest.mark.heavy
def test_mutations_of_the_code_are_caught(monkeypatch, mutation):
    with pytest.raises(Violation), monkeypatch.context() as patch:
        mutation(patch)
        # First and last: the first job has just closed and is about to clean up; the second has closed, or is about to.
        for schedule in itertools.chain(
            ([("first", n), ("second", MAX_STEPS * 9), ("first", MAX_STEPS * 9)] for n in range(38, MAX_STEPS)),
            two_pauses(every=7, seconds=(10, 40)),
            two_pauses(every=1, firsts=range(38, 46), seconds=range(22, 29)),
        ):
            play(patch, schedule)
