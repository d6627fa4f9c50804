"""No pattern can hang the daemon: each is matched in steps linear in the length of a line."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journalrelay.patterns import Daemon, Pattern
from journalrelay.patterns.automaton import MOST_POINTS
from journalrelay.patterns.fit import fit
from journalrelay.patterns.linear import doubt, points
from tests.test_patterns import PATTERNS, called

# A regex as a tree, written and walked here apart from the code under test.
Node = tuple[Any, ...]
_KINDS = {sre.MAX_REPEAT: "", sre.MIN_REPEAT: "?"}

leaves = st.sampled_from(["a", "b", "c", "[ab]", "[bc]", "."]).map(lambda text: ("leaf", text))


def _joined(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    parts = st.lists(inner, min_size=1, max_size=4).map(tuple)
    spans = st.sampled_from([(0, 1), (0, None), (1, None), (2, 3), (0, 2), (2, 2), (1, 3)])
    return (
        parts.map(lambda some: ("then", *some))
        | parts.map(lambda some: ("or", *some))
        | st.tuples(st.just("repeat"), inner, spans, st.sampled_from(["", "?"]))
    )


trees = st.recursive(leaves, _joined, max_leaves=9)
words = st.text("abc", max_size=14)


def written(node: Node) -> str:
    if node[0] == "leaf":
        return str(node[1])
    if node[0] == "repeat":
        (least, most), lazy = node[2], node[3]
        return f"(?:{written(node[1])}){{{least},{'' if most is None else most}}}{lazy}"
    return f"(?:{('' if node[0] == 'then' else '|').join(map(written, node[1:]))})"


def parsed(source: str) -> Node:
    """Return the tree as Python has it: alternatives of one letter become a set, common beginnings
    are drawn out."""
    return ("then", *map(_parsed, parser.parse(source.encode())))


def _parsed(part: tuple[Any, Any]) -> Node:
    kind, value = part
    if kind in _KINDS:
        least, most, inner = value
        span = (least, None if most is sre.MAXREPEAT else most)
        return ("repeat", ("then", *map(_parsed, inner)), span, _KINDS[kind])
    if kind is sre.SUBPATTERN:
        return ("then", *map(_parsed, value[3]))
    if kind is sre.BRANCH:
        return ("or", *(("then", *map(_parsed, inner)) for inner in value[1]))
    if kind is sre.LITERAL:
        return ("leaf", chr(value))
    if kind is sre.IN:
        letters = [range(v[0], v[1] + 1) if k is sre.RANGE else (v,) for k, v in value]
        return ("leaf", f"[{''.join(chr(one) for some in letters for one in some)}]")
    assert kind is sre.ANY
    return ("leaf", ".")


class Twice(Exception):
    """A point was stood at in two ways."""


@dataclass
class Walk:
    """A matcher that tries one way after the other, as ``re`` does, and counts its steps.

    ``visits`` counts how often it stood at a leaf with so many letters read. Leaves of repeats
    that are bounded are told apart by which turn it is.
    """

    word: str
    strict: bool = False
    visits: Counter[tuple[object, int]] = field(default_factory=Counter)

    def matches(self, tree: Node) -> bool:
        for at in self._ways(tree, 0, ()):
            self._visit("end", at)
            if at == len(self.word) and not self.strict:
                return True
        return False

    def _visit(self, where: object, at: int) -> None:
        self.visits[where, at] += 1
        if self.strict and self.visits[where, at] > 1:
            raise Twice

    def _ways(self, node: Node, at: int, path: tuple[int, ...]) -> Iterator[int]:
        """Yield where the word can stand behind ``node``, in the order of Python's ``re``."""
        if node[0] == "leaf":
            self._visit(path, at)
            if at < len(self.word) and re.fullmatch(node[1], self.word[at]):
                yield at + 1
        elif node[0] == "or":
            for number, part in enumerate(node[1:]):
                yield from self._ways(part, at, (*path, number))
        elif node[0] == "then":
            yield from self._sequence(node[1:], at, path, 0)
        else:
            yield from self._repeat(node, at, path, 0)

    def _sequence(
        self, parts: tuple[Node, ...], at: int, path: tuple[int, ...], number: int
    ) -> Iterator[int]:
        if number == len(parts):
            yield at
            return
        for behind in self._ways(parts[number], at, (*path, number)):
            yield from self._sequence(parts, behind, path, number + 1)

    def _repeat(self, node: Node, at: int, path: tuple[int, ...], turn: int) -> Iterator[int]:
        _, inner, (least, most), lazy = node
        if self.strict and most is None and turn >= least:
            self._visit(("again", *path), at)  # what goes round without a letter has no end
        if lazy and turn >= least:
            yield at
        if most is None or turn < most:
            mark = turn if most is not None else min(turn, least)
            for behind in self._ways(inner, at, (*path, mark)):
                yield from self._repeat(node, behind, path, turn + 1)
        if not lazy and turn >= least:
            yield at


@settings(max_examples=600)
@given(tree=trees, word=words)
def test_what_is_not_refused_takes_no_more_steps_than_promised(tree: Node, word: str) -> None:
    regex = re.compile(written(tree).encode())
    if doubt(regex) is not None:
        return
    walk = Walk(word)
    assert walk.matches(parsed(written(tree))) == (regex.fullmatch(word.encode()) is not None)
    assert max(walk.visits.values()) == 1
    assert walk.visits.total() <= points(regex) * (len(word) + 1)


@settings(max_examples=600)
@given(tree=trees)
def test_what_is_refused_stands_somewhere_twice_and_the_text_shows_it(tree: Node) -> None:
    found = doubt(re.compile(written(tree).encode()))
    if found is None:
        return
    assert found.text is not None
    word = found.text.decode()
    with pytest.raises(Twice):
        Walk(word, strict=True).matches(parsed(written(tree)))


@settings(max_examples=600)
@given(tree=trees, word=words)
def test_the_automaton_means_what_the_regex_means(tree: Node, word: str) -> None:
    regex = re.compile(written(tree).encode())
    assert (fit(regex, word.encode()).wants == "") == (regex.fullmatch(word.encode()) is not None)


@pytest.mark.parametrize("byte", range(256))
def test_the_automaton_takes_the_bytes_that_the_regex_takes(byte: int) -> None:
    text = bytes([byte])
    for source in (
        rb".",
        rb"\d",
        rb"\D",
        rb"\s",
        rb"\S",
        rb"\w",
        rb"\W",
        rb"[^\d\-x-z]",
        rb"[\W_]",
    ):
        regex = re.compile(source)
        assert (fit(regex, text).wants == "") == (regex.fullmatch(text) is not None), source


HANGING = [
    # exponential
    r"(a+)+",
    r"(a*)*",
    r"(a|a)*",
    r"(a|aa)+b",
    r"(?:a|b|ab)*c",
    r"([a-zA-Z]+)*1",
    r"(.*a){20}",
    r"(?:a?){30}a{30}",
    r"(?:(?:a?){10}){10}",
    r"(x+x+)+y",
    r"(?:[^,]*,?)*;",
    # polynomial
    r"a*a*b",
    r"(.*)(.*)",
    r".*.*=.*",
    r"\s*\s*x",
    r"user (?P<user>.*), (?:.*, )?rip=(?P<address>[0-9.]+)",
    r"login .* from (?P<address>\S+)( \[.*\])?",
    r"(?:a{0,50}){0,50}b",
    # of the kind of GHSA-33wh-ccjc-p397 (fail2ban's filters for Domino and Dovecot, PR 4221): free
    # texts with a text between them that both can take
    r".* smtp: (?P<user>.*) \[(?P<address>[0-9.]+)\] failed",
    r".*: failed for user (?P<user>.*) host (?P<address>\S+)",
    r"Disconnected(?::(?: [^(]+)+)? \(auth failed\): rip=(?P<address>[0-9.]+)",
    r"rip=(?P<address>[0-9.]+)(?:[^>]*(?:, session=<\S+>)?)\s*",
    r"^(?:\w+\s*)+: failed.* rhost=(?P<address>\S+)(?:\s+user=.*)?\s*$",
    # what an atomic group or a possessive repeat does not mend by itself
    r"(?>a*)*b",
    r"(?:a++|a)*b",
    # a look-ahead that reads on at every place
    r"(?:(?=.*x)a)*",
]


@pytest.mark.parametrize("source", HANGING)
def test_a_pattern_that_can_hang_is_refused(source: str) -> None:
    found = doubt(re.compile(source.encode()))
    assert found is not None and found.text is not None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (r"(?P<user>a)(?P=user)", "reference"),
        (r"(a)?(?(1)b|c)", "condition"),
        (r"(?<=a)b", "look-behind"),
        (r"(?<!a)b", "look-behind"),
        (r"(?i)login", "flags"),
        (r"(?i:login)", "flags"),
        (r"[a-z]{1,6000}", "too large"),
        (r"(?:[a-z]{100}){100}", "too large"),
        (r"((((a{90}){90}){90}){90}){90}", "too large"),
    ],
)
def test_what_has_no_automaton_is_refused(source: str, said: str) -> None:
    found = doubt(re.compile(source.encode()))
    assert found is not None and said in found.reason


@pytest.mark.parametrize(
    "source",
    [
        r"login (?P<user>.*), rip=(?P<address>[0-9A-Fa-f:.]{2,45})",
        r"(?:pop3|imap)-login: (?:Login|Logged in): user=<(?P<user>.*)>, rip=(?P<address>[0-9.]+)",
        r"a*b*c*",
        r"(?:[a-z]+ )*from [0-9]+",
        r"(?:, TLS)?(?:, session=<[^>]*>)?",
        r"(?:(?!, rip=).)*, rip=x",
        r"(?=.*x)a*?b",
        r"^login (?>[a-z]+) [0-9]++$",
    ],
)
def test_ordinary_patterns_are_linear(source: str) -> None:
    assert doubt(re.compile(source.encode())) is None


@pytest.mark.parametrize(("daemon", "pattern"), PATTERNS, ids=called)
def test_every_pattern_of_ours_is_linear(daemon: Daemon, pattern: Pattern) -> None:
    assert doubt(pattern.regex) is None
    assert points(pattern.regex) <= MOST_POINTS
