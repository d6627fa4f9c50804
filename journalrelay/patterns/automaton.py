"""A regex as the points at which matching can stand: what it wants there, and what comes next.

Python's ``re`` tries one way after the other and goes back (backtracking). Here all ways are walked
at once, which needs no luck: it is how a pattern is proved to be linear (patterns/linear.py), and
how it is told how far a line fits a pattern (patterns/fit.py). It is made of Python's own parse of
the regex, so that both mean the same; what a look-ahead asks is walked too, and then taken for
granted.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST_POINTS = 5_000
END = 0  # the point behind the whole pattern, which wants nothing more
_EVERY = (1 << 256) - 1


class NotPlainError(ValueError):
    """The regex has a part that is not for whole lines of a log; the text says which, and what to
    write instead."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where matching can stand: ``wants`` is the set of bytes that it takes there, a bit each,
    ``group`` the innermost named group around it, ``then`` what it may stand at when it has."""

    wants: int
    group: str
    then: tuple[int, ...]


@dataclass(frozen=True)
class Automaton:
    """The points of a regex in the order in which they are written; 0 is :data:`END`.

    ``first`` are those at which it begins. ``doubled`` is a point that can be stood at in two ways
    with nothing read in between, None when there is none; -1 is the beginning.
    """

    points: tuple[Point, ...]
    first: tuple[int, ...]
    doubled: int | None

    def then(self, number: int) -> tuple[int, ...]:
        """Return what follows a point, of -1 what it begins with."""
        return self.first if number < 0 else self.points[number].then


@lru_cache(maxsize=512)
def automaton(regex: bytes) -> Automaton:
    """Return the automaton of a regex that compiles, or raise NotPlainError."""
    tree = parser.parse(regex)
    if tree.state.flags:
        raise NotPlainError("it sets flags such as (?i) (write both letters: [Ll]ogin)")
    return _Builder({number: name for name, number in tree.state.groupdict.items()}).build(tree)


class _Builder:
    """Lays out a regex as nodes: a node takes a byte and goes on to one other, or takes nothing
    and goes on to any number of others."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._goes: list[list[int]] = [[]]
        self._wants: list[int] = [0]
        self._group: list[str] = [""]

    def build(self, tree: Any) -> Automaton:
        """Return the automaton of a parsed regex."""
        start = self._sequence(tree, END, "")
        points = [0, *sorted((n for n, wants in enumerate(self._wants) if wants), reverse=True)]
        numbers = {node: number for number, node in enumerate(points)}
        doubled: list[int] = []

        def reached(node: int, number: int) -> tuple[int, ...]:
            found, twice = self._reach(node)
            if twice:
                doubled.append(number)
            return tuple(sorted(numbers[one] for one in found if one in numbers))

        first = reached(start, -1)
        made = tuple(
            Point(
                self._wants[node],
                self._group[node],
                reached(self._goes[node][0], number) if node else (),
            )
            for number, node in enumerate(points)
        )
        return Automaton(made, first, doubled[0] if doubled else None)

    def _reach(self, node: int) -> tuple[set[int], bool]:
        """Return what can be stood at from ``node`` without a byte, and whether anything in two
        ways."""
        seen, twice, ahead = {node}, False, [node]
        while ahead:
            node = ahead.pop()
            if self._wants[node]:
                continue
            for other in self._goes[node]:
                if other in seen:
                    twice = True
                    continue
                seen.add(other)
                ahead.append(other)
        return seen, twice

    def _node(self, goes: Iterable[int], wants: int = 0, group: str = "") -> int:
        if len(self._goes) > 4 * MOST_POINTS:
            raise NotPlainError(
                f"it is too large: with each repeat written out it has more than {MOST_POINTS} "
                "characters (make the numbers in {…} smaller)"
            )
        self._goes.append(list(goes))
        self._wants.append(wants)
        self._group.append(group)
        return len(self._goes) - 1

    # Each of these returns the node at which a part begins that goes on to the node ``end``.

    def _sequence(self, items: Any, end: int, group: str) -> int:
        for name, value in reversed(list(items)):
            end = self._part(name, value, end, group)
        return end

    def _part(self, name: Any, value: Any, end: int, group: str) -> int:
        if name in _REPEATS:
            return self._repeat(value, end, group)
        if name is sre.SUBPATTERN:
            number, added, removed, items = value
            if added or removed:
                raise NotPlainError("it sets flags such as (?i:…) (write both letters: [Ll]ogin)")
            return self._sequence(items, end, self._names.get(number, group))
        if name is sre.BRANCH:
            return self._node([self._sequence(items, end, group) for items in value[1]])
        if name is sre.ATOMIC_GROUP:
            return self._sequence(value, end, group)
        if name in (sre.ASSERT, sre.ASSERT_NOT) and value[0] > 0:
            looked = self._node([self._node([])], _EVERY, group)  # a point, for two ways to meet at
            return self._node([end, self._sequence(value[1], looked, group)])
        if name is sre.AT:  # ^ $ \b: takes nothing, and lets less through
            return self._node([end])
        wants = _wants(name, value)
        if wants is None:
            raise NotPlainError(f"it has {_REFUSED.get(name, str(name).lower())}")
        return self._node([end], wants, group)

    def _repeat(self, value: Any, end: int, group: str) -> int:
        least, most, items = value
        if most is sre.MAXREPEAT:
            hub = self._node([end])
            self._goes[hub].append(self._sequence(items, hub, group))
            end = hub
        else:
            out = end
            for _ in range(most - least):
                end = self._node([out, self._sequence(items, end, group)])
        for _ in range(least):
            end = self._sequence(items, end, group)
        return end


_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
_REFUSED = {
    sre.GROUPREF: "a reference to a group, as (?P=name) (write the group's characters again)",
    sre.GROUPREF_EXISTS: "a condition, as (?(name)…) (write two patterns)",
    sre.ASSERT: "a look-behind, as (?<=…) (write what stands before)",
    sre.ASSERT_NOT: "a look-behind, as (?<!…) (write what stands before)",
}


def _wants(name: Any, value: Any) -> int | None:
    """Return the bytes that a part of one byte takes, None when it is another kind of part."""
    if name is sre.ANY:
        return _EVERY & ~(1 << ord("\n"))
    if name is sre.LITERAL:
        return 1 << int(value)
    if name is sre.NOT_LITERAL:
        return _EVERY & ~(1 << int(value))
    if name is not sre.IN:
        return None
    wants, negated = 0, False
    for kind, what in value:
        if kind is sre.NEGATE:
            negated = True
        elif kind is sre.RANGE:
            wants |= (1 << what[1] + 1) - (1 << what[0])
        elif kind is sre.CATEGORY:
            wants |= _category(what)
        else:
            wants |= 1 << int(what)
    return _EVERY & ~wants if negated else wants


def _category(what: Any) -> int:
    letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(what).rpartition("_")[2]]
    letter = letter.upper() if "_NOT_" in str(what) else letter
    takes = re.compile(b"\\" + letter.encode()).fullmatch
    return sum(1 << byte for byte in range(256) if takes(bytes([byte])))
