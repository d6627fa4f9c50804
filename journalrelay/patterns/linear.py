"""Prove that a pattern can hang nobody: it is matched in time linear in the length of a line.

The criterion: from the beginning of a pattern, any text leads to any point of it in one way at
most (it is unambiguous, at whatever point it may stop). The guarantee that follows: a matcher that
tries one way after the other, as Python's ``re`` does, stands at each point at most once for each
length of the text that it has read, so that it takes at most

    points of the pattern × (length of the line + 1)

steps, whatever the line, and whether it matches or not. A point is a character or a set of them,
and the end; bounded repeats are written out: ``[0-9]{1,5}`` has five. There are at most
MOST_POINTS, and no more of a line is looked at than 451 bytes (patterns/dispatch.py).

Proof: what ``re`` does is a walk over the ways by which the text can lead into the pattern. It goes
back only to try a way that it has not tried. So two visits to one point with the same number of
bytes read are two ways by which one text leads there. A look-ahead, an atomic group, a possessive
repeat, an anchor and the end of the line only leave ways out.

The check is exact for this: it walks over all pairs of points to which one text can lead, in the
product of the automaton with itself, and refuses a pattern where two ways meet, or that has more
than MOST_PAIRS of them. So ambiguity of any degree is refused: exponential, ``(a+)+``,
polynomial, ``.*.*``, and bounded, ``a?a?``, of which thirty, ``(a?){30}a{30}``, are exponential in
the pattern's size. Backreferences, conditions and look-behinds have no automaton and are refused.
"""

import re
from typing import NamedTuple

from journalrelay.patterns.automaton import MOST_POINTS, Automaton, NotPlainError, automaton

MOST_PAIRS = 300_000
_SHOWN_FIRST = b"xa1 :./,=<>[]()-_@\"'" + bytes(range(33, 127)) + bytes(range(256))


class Doubt(NamedTuple):
    """Why a pattern is not linear: ``text`` leads into it in two ways; None where the reason is
    another. ``point`` is where they meet."""

    reason: str
    text: bytes | None = None
    point: int = 0


def points(regex: re.Pattern[bytes]) -> int:
    """Return how many points a pattern has: steps at most for each byte of a line."""
    return len(automaton(regex.pattern).points)


def doubt(regex: re.Pattern[bytes]) -> Doubt | None:
    """Return why a pattern is not linear in the length of the line, None when it is."""
    try:
        made = automaton(regex.pattern)
    except NotPlainError as error:
        return Doubt(str(error))
    if len(made.points) > MOST_POINTS:
        return Doubt(
            f"it is too large: {len(made.points)} characters with each repeat written out, more "
            f"than {MOST_POINTS} (make the numbers in {{…}} smaller)"
        )
    return _Pairs(made).meeting()


class _Pairs:
    """The pairs of points to which one text can lead, each with the pair before it and a byte."""

    def __init__(self, made: Automaton) -> None:
        self._made = made
        self._came: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
        self._ahead: list[tuple[int, int]] = [(-1, -1)]

    def meeting(self) -> Doubt | None:
        """Return where two ways meet."""
        made = self._made
        for pair in self._ahead:  # grows: breadth first, so that the text is a shortest one
            one, other = pair
            if one == other == made.doubled:
                return self._doubt(pair, 0, "with nothing in between, ")
            common = _EVERY if one < 0 else made.points[one].wants & made.points[other].wants
            if not common:
                continue
            left, right = made.then(one), made.then(other)
            if one != other:
                for point in set(left).intersection(right):
                    return self._doubt(pair, point, "")
            for a in left:
                for b in right:
                    self._note((a, b) if a < b else (b, a), pair, common)
            if len(self._came) > MOST_PAIRS:
                return Doubt(
                    "it is too entangled to be proved linear (make the numbers in {…} smaller, or "
                    "the sets of characters narrower)"
                )
        return None

    def _note(self, pair: tuple[int, int], before: tuple[int, int], common: int) -> None:
        if pair not in self._came:
            self._came[pair] = before, common
            self._ahead.append(pair)

    def _doubt(self, pair: tuple[int, int], point: int, how: str) -> Doubt:
        names = {self._made.points[one].group for one in pair if one >= 0} - {""}
        where = f" ({', '.join(sorted(names))})" if names else ""
        reason = f"{how}two of its parts{where} can take the same characters"
        text = b"" if pair[0] < 0 else bytes([_shown(self._common(pair))])
        while pair in self._came:
            pair, common = self._came[pair]
            if pair[0] >= 0:
                text = bytes([_shown(common)]) + text
        return Doubt(reason, text, point)

    def _common(self, pair: tuple[int, int]) -> int:
        return self._made.points[pair[0]].wants & self._made.points[pair[1]].wants


_EVERY = (1 << 256) - 1


def _shown(common: int) -> int:
    """Return a byte of a set, one that can be read if there is one."""
    return next(byte for byte in _SHOWN_FIRST if common >> byte & 1)
