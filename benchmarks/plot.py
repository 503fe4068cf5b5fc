"""A plot of figures: one bar for each, on a logarithmic axis, as many times as good as its peer, with its goal."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from .figures import Figure

MET, MISSED, INK, FAINT, PAPER = "#2a7f9e", "#c2703d", "#24292f", "#8a939c", "#ffffff"
BAR_INCHES, WIDTH_INCHES = 0.46, 11.0


def plot_ratios(figures: Sequence[Figure], files: Sequence[Path]) -> None:
    """Writes the plot to each file, in the format that its name ends in. Paper of its own colour: readable on any page.

    Args:
      figures: from the top down; none are no plot.
    """
    if not figures:
        return
    matplotlib.use("Agg")
    from matplotlib import patches, pyplot

    with pyplot.rc_context(
        {
            "font.size": 9,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "svg.fonttype": "none",
        }
    ):
        canvas, axes = pyplot.subplots(
            figsize=(WIDTH_INCHES, 1.3 + BAR_INCHES * len(figures)), layout="constrained", facecolor=PAPER
        )
        ratios = [figure.times_as_good for figure in figures]
        goals = [figure.goal for figure in figures if figure.goal is not None]
        places = range(len(figures))
        axes.set_facecolor(PAPER)
        colours = [MET if figure.times_as_good >= (figure.goal or 1) else MISSED for figure in figures]
        axes.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.56, color=colours)
        axes.set_xscale("log")
        axes.set_xlim(min(*ratios, *goals, 0.8) / 1.3, max(*ratios, *goals, 1.25) * 1.9)
        axes.axvline(1, color=INK, linewidth=1)
        for place, figure in enumerate(figures):
            right = max(figure.times_as_good, figure.goal or 0, 1)
            axes.annotate(
                f"{figure.times_as_good:.3g}×",
                (right, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        legend = []
        marked = [(figure.goal, place) for place, figure in enumerate(figures) if figure.goal is not None]
        if marked:
            legend += axes.plot(
                *zip(*marked), linestyle="none", marker="|", markersize=17, markeredgewidth=2, color=INK, label="goal"
            )
        if MISSED in colours:
            legend.append(patches.Patch(color=MISSED, label="short of the goal; of the peer, where there is no goal"))
        if legend:
            axes.legend(handles=legend, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        axes.set_yticks(places, [f"{figure.what}\nagainst {figure.peer}" for figure in figures], fontsize=8)
        axes.set_ylim(len(figures) - 0.3, -0.7)  # the first on top; no room for bars that aren't there
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.grid(axis="x", which="major", color=FAINT, alpha=0.35, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel("times as good as the peer (faster, or smaller)")
        for file in files:
            canvas.savefig(file, dpi=130, facecolor=PAPER)
        pyplot.close(canvas)
