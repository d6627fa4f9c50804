"""Lines that are alike, for people: what differs from one to the next is left out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 500  # kinds that are told apart; what comes later is one more
_WORD = re.compile(rb"[^\s=:,;<>()\[\]\"'/@]+|.", re.DOTALL)
_ANY = b"*"
_LIKE = 0.6  # of the words, for two lines to be of one kind


@dataclass
class Kind(Generic[T]):
    """Lines of one kind: ``first`` is what was said of the first of them."""

    words: list[bytes]
    first: T
    count: int = 1

    @property
    def shape(self) -> bytes:
        """Return what they have in common, ``*`` for what differs."""
        return b"".join(self.words)


class Kinds(Generic[T]):
    """Sorts lines into kinds. ``key`` keeps apart what never is of one kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, int], list[Kind[T]]] = {}
        self._count = 0
        self.others = 0

    def find(self, key: object, line: bytes) -> Kind[T] | None:
        """Return the kind of a line and count it; None when it is the first one of its kind."""
        words = _words(line)
        for kind in self._kinds.get((key, len(words)), ()):
            if _alike(kind.words, words):
                kind.count += 1
                kind.words = [a if a == b else _ANY for a, b in zip(kind.words, words, strict=True)]
                return kind
        return None

    def add(self, key: object, line: bytes, first: T) -> None:
        """Begin a kind with a line; when there are too many, only count it."""
        if self._count >= MOST:
            self.others += 1
            return
        self._count += 1
        words = _words(line)
        self._kinds.setdefault((key, len(words)), []).append(Kind(words, first))

    def all(self) -> list[Kind[T]]:
        """Return the kinds, the most frequent one first."""
        kinds = [kind for kinds in self._kinds.values() for kind in kinds]
        return sorted(kinds, key=lambda kind: -kind.count)


def _words(line: bytes) -> list[bytes]:
    return [_ANY if re.search(rb"[0-9]", word) else word for word in _WORD.findall(line[:1000])]


def _alike(one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    """Tell whether most of the words are the same, blanks and marks left aside."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if len(a) > 1 or len(b) > 1]
    same = sum(a == b for a, b in pairs)
    return one == other or (bool(pairs) and one[0] == other[0] and same >= _LIKE * len(pairs))
