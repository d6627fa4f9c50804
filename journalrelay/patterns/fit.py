"""How far a line fits a pattern that does not take it, and what the pattern wants there."""

import re
from typing import NamedTuple

from journalrelay.patterns.automaton import END, Automaton, Point, automaton

_WORDS = 3  # alternatives that are told
_LETTERS = 24  # of a text that is wanted


class Fit(NamedTuple):
    """``length`` bytes of the line fit; ``sure`` counts those of them that the pattern spells out.

    ``wants`` says what would have to follow, empty when the whole line fits.
    """

    sure: int
    length: int
    wants: str


def fit(regex: re.Pattern[bytes], line: bytes) -> Fit:
    """Return how far a line fits: to where most of what the pattern spells out was found, and of
    several such places to the furthest one."""
    made = automaton(regex.pattern)
    stands = dict.fromkeys(made.first, 0)
    sure, length, wanted = 0, 0, made.first
    for at, byte in enumerate(line, 1):
        ahead: dict[int, int] = {}
        for number, found in stands.items():
            point = made.points[number]
            if point.wants >> byte & 1:
                found += _spelled(point) is not None
                for other in point.then:
                    ahead[other] = max(ahead.get(other, 0), found)
                if found >= sure:
                    wanted = (*wanted, *point.then) if (sure, length) == (found, at) else point.then
                    sure, length = found, at
        if not ahead:
            break
        stands = ahead
    else:
        if END in stands:
            return Fit(sure, len(line), "")
    return Fit(sure, length, _described(made, wanted))


def _spelled(point: Point) -> int | None:
    """Return the one byte that a point takes, None when it takes several or is the end."""
    return point.wants.bit_length() - 1 if point.wants.bit_count() == 1 else None


def _described(made: Automaton, wanted: tuple[int, ...]) -> str:
    """Return what is wanted in words, what is spelled out first."""
    texts = [_text(made, number) for number in sorted(set(wanted)) if number != END]
    texts = sorted(dict.fromkeys(texts), key=lambda text: not text.startswith("'"))[:_WORDS]
    return " or ".join([*texts, "the end of the line"] if END in wanted else texts)


def _text(made: Automaton, number: int) -> str:
    """Return what one point wants: the text that is spelled out from there, or a set."""
    letters = bytearray()
    while (byte := _spelled(made.points[number])) is not None and len(letters) < _LETTERS:
        letters.append(byte)
        if len(made.points[number].then) != 1:
            break
        (number,) = made.points[number].then
    if letters:
        return repr(bytes(letters))[1:]
    point = made.points[number]
    return f"one of {_set(point.wants)}" + (f" ({point.group})" if point.group else "")


def _set(wants: int) -> str:
    """Return a set of bytes as a regex has it, the shorter way round."""
    inside = [byte for byte in range(256) if wants >> byte & 1]
    outside = [byte for byte in range(256) if not wants >> byte & 1]
    if len(inside) == 256:
        return "all characters"
    return f"[{_ranges(inside)}]" if len(inside) <= 128 else f"[^{_ranges(outside)}]"


def _ranges(which: list[int]) -> str:
    text, at = "", 0
    while at < len(which):
        last = at
        while last + 1 < len(which) and which[last + 1] == which[last] + 1:
            last += 1
        text += _byte(which[at])
        if last > at:
            text += ("-" if last > at + 1 else "") + _byte(which[last])
        at = last + 1
    return text


def _byte(byte: int) -> str:
    letter = chr(byte)
    return f"\\{letter}" if letter in "\\]^-" else repr(bytes([byte]))[2:-1]
