import json

import pytest
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.workers.quarantine import MAX_HALVINGS, Death, judge, read_death

A, B, C = map(image_id, "abc")
DUMP = "\nCurrent thread 0x00007f (most recent call first):\n  File x.py, line 1 in f\n"


def death(*lines, oom_kills=0, noted=0):
    return read_death("1.journal", "\n".join([json.dumps({"oom_kills": noted}), *lines]), oom_kills)


def crash(word="Aborted"):
    return f"Fatal Python error: {word}{DUMP}"


class TestReadDeath:
    def test_candidates_are_the_images_in_flight_at_the_end(self):
        found = death(f"+ decode {A}", f"+ model {B} {C}", f"- {A}", f"+ open {A}", f"- {B}", crash())
        assert found == Death("SIGABRT", {C: "model"})

    def test_headers_count_where_there_is_nothing_else(self):
        assert death(f"+ open {A}", crash()).candidates == {A: "open"}

    @pytest.mark.parametrize(
        "word, cause",
        [("Segmentation fault", "SIGSEGV"), ("Bus error", "SIGBUS"), ("Illegal instruction", "Illegal instruction")],
    )
    def test_signals_by_their_names(self, word, cause):
        assert death(f"+ model {A}", crash(word)).cause == cause

    def test_somebody_killed_it(self):
        assert death(f"+ model {A}") is None
        assert death(f"+ model {A}", oom_kills=3, noted=3) is None

    def test_the_out_of_memory_killer(self):
        killed = death(f"+ model {A}", oom_kills=4, noted=3)
        assert killed.memory_event is not None and killed.candidates == {A: "model"}
        assert death(f"+ model {B}", oom_kills=9, noted=3).memory_event == killed.memory_event, "one event"

    def test_an_abort_where_memory_is_short(self):
        assert death("~ 91", f"+ model {A}", crash()).memory_event is not None
        assert death("~ 91", f"+ model {A}", "~ 40", f"- {A}", f"+ model {B}", crash()).memory_event is None

    def test_a_model_that_does_not_answer(self):
        lines = [f"+ model {A}", f"+ model {B} {C}", f"? 30 {B} {C}"]
        assert death(*lines) == Death("no answer for 30 s", {B: "model", C: "model"})
        assert death(*lines, f"- {B} {C}") is None, "it did answer"

    @pytest.mark.parametrize("journal", ["", "\n", "[]\n", "{}\n", '{"oom_kills": "x"}\n', "\0\xff"])
    def test_what_is_no_journal(self, journal):
        with pytest.raises(ValueError):
            read_death("x", journal, 0)

    @pytest.mark.parametrize("line", ["+", "+ decode", "+ other x", "?", "~", "~ x", "-", f"+ model {A[:-1]}", "\0\0"])
    def test_torn_lines_are_passed_over(self, line):
        assert death(f"+ model {B}", crash(), line).candidates == {B: "model"}


class TestJudge:
    def test_candidates_run_alone(self):
        verdicts = judge([Death("SIGSEGV", {A: "decode", B: "model"})])
        assert verdicts.alone == {A, B} and not verdicts.quarantined and verdicts.halvings == 0

    def test_two_deaths_one_of_them_alone_and_no_bystander(self):
        together, alone = Death("SIGSEGV", {A: "model", B: "model"}), Death("SIGABRT", {A: "model"})
        assert judge([together, together]).alone == {A, B}, "neither was alone"
        assert judge([alone]).alone == {A}, "once isn't enough"
        verdicts = judge([together, alone])
        assert verdicts.alone == {B} and set(verdicts.quarantined) == {A}
        assert verdicts.quarantined[A].kind == "inference"
        assert "died 2 times" in verdicts.quarantined[A].message
        assert "SIGABRT and SIGSEGV in the model" in verdicts.quarantined[A].message

    def test_the_decoders_fault(self):
        verdicts = judge([Death("SIGSEGV", {A: "decode"}), Death("SIGSEGV", {A: "decode"})])
        assert verdicts.quarantined[A].kind == "unsupported"
        assert "SIGSEGV while it was decoded" in verdicts.quarantined[A].message

    def test_lack_of_memory_halves_budgets_and_blames_nobody(self):
        deaths = [Death("SIGABRT", {A: "model"}, f"journal {i}") for i in range(MAX_HALVINGS)]
        for n in range(MAX_HALVINGS + 1):
            verdicts = judge(deaths[:n])
            assert verdicts.halvings == n and not verdicts.alone and not verdicts.quarantined

    def test_processes_that_died_of_one_event_halve_once(self):
        assert judge([Death("killed", {A: "model"}, "kill 4"), Death("killed", {B: "model"}, "kill 4")]).halvings == 1

    def test_an_image_that_needs_too_much_alone_is_found_out_when_budgets_cannot_be_halved_any_more(self):
        deaths = [Death("SIGABRT", {A: "model"}, f"journal {i}") for i in range(MAX_HALVINGS + 2)]
        assert judge(deaths[:-1]).alone == {A}
        assert set(judge(deaths).quarantined) == {A} and judge(deaths).halvings == MAX_HALVINGS
