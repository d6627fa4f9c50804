"""Another host whose journal is received here: a road of its own up to its logins.

It has its reader, its kept place and its memory between lines, since a host that was cut off sends
late what it logged earlier, and a reader of several hosts at once would pass that over. It is
looked at when it has written, and let go of when it is silent: then it costs nothing.

What it may tell is logins of the clients and at the daemons that are stated for it (trust.py).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from journalrelay import clock
from journalrelay.cursor import CursorFile, Place
from journalrelay.errors import DataError, RelayError, TryAgainError
from journalrelay.event import Login, Lost, Record
from journalrelay.patterns import Daemon
from journalrelay.recognition.logins import Logins, matches
from journalrelay.remote.hostclock import Clock
from journalrelay.rules.trust import Trust
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.openjournal import Where, open_reader
from journalrelay.sources.received import Received

_SLACK_US = 60_000_000  # by which a file's time may be off from when it was written
_SILENT_S = 60.0
_SAVE_S = 10.0  # what is read twice after a kill does no harm, and there may be hundreds of hosts
_RETRY_S, _RETRY_AT_MOST_S = 0.1, 5.0

Told = tuple[Record, Login | Lost | None]


@dataclass(frozen=True)
class Ways:
    """What is alike for all hosts. ``look_back_us`` is how long a login matters."""

    known: tuple[Daemon, ...]
    daemons: tuple[Daemon, ...]
    ipv6_prefix: int
    skew_us: int
    look_back_us: int


@dataclass(frozen=True)
class Remark:
    """Something that an operator should know of a host; ``over`` when it is so no more."""

    text: str
    over: bool = False


class Host:
    """One host, from its files to its logins."""

    def __init__(self, trust: Trust, kept: CursorFile, ways: Ways, received: Received) -> None:
        self.trust = trust
        self.name = trust.name
        self._kept = kept
        self._ways = ways
        self._received = received
        read = {*trust.daemons, *(daemon.name for daemon in ways.daemons)}
        self._daemons = [daemon for daemon in ways.known if daemon.name in read]
        self._source: JournalSource | None = None
        self._turn = -1
        self._moves: int | None = None
        self._start: str | int = 0  # where reading begins once there is something: cursor or time
        self._from_us = 0
        self._place: tuple[str, int] | None = None
        self._saved: tuple[str, str] | None = None
        self._unsaved = False
        self._stirred_s = self._save_due_s = self._retry_s = self._retry_at_s = 0.0
        self._fault: str | None = None
        self.trouble: str | None = None
        self.clock = Clock(ways.skew_us)
        self.lag_s = 0.0
        self.remarks: list[Remark] = []

    # Where reading begins

    def begin(self, time_us: int) -> None:
        """Read from a time on, once there is something to read."""
        self._let_go()
        self._start = self._from_us = time_us
        self._place = None

    def go_behind_kept(self, since_us: int, map_: str) -> None:
        """Go behind the kept place, or to ``since_us`` when it is garbage, too old to matter, or
        of another map."""
        self.begin(since_us)
        place = self.kept_place()
        if place and place.map == map_ and place.time_us >= since_us:
            self._start, self._place = place.cursor, (place.cursor, place.time_us)
            self._saved = place.cursor, map_

    def kept_place(self) -> Place | None:
        """Return the place that was saved; None when there is none that can be read."""
        try:
            return self._kept.load()
        except DataError as error:
            if not self._kept.path.is_file():
                raise
            self.remarks.append(Remark(str(error)))
            return None

    def seek_cursor(self, cursor: str) -> bool:
        """Read from a cursor's entry on; False when it is none of this host's."""
        self.begin(0)
        self._is_open()
        return self._source is not None and self._source.seek_cursor(cursor, inclusive=True)

    # Reading

    def stir(self) -> None:
        """Know that a file of its has changed."""
        self._stirred_s = time.monotonic()
        if self._source:
            self._source.stir()

    def refresh(self) -> None:
        """See to it that its files are open, those that matter, and looked at twice."""
        if self._is_open() and self._source:
            self._source.refresh()
        self._tell_trouble((self._source.trouble() if self._source else None) or self._fault)

    def read(self, limit: int) -> Iterator[Told]:
        """Yield the next entries, at most ``limit``, each with what it proves of a login."""
        source = self._source
        if source is None:
            return
        if self._moves != source.moves:
            self._remember()
        logged_at_us = None
        for record in source.read(limit):
            event = self._logins.read(record)
            if isinstance(event, Login):
                yield record, self._of_host(event)
            else:  # what it says was lost is told by its name: it names units as it likes
                yield record, event._replace(unit=self.name) if isinstance(event, Lost) else None
            logged_at_us = record.logged_at_us()
        if logged_at_us is not None:
            self._unsaved = True
            self._note_clock(logged_at_us)

    def earlier(self, span_us: int) -> Iterator[Login]:
        """Yield the logins before the next entry to be read, as far back as ``span_us``."""
        source = self._source
        if source is None:
            return
        self._logins.forget()
        self._moves = source.moves
        try:
            for record in source.earlier(span_us):
                event = self._logins.read(record)
                if isinstance(event, Login):
                    yield self._of_host(event)
        except TryAgainError:
            self._logins.forget()

    def _remember(self) -> None:
        """Remember what the entries before the next one told."""
        for _ in self.earlier(self._logins.look_back_us) if self._logins.look_back_us else ():
            pass
        if self._source:
            self._moves = self._source.moves

    def _of_host(self, login: Login) -> Login:
        doubt = login.doubt or self.trust.doubt(login, self._ways.ipv6_prefix)
        return login._replace(remote=self.name, doubt=doubt)

    def has_news(self) -> bool:
        """Tell whether it has written since what is read next was logged."""
        return bool(self._received.written_since(self.name, self._since_us()))

    @cached_property
    def _logins(self) -> Logins:
        return Logins(self._daemons)

    @property
    def at_rest(self) -> bool:
        """Tell whether there is nothing to do until it writes again."""
        return not self._retry_s and (self._source is None or self._source.at_rest)

    def is_silent(self, now_s: float) -> bool:
        """Tell whether it has written nothing for a minute."""
        return now_s - self._stirred_s > _SILENT_S

    # Its place

    def place(self) -> tuple[str, int] | None:
        """Return cursor and time of a record up to which all was read."""
        return (self._source.place() if self._source else None) or self._place

    def save(self, boot: str, clock_us: int, map_: str, *, now: bool) -> None:
        """Keep the place that the map has reached: ``now``, or every ten seconds."""
        kept = not self._unsaved and self._saved and self._saved[1] == map_
        if kept or (not now and time.monotonic() < self._save_due_s):
            return
        self._save_due_s = time.monotonic() + _SAVE_S
        self._unsaved = self._source is not None and not self._source.settle()
        read_to = self.place()
        if read_to and self._saved != (read_to[0], map_):
            self._kept.save(Place(*read_to, boot, clock_us, map_), surely=False)
            self._saved = read_to[0], map_

    def rest(self) -> None:
        """Let go of its files until it writes again; the next entry is the one after its place."""
        if self._source is None:
            return
        self._source.settle()
        self._place = self.place()
        if self._place:
            self._start = self._place[0]
        self._let_go()

    def _let_go(self) -> None:
        if self._source:
            self._source.close()
        self._source, self._turn, self._moves = None, -1, None

    # Its files

    def _is_open(self) -> bool:
        """Open its files, and anew when one of them is new or gone; False when there is none."""
        turn = self._received.turn(self.name)
        if (turn != self._turn or self._retry_s) and time.monotonic() >= self._retry_at_s:
            self._turn = turn
            self._open()
        return self._source is not None

    def _since_us(self) -> int:
        """Return when what still matters was written at the earliest."""
        place_us = self._place[1] if self._place else self._from_us
        return min(place_us, clock.now_us() - self._ways.look_back_us) - _SLACK_US

    def _open(self) -> None:
        fault, files = "", []
        for file in self._received.written_since(self.name, self._since_us()):
            try:
                open_reader(Where(files=(file,), watched=False)).close()
                files.append(file)
            except RelayError as error:  # being made, or damaged: the others are read
                fault = str(error)
        try:
            self._read_in(Where(files=tuple(files), watched=False))
        except RelayError as error:
            fault = str(error)
        if fault:
            self._fail(fault)
        else:
            self._fault, self._retry_s, self._retry_at_s = None, 0.0, 0.0

    def _read_in(self, where: Where) -> None:
        if not where.files:
            self.rest()
        elif self._source:
            self._source.follow(where)
        else:
            source = JournalSource(where, matches(self._daemons), [])
            if isinstance(self._start, int):
                source.seek_time(self._start)
            else:
                self._go_behind(source, self._start)
            self._source = source
            source.stir()

    def _go_behind(self, source: JournalSource, cursor: str) -> None:
        try:
            if source.seek_cursor(cursor, inclusive=False):
                return
            what = "its entry is gone: logins since then may be missing"
        except ValueError:
            what = f"{cursor!r} is no cursor"
        self.remarks.append(Remark(f"{self._kept.path}: {what}"))
        source.seek_time(self._from_us)

    def _fail(self, trouble: str) -> None:
        """Try again after 0.1 s, doubling up to 5 s; a file that is just being made is no fault."""
        self._fault = trouble if self._retry_s else None
        self._retry_s = min(_RETRY_AT_MOST_S, 2 * self._retry_s or _RETRY_S)
        self._retry_at_s = time.monotonic() + self._retry_s

    # What is amiss

    def _tell_trouble(self, trouble: str | None) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        text = f"{trouble}; it is tried again" if trouble else "it is read again"
        self.remarks.append(Remark(f"{self.name}: {text}", over=trouble is None))

    def _note_clock(self, logged_at_us: int) -> None:
        """See by the last entry how late it came, and what that says of the host's clock."""
        late_us = clock.now_us() - logged_at_us
        self.lag_s = max(0, late_us) / 1e6
        if not self.clock.see(logged_at_us, logged_at_us + late_us):
            return
        text = f"{self.name}: {self.clock.told(late_us)}"
        self.remarks.append(Remark(text, over=self.clock.word == "right"))
