"""The one table: goal, figure, ratio, spread, and whether the goal is met."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measures import Figures

HEAD = ("goal", "figure", "ratio", "spread", "met")


@dataclass(frozen=True)
class Row:
    """A goal and what was seen; ``met`` is None where there is nothing to meet."""

    goal: str
    figure: str
    ratio: str = ""
    spread: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        words = {True: "yes", False: "no", None: ""}
        return self.goal, self.figure, self.ratio, self.spread, words[self.met]


def ratio_row(goal: str, figure: str, ratio: Figures, *, most: float = 0, least: float = 0) -> Row:
    """Return the row of a ratio that is to be at most, or at least, so much."""
    met = ratio.median <= most if most else ratio.median >= least
    return Row(goal, figure, number(ratio.median), spread(ratio), met)


def figure_row(goal: str, figures: Figures, unit: str, *, most: float = 0, least: float = 0) -> Row:
    """Return the row of a figure that is to be at most, or at least, so much."""
    met = figures.median <= most if most else figures.median >= least
    return Row(goal, f"{number(figures.median)} {unit}", "", spread(figures), met)


def spread(figures: Figures) -> str:
    """Return the least and the greatest value."""
    least, greatest = figures.spread
    return f"{number(least)} to {number(greatest)}" if len(figures.values) > 1 else ""


def number(value: float) -> str:
    """Return a number with three digits that mean something."""
    if abs(value) >= 1000:
        return f"{round(value, -len(str(int(abs(value)))) + 3):,.0f}"
    return f"{value:.3g}"


def text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for a document."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
