"""Counting of what may be many, in a room that does not grow: exact while it fits, and said where
it is not.

Keys are remembered or sampled by Python's own hashes, which nobody outside can choose.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

KEYS, VALUES, EACH = 20_000, 100_000, 1000


class Distinct(Generic[K]):
    """How many different values each key had: of all keys while they fit, else of a sample.

    The sample is of the keys whose hash ends in so many zero bits: each key is in it with the same
    chance, and with all its values (Gibbons, Distinct Sampling, VLDB 2001). More than EACH values
    of a key are not told apart.
    """

    def __init__(self, keys: int = KEYS, values: int = VALUES) -> None:
        self._most_keys, self._most_values = keys, values
        self._values: dict[K, set[int]] = {}
        self._count = 0
        self.one_in = 1

    def see(self, key: K, value: Hashable = 0) -> None:
        """Take notice of a key with a value."""
        known = self._values.get(key)
        if known is None:
            if hash(key) & (self.one_in - 1):
                return
            known = self._values[key] = set()
        if len(known) < EACH:
            before = len(known)
            known.add(hash(value))
            self._count += len(known) - before
        while len(self._values) > self._most_keys or self._count > self._most_values:
            self._thin()

    @property
    def keys(self) -> int:
        """How many keys there were, an estimate where ``one_in`` is not 1."""
        return len(self._values) * self.one_in

    def counts(self) -> dict[K, int]:
        """Return of each key kept how many values it had."""
        return {key: len(values) for key, values in self._values.items()}

    def _thin(self) -> None:
        self.one_in *= 2
        self._values = {k: v for k, v in self._values.items() if not hash(k) & (self.one_in - 1)}
        self._count = sum(map(len, self._values.values()))


@dataclass
class Row:
    """What was counted of a key; up to ``missed`` more came before it was kept."""

    missed: int = 0
    count: int = 0
    first_us: int = 0
    last_us: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def note(self, time_us: int, kind: str) -> None:
        """Count one."""
        self.first_us = min(self.first_us or time_us, time_us)
        self.last_us = max(self.last_us, time_us)
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    @property
    def main(self) -> str:
        """The kind that was met most often."""
        return max(self.kinds, key=lambda kind: self.kinds[kind])


class Top(Generic[K]):
    """The keys that were met most often: of twice ``most`` the lesser half is let go, and a key
    that comes later may have been among them (Misra and Gries, Finding repeated elements, 1982)."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._rows: dict[K, Row] = {}
        self._floor = 0

    def note(self, key: K, time_us: int, kind: str) -> None:
        """Count a key."""
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= 2 * self._most:
                self._let_go()
            row = self._rows[key] = Row(self._floor)
        row.note(time_us, kind)

    def rows(self) -> list[tuple[K, Row]]:
        """Return the keys, the most frequent first."""
        return sorted(self._rows.items(), key=lambda pair: -pair[1].count)

    def _let_go(self) -> None:
        rows = self.rows()
        self._floor = max(self._floor, rows[self._most][1].missed + rows[self._most][1].count)
        self._rows = dict(rows[: self._most])


class Spread(Generic[K]):
    """The keys with the most different values, as :class:`Top` finds the most frequent ones."""

    def __init__(self, keys: int = 2000, values: int = 50_000) -> None:
        self._most_keys, self._most_values = keys, values
        self._values: dict[K, set[int]] = {}
        self._count = 0

    def see(self, key: K, value: Hashable) -> None:
        """Take notice of a key with a value."""
        known = self._values.get(key)
        if known is None:
            if len(self._values) >= 2 * self._most_keys or self._count > self._most_values:
                self._let_go()
            known = self._values[key] = set()
        if len(known) < EACH:
            before = len(known)
            known.add(hash(value))
            self._count += len(known) - before

    def rows(self) -> list[tuple[K, int]]:
        """Return the keys with how many values each has, the most first."""
        counts = ((key, len(values)) for key, values in self._values.items())
        return sorted(counts, key=lambda pair: -pair[1])

    def _let_go(self) -> None:
        """Keep those with the most values, half as many keys and values as there may be."""
        kept, count = {}, 0
        for key, values in self.rows()[: self._most_keys]:
            if count + values > self._most_values // 2:
                break
            kept[key] = self._values[key]
            count += values
        self._values, self._count = kept, count
