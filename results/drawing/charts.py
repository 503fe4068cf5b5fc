"""The geometry of column charts: from numbers to rectangles, gridlines and labels, which a template draws as SVG.

Not a plotting library: one kind of chart, of one size, which scales with the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 360, 176  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 354, 12, 148  # of the plot


class Column(NamedTuple):
    """A rectangle, and what it stands for in words."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Label(NamedTuple):
    """Text at a place on an axis; `anchor` as SVG has it."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class ColumnChart:
    """What is to be drawn.

    Attributes:
      description: of the whole chart, for those who can't see it.
      columns: from left to right.
      gridlines: labels of the vertical axis, `at` their y.
      labels: of the horizontal axis, `at` their x.
      pauses: x of breaks in the horizontal axis.
    """

    description: str
    columns: list[Column]
    gridlines: list[Label]
    labels: list[Label]
    pauses: Sequence[float] = ()


def column_chart(
    description: str,
    values: Sequence[float],
    titles: Sequence[str],
    labels: Sequence[Label],
    edges: Sequence[tuple[float, float]] | None = None,
    pauses: Sequence[float] = (),
    square_roots: bool = False,
) -> ColumnChart:
    """Lays out a chart.

    Args:
      values: `[N]`, none negative.
      titles: `[N]`, what each column says when it's pointed at.
      labels: of the horizontal axis, `at` in [0, 1] from left to right.
      edges: `[N]`, left and right edge of each column in [0, 1]; without, they share the axis evenly.
      pauses: where the axis is broken, in [0, 1].
      square_roots: heights grow with the values' square roots, so that few can be seen beside many.
    """
    edges = edges or [(i / len(values), (i + 1) / len(values)) for i in range(len(values))]
    top = nice_ceiling(max(values, default=0))
    exponent = 0.5 if square_roots else 1
    columns = []
    for value, title, (start, end) in zip(values, titles, edges, strict=True):
        height = (value / top) ** exponent * (BOTTOM - TOP)
        gap = min(2.0, 0.2 * (_x(end) - _x(start)))
        columns.append(
            Column(
                round(_x(start) + gap / 2, 2),
                round(BOTTOM - height, 2),
                round(_x(end) - _x(start) - gap, 2),
                round(height, 2),
                title,
            )
        )
    shares = (0, 0.25, 1) if square_roots else (0, 0.5, 1)
    gridlines = [
        Label(round(BOTTOM - share**exponent * (BOTTOM - TOP), 2), short_number(share * top)) for share in shares
    ]
    return ColumnChart(
        description,
        columns,
        gridlines,
        [label._replace(at=round(_x(label.at), 2)) for label in labels],
        [round(_x(pause), 2) for pause in pauses],
    )


def nice_ceiling(value: float) -> float:
    """The next number of the form 1, 2, 4, 6, 8, 10 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 < value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def short_number(value: float) -> str:
    """`1.5k`, `20M`: for an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _x(share: float) -> float:
    return LEFT + share * (RIGHT - LEFT)
