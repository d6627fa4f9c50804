"""What the pipeline asks of any source of records."""

from collections.abc import Callable, Iterator
from typing import Protocol

from journalrelay.event import Record
from journalrelay.rules.repeats import Repeats


class Source(Protocol):
    """A stream of records that can be read from a place and followed as it grows.

    Positions are left between records: :meth:`read` goes on where it stopped.
    """

    called: str
    """What it is called in a sentence."""

    vouched: bool
    """Whether it tells who logged a record, beside what that record claims."""

    turn_ms: int
    """How long to wait for the descriptor, in milliseconds, before looking all the same."""

    heartbeat: Callable[[], None]
    """Called now and then where a long stretch is passed over without a record."""

    @property
    def name(self) -> str:
        """What its saved place is called in the state directory; the same for the same files."""

    def fileno(self) -> int | None:
        """Return a descriptor for poll(2) that becomes readable when records may have come; None
        while there is trouble."""

    def refresh(self) -> None:
        """Take notice of new, rotated and deleted files; call it on every turn."""

    @property
    def at_rest(self) -> bool:
        """Tell whether :meth:`settle` would do nothing, as far as that is known."""

    def still(self) -> bool:
        """Tell whether a turn would do nothing, as far as that can be told for less than a turn.
        There is one now and then all the same."""

    def seek_time(self, time_us: int) -> None:
        """Go to the first record at or after a time."""

    def seek_cursor(self, cursor: str, *, inclusive: bool) -> bool:
        """Go to the record of a cursor, or behind it; False when that record is gone.

        Then the source stands on the next record there is, and nothing after it is skipped.
        ValueError when it is no cursor at all.
        """

    def read(self, limit: int) -> Iterator[Record]:
        """Yield the next records, at most ``limit``; fewer at the end of what there is.

        The record is valid until the next one is asked for.
        """

    @property
    def moves(self) -> int:
        """How often reading was put to another place, by a caller or after an error."""

    def earlier(self, span_us: int, repeats: Repeats | None = None) -> Iterator[Record]:
        """Yield, apart from reading, the records before the next one to be read, oldest first, as
        far as ``span_us`` before it. Those that ``repeats`` finds need not be among them.
        TryAgainError when one of them cannot be read."""

    def place(self) -> tuple[str, int] | None:
        """Return cursor and time (µs) of a record up to which nothing was missed, None before the
        first: the last one read, or one before it that is not yet settled."""

    def settle(self) -> bool:
        """Make the last record read the place; False when something was missed before it, which
        is read next, and what was read behind the place again."""

    def by_hand(self, since_us: int) -> Iterator[Record]:
        """Yield what the operator did by hand since a time, oldest first, apart from reading."""

    def last_time_us(self) -> int | None:
        """Return the time of the newest record there is, None when there is none."""

    def first_time_us(self) -> int | None:
        """Return the time of the oldest record that can still be read, None when that is not
        known."""

    def trouble(self) -> str | None:
        """Return what keeps it from reading just now, None when nothing does."""

    def remarks(self) -> list[str]:
        """Return what an operator should know of what is read, each thing once."""

    def close(self) -> None:
        """Let go of all files."""
