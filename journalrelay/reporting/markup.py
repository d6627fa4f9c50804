"""Pieces of HTML: text that is made harmless, tables, bars."""

from collections.abc import Iterable, Sequence
from html import escape

from journalrelay.errors import printable

_KINDS = {"#": ' class="n"', "@": ' class="t"'}
_LONGEST = 160  # characters of a text of unknown origin


def text(value: object) -> str:
    """Return a text of unknown origin for HTML, between tags or in an attribute's quotes: one
    line, nothing in it that a reader would obey, cut where it is very long."""
    shown = printable(str(value))
    return escape(shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…")


def isolated(value: object) -> str:
    """Return a text whose letters may run from right to left, kept from what stands beside it."""
    return f"<bdi>{text(value)}</bdi>"


def number(value: int) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def about(value: int, one_in: int) -> str:
    """Return a count that is an estimate where it was made of a sample."""
    return number(value) if one_in == 1 else f"about {number(value)}"


def short(value: int) -> str:
    """Return a count for an axis: ``1.5k``."""
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return str(value)


def share(part: int, whole: int) -> str:
    """Return a part of a whole in percent."""
    percent = 100 * part / whole if whole else 0.0
    if part and percent < 0.1:
        return "< 0.1\u202f%"
    if part < whole and percent > 99.9:
        return "> 99.9\u202f%"
    return f"{percent:.1f}\u202f%".replace(".0\u202f", "\u202f")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, listed: bool = False
) -> str:
    """Return a table of cells that are HTML; the first of a row is its head. A column whose title
    begins with ``#`` is one of numbers, with ``@`` one of times. On a narrow screen the cells of a
    row are ``listed`` below each other."""
    kinds = [_KINDS.get(head[:1], "") for head in heads]
    names = [escape(head.lstrip("#@")) for head in heads]
    labels = [f' data-h="{name}"' if listed else "" for name in names]
    titles = "".join(
        f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, kinds, strict=True)
    )
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f"<td{kind}{label}>{cell}</td>"
            for cell, kind, label in zip(rest, kinds[1:], labels[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table{' class=rows' if listed else ''}><caption>{escape(caption)}</caption>"
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def bar(part: int, whole: int, series: int = 1) -> str:
    """Return a bar for a cell, as long as ``part`` is of ``whole``."""
    filled = f'<i class="s{series}" style="width:{100 * part / whole:.1f}%"></i>' if part else ""
    return f'<span class="bar">{filled}</span>'
