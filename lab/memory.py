"""A journal in memory, for stories of thousands of entries, starts and crashes a second.

A start on a real journal file takes libsystemd ten milliseconds, and to make one takes a process.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from journalrelay.rules.repeats import Repeats
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab.journalfile import parse_export

_BY_HAND = {HAND_GRANT.id.encode(), HAND_REVOCATION.id.encode()}


@dataclass
class MemoryRecord:
    """An entry, at its place in the journal; ``offset_us`` is the clock's when it was logged."""

    number: int
    fields: dict[str, bytes]
    journal: "MemoryJournal"
    offset_us: int

    @property
    def message(self) -> bytes:
        """Its MESSAGE."""
        return self.fields.get("MESSAGE", b"")

    def field(self, name: str) -> bytes | None:
        """Return a field's bytes."""
        return self.fields.get(name)

    def logged_at_us(self) -> int:
        """Return the time it is stamped with."""
        return int(self.fields["__REALTIME_TIMESTAMP"])

    def clock_ahead_us(self) -> int:
        """Return by how much the clock was ahead of now's."""
        return self.offset_us - self.journal.offset_us

    def cursor(self) -> str:
        """Return its place."""
        return f"m={self.number}"


@dataclass
class MemoryJournal:
    """What was logged; what is vacuumed is gone, and keeps its number."""

    records: list[MemoryRecord] = field(default_factory=list)
    logged: int = 0
    offset_us: int = 0

    def log(self, *entries: bytes) -> None:
        """Log entries in journald's export format."""
        for entry in entries:
            for fields in parse_export(entry):
                made = MemoryRecord(self.logged, dict(fields), self, self.offset_us)
                self.records.append(made)
                self.logged += 1

    def vacuum(self, before_us: int) -> None:
        """Take away what was logged before a time."""
        self.records = [record for record in self.records if record.logged_at_us() >= before_us]


class MemorySource:
    """A source on a journal in memory; see :class:`journalrelay.sources.source.Source`."""

    called = "the journal"
    vouched = True
    turn_ms = 10
    at_rest = False
    name = "memory"

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.heartbeat: Callable[[], None] = lambda: None
        self.moves = 0
        self._next = 0
        self._place: tuple[str, int] | None = None

    def fileno(self) -> int | None:
        """Return None: nobody waits for it."""
        return None

    def refresh(self) -> None:
        """Do nothing: all is there at once."""

    def still(self) -> bool:
        """Return False: one can as well read."""
        return False

    def seek_time(self, time_us: int) -> None:
        """Go to the first record at or after a time."""
        self.moves += 1
        self._place = None
        later = (r.number for r in self.journal.records if r.logged_at_us() >= time_us)
        self._next = next(later, self.journal.logged)

    def seek_cursor(self, cursor: str, *, inclusive: bool) -> bool:
        """Go to a record or behind it."""
        self.moves += 1
        number = int(cursor.removeprefix("m="))
        there = next((r for r in self.journal.records if r.number == number), None)
        self._next = number if inclusive or there is None else number + 1
        self._place = (cursor, there.logged_at_us()) if there and not inclusive else None
        return there is not None

    def read(self, limit: int) -> Iterator[MemoryRecord]:
        """Yield the next records."""
        for record in [r for r in self.journal.records if r.number >= self._next][:limit]:
            self._next = record.number + 1
            yield record
            self._place = record.cursor(), record.logged_at_us()

    def earlier(self, span_us: int, repeats: Repeats | None = None) -> Iterator[MemoryRecord]:
        """Yield the records before the next one, without what ``repeats`` finds."""
        before = [r for r in self.journal.records if r.number < self._next]
        last_us = before[-1].logged_at_us() if before else 0
        told = [r for r in before if r.logged_at_us() >= last_us - span_us]
        if repeats is None:
            yield from told
            return
        for record in reversed(told):
            repeats.see(record, record.logged_at_us())
        yield from (told[at - 1] for at in accumulate(repeats.steps()))

    def place(self) -> tuple[str, int] | None:
        """Return the place behind what was read."""
        return self._place

    def settle(self) -> bool:
        """Return True: nothing comes late."""
        return True

    def by_hand(self, since_us: int) -> Iterator[MemoryRecord]:
        """Yield what was done by hand."""
        for record in self.journal.records:
            if record.field("MESSAGE_ID") in _BY_HAND and record.logged_at_us() >= since_us:
                yield record

    def last_time_us(self) -> int | None:
        """Return the time of the newest record."""
        return self.journal.records[-1].logged_at_us() if self.journal.records else None

    def first_time_us(self) -> int | None:
        """Return the time of the oldest record."""
        return self.journal.records[0].logged_at_us() if self.journal.records else None

    def trouble(self) -> str | None:
        """Return None."""
        return None

    def remarks(self) -> list[str]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Hold nothing open."""
