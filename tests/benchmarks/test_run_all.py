import json
import sys

import pytest

from benchmarks import run_all
from benchmarks.figures import Figure, figures_table
from benchmarks.plot import plot_ratios
from benchmarks.run_all import Script


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `run_all` over some scripts; returns its exit code, figures.json and figures.md."""

    def run(*scripts):
        monkeypatch.setattr(run_all, "SCRIPTS", scripts)
        monkeypatch.setattr(sys, "argv", ["run_all", "--quick", "--output", str(tmp_path), "--saved-models", ""])
        code = run_all.main()
        return code, json.loads((tmp_path / "figures.json").read_text()), (tmp_path / "figures.md").read_text()

    return run


def test_scripts_that_fail_or_lack_something_are_named(run, tmp_path):
    code, found, page = run(
        Script("no_such_script"), Script("figures"), Script("detectors.saved_model_on_cpus", needs="saved_models")
    )
    assert code == 1 and [script["figures"] for script in found["scripts"]] == [[], [], []]
    assert "`no_such_script`: exit code 1" in page and "`figures`: gave no figures" in page
    assert (
        page.index("Left out") < page.index("`detectors.saved_model_on_cpus`: needs SavedModels") < page.index("Failed")
    )
    assert "No module named" in (tmp_path / "no_such_script.log").read_text()


def test_what_is_left_out_is_no_failure(run):
    assert run(Script("detectors.keras_on_accelerator", needs="accelerator"))[0] == 0


@pytest.mark.heavy
def test_figures_of_the_others_are_kept(run, tmp_path):
    code, found, page = run(Script("detectors.keras_costs"), Script("no_such_script"))
    assert code == 1 and len(found["scripts"][0]["figures"]) == 3 and "CenterNet" in page and "GMAC" in page
    assert (tmp_path / "figures.png").stat().st_size > 10_000 and "CenterNet" in (tmp_path / "figures.svg").read_text()


FIGURES = [
    Figure("reading", "a loop", "images/s", 2420.4, 47.81, True, 198, 190.6, goal=25),
    Figure("masks", "the published way", "ms", 10, 5, False),
]


def test_the_table_has_both_sides_the_ratio_the_goal_and_memory():
    head, _, first, second = figures_table([("fetching", FIGURES[0]), ("masks", FIGURES[1])]).splitlines()
    assert head.startswith("| measured by | what | peer |")
    assert (
        first == "| fetching | reading | a loop | 2,420 images/s | 47.8 images/s | 50.63× | ≥ 25× | 198 against 191 |"
    )
    assert second == "| masks | masks | the published way | 10 ms | 5 ms | 0.50× |  |  |"
    assert figures_table([(None, FIGURES[0])]).startswith("| what | peer |")


def test_the_plot_names_every_figure_and_marks_goals(tmp_path):
    plot_ratios(FIGURES, [tmp_path / "plot.svg"])
    text = (tmp_path / "plot.svg").read_text()
    assert all(
        words in text for words in ("reading", "against a loop", "50.6×", "masks", "0.5×", "goal", "short of the goal")
    )
