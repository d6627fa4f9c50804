"""systemd's journal as a source of records.

Who asks libsystemd all the time misses entries. journald counts an entry before it links it to its
fields: a look in between finds no match, and the file is not looked at again before its next
entry. And an entry that appears in one file after a later one was read from another is passed
over for good. So a place is ``settled`` only when a second look, from the settled place before it
and with nothing remembered of the files, comes to it over as many entries; if not, they are read
once more.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat

from journalrelay import clock
from journalrelay.errors import RelayError, TryAgainError
from journalrelay.rules.repeats import Repeats
from journalrelay.sources.growth import Growth
from journalrelay.sources.openjournal import (
    OTHER_FILES,
    UNCHANGED,
    JournalRecord,
    Reader,
    Where,
    add_matches,
    growing,
    narrow,
    open_reader,
    standing,
    unreadable,
)

_SECOND_LOOK_S, _LOOK_AROUND_S = 0.25, 1.0
_COMPLETE_US = 10_000_000  # before it was read; then nothing earlier was still to come
_FEW = 32  # entries, which are passed over in a tenth of a millisecond
_BATCH = 10_000  # entries
_MANY = 1_000  # entries; from there on it pays to ask only for what there is
_OLD_US = 120_000_000  # nothing as old comes any more; who sets the clock back further begins anew
_MOST_MISSES = 8  # in a row: the order of the entries is not always the same


class JournalSource:
    """Entries of ``where`` that fulfil one of ``matches``, each a list of ``FIELD=value``.

    Within a list values of one field are alternatives and different fields must all hold, as in
    journalctl(1). ``hand_matches`` is the list for entries made by hand, read with the others and
    by :meth:`by_hand`.
    """

    called = "the journal"
    vouched = True
    turn_ms = 8  # journald tells readers a third of a second late, but shows entries at once

    def __init__(
        self, where: Where, matches: Sequence[Sequence[bytes]], hand_matches: Sequence[bytes]
    ) -> None:
        self._where, self._name = where, where.name
        self._matches = [*matches, hand_matches]
        self._hand_matches = hand_matches
        self.moves = 0
        self.heartbeat: Callable[[], None] = lambda: None
        self._start: str | int = 0  # where reading began: a cursor or a time
        self._held = False
        self._place: tuple[str, int] | None = None
        self._from_us = 0
        self._settled: tuple[str, int] | None = None
        self._unsettled = 0  # how many entries were read behind it
        self._stirred = False  # something was written since the last second look
        self._look_again_s = self._look_around_s = 0.0
        self._misses = 0
        self._asked_until_us: int | None = None  # while not all is asked for: where it must be
        self._trouble: str | None = None
        self._retry_s = self._retry_at_s = 0.0
        self._growth = Growth()
        self._open()

    @property
    def name(self) -> str:
        """Return the name of its saved place."""
        return self._name

    def fileno(self) -> int | None:
        """Return the reader's inotify descriptor; it changes when the reader was reopened."""
        return None if self._trouble else self._reader.fileno()

    def refresh(self) -> None:
        """Let the reader see rotation and vacuuming; after an error, open it anew."""
        if self._trouble and time.monotonic() >= self._retry_at_s:
            self._reopen()
        elif not self._trouble and time.monotonic() >= self._look_around_s:
            self._look_around_s = time.monotonic() + _LOOK_AROUND_S
            if standing(self._where) != self._standing:
                self._reopen()
        if self._trouble:
            return
        try:
            change = self._reader.process()
        except OSError as error:
            self._fail(error)
            return
        self._stirred |= change != UNCHANGED
        if change == OTHER_FILES:
            self._watch()
            if self._held:  # and its file may have another name now, and be no more known
                self._go_to_settled()
        if (self._stirred or self._unsettled) and time.monotonic() >= self._look_again_s:
            self.settle()

    def still(self) -> bool:
        """Tell whether there is nothing to read, and nothing to look at again yet."""
        if self._trouble or self._held:
            return False
        if self._growth.seen():  # most lines of a mixed host are not for us
            try:
                self._held = bool(self._reader._next())
            except OSError as error:
                self._fail(error)
            if self._held or self._trouble:
                return False
        restless = self._stirred or self._unsettled
        return not restless or time.monotonic() < self._look_again_s

    def stir(self) -> None:
        """Know that something was written, where nobody watches. A look before it was whole has
        left libsystemd blind for it: the next one is a second look, unless that is dear."""
        self._stirred = True
        if self._unsettled <= _FEW:
            self._look_again_s = 0.0

    @property
    def at_rest(self) -> bool:
        """Tell whether all that was written until the last :meth:`refresh` was looked at twice."""
        return not (self._stirred or self._unsettled or self._trouble)

    def follow(self, where: Where) -> None:
        """Read other files from now on, from the settled place."""
        self._where, self._name = where, where.name
        self._reopen()

    def seek_time(self, time_us: int) -> None:
        """Go to the first entry at or after ``time_us``."""
        self._begin(max(0, time_us))
        self._from_us = max(0, time_us)
        self._seek(self._start)

    def seek_cursor(self, cursor: str, *, inclusive: bool) -> bool:
        """Go to a cursor's entry or behind it; see :class:`Source`."""
        self._begin(cursor)
        try:
            self._seek(cursor)
            if not self._reader._next():
                return False
            exact = self._reader.test_cursor(cursor)
            self._from_us = self._reader._get_realtime()
        except OSError as error:
            self._fail(error)
            return False
        self._held = inclusive or not exact
        if not self._held:
            self._place = self._settled = cursor, self._from_us
        return exact

    def settle(self) -> bool:
        """Take a second look at what was read last; see :class:`Source`."""
        if self._trouble or self._held:
            return not self._trouble
        self._look_again_s, self._stirred = time.monotonic() + _SECOND_LOOK_S, False
        try:
            if self._comes_to_place():
                self._settled, self._unsettled, self._misses = self._place, 0, 0
                return True
        except OSError as error:
            self._fail(error)
            return False
        self._misses += 1
        if self._misses > _MOST_MISSES:
            self._settled, self._misses = self._place, 0
        self._go_to_settled()
        return False

    def read(self, limit: int) -> Iterator[JournalRecord]:
        """Yield the next entries, at most ``limit``."""
        if self._trouble:
            return
        record, step, count = self._record, self._reader._next, 0
        complete_us = self._complete_us()
        try:
            for count in range(1, limit + 1):
                if count == _MANY:
                    self._narrow()
                if not self._held and not step():
                    count -= 1
                    break
                self._held = False
                record.load()
                yield record
        except OSError as error:  # EBADMSG, EADDRNOTAVAIL, EIDRM: a file was damaged or went away
            self._fail(error)
        else:
            if count:
                self._note_place(count, min(complete_us, self._complete_us()))
            if self._asked_until_us and (count < limit or self._unsettled):
                self._ask_for_all()
                self.settle()

    def earlier(self, span_us: int, repeats: Repeats | None = None) -> Iterator[JournalRecord]:
        """Yield the entries before the next one to be read; see :class:`Source`."""
        reader = open_reader(self._where)
        try:
            add_matches(reader, self._matches)
            record = JournalRecord(reader, self._where.machine)
            count = self._go_back(reader, span_us, repeats)
            for steps in repeats.steps() if repeats else repeat(1, count):
                if not reader._next(steps):
                    break
                record.load()
                yield record
        except OSError as error:
            raise TryAgainError(unreadable(error)) from error
        finally:
            reader.close()

    def _go_back(self, reader: Reader, span_us: int, repeats: Repeats | None) -> int:
        """Go before the entries of :meth:`earlier`, and return how many they are; show them to
        ``repeats`` on the way."""
        count, more = 0, self._go_before_next(reader)
        since_us = (self._place[1] if self._place else self._from_us) - span_us
        record = JournalRecord(reader, self._where.machine)
        while more and (logged_at_us := reader._get_realtime()) >= since_us:
            if repeats:
                record.load()
                repeats.see(record, logged_at_us)
            count, more = count + 1, reader._previous()
            if more and count == _MANY:
                cursor = reader._get_cursor()
                narrow(reader, self._matches)
                reader.seek_cursor(cursor)
                more = reader._previous()
            if count % _BATCH == 0:
                self.heartbeat()
        if not more:
            reader.seek_head()
        return count

    def _go_before_next(self, reader: Reader) -> bool:
        """Go to the last entry before the next one to be read; False when there is none."""
        if self._place:  # has been read
            reader.seek_cursor(self._place[0])
            return reader._previous()
        if self._held:
            cursor = self._reader._get_cursor()
            reader.seek_cursor(cursor)
            more = reader._previous()
            return reader._previous() if more and reader.test_cursor(cursor) else more
        reader.seek_realtime(self._from_us)
        more = reader._previous()
        while more and reader._get_realtime() >= self._from_us:
            more = reader._previous()
        return more

    def place(self) -> tuple[str, int] | None:
        """Return cursor and time of the last settled entry."""
        return self._settled

    def by_hand(self, since_us: int) -> Iterator[JournalRecord]:
        """Yield what was done by hand since ``since_us``."""
        reader = open_reader(self._where)
        try:
            add_matches(reader, [self._hand_matches])
            reader.seek_realtime(max(0, since_us))
            record = JournalRecord(reader, self._where.machine)
            while reader._next():
                record.load()
                yield record
        except OSError as error:
            raise TryAgainError(unreadable(error)) from error
        finally:
            reader.close()

    def last_time_us(self) -> int | None:
        """Return the time of the newest entry that fulfils the matches."""
        reader = open_reader(self._where)
        try:
            add_matches(reader, self._matches)
            reader.seek_tail()
            return reader._get_realtime() if reader._previous() else None
        finally:
            reader.close()

    def first_time_us(self) -> int | None:
        """Return the time of the oldest entry there is, whoever logged it."""
        reader = open_reader(self._where)
        try:
            reader.seek_head()
            return reader._get_realtime() if reader._next() else None
        except OSError:  # a damaged file; reading will say so
            return None
        finally:
            reader.close()

    def trouble(self) -> str | None:
        """Return what keeps the reader from reading; it is opened anew, less and less often."""
        return self._trouble

    def remarks(self) -> list[str]:
        """Return nothing: what journald knows it says itself."""
        return []

    def close(self) -> None:
        """Close the reader and its files."""
        self._growth.close()
        self._reader.close()

    def widen(self, matches: Sequence[bytes]) -> None:
        """Read also the entries that fulfil ``matches``; where reading begins is for the caller to
        say again."""
        self._matches.append(matches)
        former = self._reader
        self._open()
        former.close()

    def _open(self) -> None:
        self._standing = standing(self._where)
        self._reader = open_reader(self._where)
        self._record = JournalRecord(self._reader, self._where.machine)
        self._ask_for_all()
        self._watch()

    def _watch(self) -> None:
        if self._where.watched:
            self._growth.watch(growing(self._where))

    def _fail(self, error: Exception) -> None:
        """Note why reading failed, and when to try again: after 10 ms, doubling up to 5 s."""
        self._trouble = unreadable(error)
        self._retry_s = min(5.0, 2 * self._retry_s or 0.01)
        self._retry_at_s = time.monotonic() + self._retry_s

    def _reopen(self) -> None:
        """Open the reader again at the settled place; what was read behind it is read twice."""
        former = self._reader
        try:
            self._open()
            former.close()
            self._trouble = None
            self._go_to_settled()
        except (OSError, RelayError) as error:
            self._fail(error)

    def _begin(self, start: str | int) -> None:
        """Note that reading begins anew at a cursor or a time."""
        if self._asked_until_us:
            self._ask_for_all()
        self.moves += 1
        self._start, self._held = start, False
        self._place = self._settled = None
        self._unsettled = 0

    def _ask_for_all(self) -> None:
        """Ask for all that there may be; where it goes on is to be said again."""
        self._reader.flush_matches()
        add_matches(self._reader, self._matches)
        self._asked_until_us = None

    def _narrow(self) -> None:
        """Where what is read was logged long ago, ask only for what there is, and go on."""
        old_us = clock.now_us() - _OLD_US
        if self._asked_until_us or not self._where.watched:
            return
        if self._record.logged_at_us() >= old_us:
            return
        cursor, self._asked_until_us = self._record.cursor(), old_us
        narrow(self._reader, self._matches)
        self._reader.seek_cursor(cursor)
        self._held = bool(self._reader._next()) and not self._reader.test_cursor(cursor)

    def _complete_us(self) -> int:
        """Return a time before which nothing is still to come, and nothing was not asked for.

        What another host sent may be old, and just being written.
        """
        if not self._where.watched:
            return 0
        complete_us = clock.now_us() - _COMPLETE_US
        return min(complete_us, self._asked_until_us or complete_us)

    def _seek(self, to: str | int) -> None:
        if isinstance(to, str):
            self._reader.seek_cursor(to)
        else:
            self._reader.seek_realtime(to)

    def _comes_to_place(self) -> bool:
        """Go to the place from the settled one; tell whether nothing more lies between them."""
        reader = self._reader
        if self._settled:
            reader.seek_cursor(self._settled[0])
            if not reader._next() or not reader.test_cursor(self._settled[0]):
                return False
        else:
            self._seek(self._start)
        if not self._unsettled:
            return True
        reader._next(self._unsettled)
        return self._place is not None and reader.test_cursor(self._place[0])

    def _go_to_settled(self) -> None:
        if self._settled:
            self.seek_cursor(self._settled[0], inclusive=False)
        elif isinstance(self._start, str):
            self.seek_cursor(self._start, inclusive=True)
        else:
            self.seek_time(self._start)

    def _note_place(self, count: int, complete_us: int) -> None:
        """Note the place once a batch, since a cursor costs as much as an entry."""
        self._retry_s = 0.0
        self._unsettled += count
        with suppress(OSError):  # its file has gone meanwhile: the earlier place stands
            self._place = self._record.cursor(), self._record.logged_at_us()
            if self._place[1] < complete_us:
                self._settled, self._unsettled = self._place, 0
