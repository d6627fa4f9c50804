"""Plots over time: columns that stand on each other or hang below, and a strip of spans.

What is drawn is stretched to the width there is and has no text in it; the text of the axes is HTML
around it, and so of one size on any screen. Figures are in the titles of columns and in a table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle, islice

from journalrelay.reporting.markup import number, short, table, text
from journalrelay.reporting.span import Span

SERIES = 6  # that can be told apart by their colours
_NUMBERS = range(1, SERIES + 1)
_REST = "others"
_GRID = 4  # lines above the axis, or on both sides of it
_FEW, _USUAL, _CUT = 8, 0.95, 4  # see _ceiling()
_APART = 0.09  # of the axis' length: so far are the figures of cut columns from each other

Counts = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Plot:
    """A plot of counts by name and bin: ``unit`` is what is counted. The first name has the colour
    of number ``first``; those named ``below`` hang from the axis. ``label`` names it in the page.
    """

    label: str
    title: str
    unit: str
    counts: Counts
    first: int = 1
    below: tuple[str, ...] = ()
    note: str = ""


class _Scale:
    """How high columns are: the axis reaches from ``-deep`` to ``most``, in steps."""

    def __init__(self, sums: Sequence[int], depths: Sequence[int]) -> None:
        most, deep = _ceiling(sums), _ceiling(depths)
        self.step = _step(max(most, deep))
        self.most = self.step * (most // self.step + 1)
        self.deep = self.step * -(-deep // self.step)

    def height(self, count: int) -> float:
        """Return how high a count is, of the 100 that the picture is high."""
        return 100 * count / (self.most + self.deep)

    def values(self) -> range:
        """Return the values at the lines of the grid."""
        return range(-self.deep, self.most + 1, self.step)


def drawn(plot: Plot, span: Span) -> str:
    """Return a plot as HTML: title, legend, picture, and the table of its figures."""
    counts = _fewer(plot.counts)
    above = {name: values for name, values in counts.items() if name not in plot.below}
    below = {name: values for name, values in counts.items() if name in plot.below}
    sums, depths = _sums(above, span.bins), _sums(below, span.bins)
    scale = _Scale(sums, depths)
    numbers = dict(zip(counts, islice(cycle(_NUMBERS), plot.first - 1, None), strict=False))
    zero = scale.height(scale.most)
    picture = "".join(
        [
            *_grid(scale, span.bins),
            *_columns(above, numbers, scale, zero, -1),
            *_columns(below, numbers, scale, zero, 1),
            f'<path class="axis" d="M0 {zero:.2f}H{span.bins}"/>',
            *_titles(counts, span),
        ]
    )
    told = ", ".join(f"{name} {number(sum(values))}" for name, values in counts.items())
    cut = _cut(sums, scale, span)
    notes = [plot.note, "The figure above a column that is cut is its height." if cut else ""]
    return (
        f'<figure class="plot"><figcaption><h3 id="{plot.label}">{escape(plot.title)}</h3>'
        f"<p>{escape(plot.unit)} per {span.width}</p></figcaption>"
        f"{_legend(counts, numbers)}"
        f'<div class="frame"><div class="cut" aria-hidden="true">{cut}</div>'
        f'<div class="y" aria-hidden="true">{_up(scale)}</div>'
        f'<svg viewBox="0 0 {span.bins} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(f"{plot.title}: ")}{text(told)}">{picture}</svg>'
        f'<div class="x" aria-hidden="true">{axis(span)}</div></div>'
        + "".join(f'<p class="note">{note}</p>' for note in notes if note)
        + f"<details><summary>The figures as a table</summary>{_table(plot, counts, span)}"
        "</details></figure>"
    )


def axis(span: Span) -> str:
    """Return the texts below the axis of time."""
    return "".join(
        f'<span style="left:{100 * mark.at:.2f}%"{" class=odd" if n % 2 else ""}>{mark.text}</span>'
        for n, mark in enumerate(span.marks())
    )


def strip(rows: Mapping[str, Sequence[tuple[int, int, str]]], span: Span) -> str:
    """Return rows of spans over time: from, until (µs since the epoch) and what they are."""
    lines = []
    for series, (name, stretches) in zip(cycle(_NUMBERS), rows.items(), strict=False):
        marks = []
        for from_us, until_us, what in stretches:
            left, right = 100 * span.part(from_us), 100 * span.part(until_us)
            marks.append(
                f'<i class="s{series}" style="left:{left:.2f}%;'
                f'width:{right - left:.2f}%" title="{text(what)}"></i>'
            )
        lines.append(
            f"<dt>{escape(name)} <b>{number(len(stretches))}</b></dt><dd>{''.join(marks)}</dd>"
        )
    return (
        f'<dl class="strip" aria-hidden="true">{"".join(lines)}'
        f'<dt></dt><dd class="x">{axis(span)}</dd></dl>'
    )


def _fewer(counts: Counts) -> Counts:
    """Return at most as many names as there are colours; what is too much is one of them."""
    if len(counts) <= SERIES:
        return counts
    names = list(counts)
    rest = [counts[name] for name in names[SERIES - 1 :]]
    kept = {name: counts[name] for name in names[: SERIES - 1]}
    return kept | {_REST: [sum(column) for column in zip(*rest, strict=True)]}


def _sums(counts: Counts, bins: int) -> list[int]:
    return [sum(values[n] for values in counts.values()) for n in range(bins)]


def _ceiling(counts: Sequence[int]) -> int:
    """Return up to where columns are drawn: to the highest, but where a few are far higher than
    all others, to the highest of those; nothing could be seen of them else."""
    found = sorted(count for count in counts if count)
    if len(found) < _FEW:
        return found[-1] if found else 0
    usual = found[int(_USUAL * len(found)) - 1]
    return found[-1] if found[-1] <= _CUT * usual else max(c for c in found if c <= 2 * usual)


def _step(most: int) -> int:
    """Return a round distance between lines of the grid, of which few reach ``most``."""
    size = 1
    while True:
        for step in (size, 2 * size, 5 * size):
            if step * _GRID >= most:
                return step
        size *= 10


def _grid(scale: _Scale, bins: int) -> Iterator[str]:
    for value in scale.values():
        if value:
            yield f'<path class="grid" d="M0 {scale.height(scale.most - value):.2f}H{bins}"/>'


def _up(scale: _Scale) -> str:
    return "".join(
        f'<span style="bottom:{scale.height(value + scale.deep):.2f}%">{short(abs(value))}</span>'
        for value in scale.values()
    )


def _columns(
    counts: Counts, numbers: Mapping[str, int], scale: _Scale, zero: float, way: int
) -> Iterator[str]:
    """Yield a path for each name: its part of each column, up (-1) or down (1) from the axis."""
    ends: list[float] = []
    for name, values in counts.items():
        ends = ends or [zero] * len(values)
        parts = []
        for n, value in enumerate(values):
            if value:
                height = way * scale.height(value)
                parts.append(f"M{n} {ends[n]:.2f}v{height:.2f}h1v{-height:.2f}z")
                ends[n] += height
        if parts:
            yield f'<path class="s{numbers[name]} column" d="{"".join(parts)}"/>'


def _cut(sums: Sequence[int], scale: _Scale, span: Span) -> str:
    """Return the figures of the columns that are higher than the axis, the highest of those that
    stand close together."""
    taken: list[float] = []
    found = []
    for top, n in sorted(
        ((top, n) for n, top in enumerate(sums) if top > scale.most), reverse=True
    ):
        at = (n + 0.5) / span.bins
        if all(abs(at - other) >= _APART for other in taken):
            taken.append(at)
            side = " class=end" if at > 1 - _APART else ""
            found.append(f'<span style="left:{100 * at:.2f}%"{side}>{number(top)}</span>')
    return "".join(found)


def _titles(counts: Counts, span: Span) -> Iterator[str]:
    """Yield what is shown of a bin under the pointer."""
    for n in range(span.bins):
        told = ", ".join(f"{name} {number(v[n])}" for name, v in counts.items() if v[n])
        if told:
            title = f"{span.named(n)}: {told}"
            yield f'<rect x="{n}" width="1" height="100"><title>{text(title)}</title></rect>'


def _legend(counts: Counts, numbers: Mapping[str, int]) -> str:
    rows = "".join(
        f'<li><i class="s{numbers[name]}"></i>{text(name)} <b>{number(sum(values))}</b></li>'
        for name, values in counts.items()
    )
    return f'<ul class="legend">{rows}</ul>'


def _table(plot: Plot, counts: Counts, span: Span) -> str:
    rows = []
    for name, bins in span.groups():
        sums = [sum(values[bins.start : bins.stop]) for values in counts.values()]
        if any(sums):
            rows.append([name, *map(number, sums)])
    rows.append(["all", *(number(sum(values)) for values in counts.values())])
    return table(f"{plot.title}: {plot.unit}", ["when", *(f"#{name}" for name in counts)], rows)
