"""A picture of figures that grow: panels side by side, both axes logarithmic, as SVG."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from bench.table import number

_WIDTH, _HEIGHT = 430, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 28, 54, 48  # around the axes, in a panel
_COLOURS = ("#1b6ca8", "#c8553d", "#4d7c0f", "#7b4fa3")
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}"
    ".grid{stroke:#ddd}.axis{stroke:#888;fill:none}.line{fill:none;stroke-width:2}"
)


@dataclass(frozen=True)
class Series:
    """A name, and points from left to right."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Panel:
    """One diagram; ``unit`` is that of its figures, ``across`` what they grow with."""

    title: str
    across: str
    unit: str
    series: tuple[Series, ...]


def svg(panels: Sequence[Panel]) -> str:
    """Return the picture."""
    width = _WIDTH * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for at, panel in enumerate(panels):
        lines += [f'<g transform="translate({at * _WIDTH} 0)">', *_Drawn(panel).lines(), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def short(value: float) -> str:
    """Return a power of ten, or a number near one, in few characters."""
    for size, letter in ((1_000_000, " M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


class _Drawn:
    """A panel with its scales."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        points = [point for series in panel.series for point in series.points]
        self._across = _decades([at for at, _ in points])
        self._up = _decades([value for _, value in points])

    def lines(self) -> Iterator[str]:
        """Yield the panel's elements."""
        yield f'<text class="title" x="{_LEFT}" y="20">{escape(self._panel.title)}</text>'
        yield from self._grid()
        for series, colour in zip(self._panel.series, _COLOURS, strict=False):
            yield from self._curve(series, colour)
        yield from self._legend()

    def _grid(self) -> Iterator[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for power in range(self._across[0], self._across[1] + 1):
            x = self._x(10**power)
            yield f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
            label = short(10**power)
            yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label}</text>'
        for power in range(self._up[0], self._up[1] + 1):
            y = self._y(10.0**power)
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            label = f"{short(10.0**power)} {self._panel.unit}"
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        yield f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>'
        middle = (_LEFT + right) / 2
        across = escape(self._panel.across)
        yield f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{across}</text>'

    def _curve(self, series: Series, colour: str) -> Iterator[str]:
        places = [(self._x(at), self._y(value)) for at, value in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
        for (x, y), (at, value) in zip(places, series.points, strict=True):
            told = f"{series.name}, {short(at)}: {number(value)} {self._panel.unit}"
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
            yield f"<title>{escape(told)}</title></circle>"

    def _legend(self) -> Iterator[str]:
        x = _LEFT
        for series, colour in zip(self._panel.series, _COLOURS, strict=False):
            yield f'<path stroke="{colour}" stroke-width="3" d="M{x} 37h14"/>'
            yield f'<text x="{x + 19}" y="41">{escape(series.name)}</text>'
            x += 34 + 13 * len(series.name) // 2

    def _x(self, value: float) -> float:
        return _LEFT + _part(value, self._across) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - _part(value, self._up) * (_HEIGHT - _TOP - _BOTTOM)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten between which the values lie."""
    first = math.floor(math.log10(min(values)))
    return first, max(first + 1, math.ceil(math.log10(max(values)) - 1e-9))


def _part(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])
