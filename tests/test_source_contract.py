"""What every source must do, the journal and log files by the same cases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from journalrelay.errors import NoInputError
from journalrelay.event import Login
from journalrelay.patterns import REGISTRY, Daemon
from journalrelay.patterns.unvouched import identifiers, unvouched
from journalrelay.recognition.logins import Logins, matches
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.logfile import Logfiles, LogfileSource
from journalrelay.sources.openjournal import Where
from journalrelay.sources.source import Source
from journalrelay.telling import ledger
from lab import mailfile
from lab.journald import login_line
from lab.journalfile import entry, make_journal
from lab.wait import wait_for

BASE_US = 1_795_400_000_000_000
SECOND = 1_000_000


class Log(Protocol):
    """A log that can be written to, and a source that reads it."""

    daemons: tuple[Daemon, ...]

    def write(self, *told: "Told") -> None:
        """Add to the log."""

    def open(self) -> Source:
        """Open a source on it."""

    def gone(self) -> str:
        """Return a cursor of a record that was there, and is not any more."""

    def missing(self) -> Source:
        """Open a source on a log that is not there."""


@dataclass
class Told:
    """A line and who logged it: the server itself, or a stranger with a name of his own."""

    message: str
    at_us: int
    by: str = "dovecot"
    pid: int = 4242
    uid: int = 0


def login(number: int, at_s: int) -> Told:
    return Told(login_line(f"192.0.2.{number}"), BASE_US + at_s * SECOND)


@dataclass
class InJournal:
    place: Path
    daemons: tuple[Daemon, ...] = REGISTRY
    _opened: list[Source] = field(default_factory=list)

    @property
    def where(self) -> Where:
        return Where(files=(self.place / "x.journal",))

    def write(self, *told: Told) -> None:
        units = {"dovecot": "dovecot.service", "popa3d": "popa3d.service"}
        programs = {"popa3d": "/usr/sbin/popa3d"}
        entries = [
            entry(
                one.message,
                one.at_us,
                unit=units.get(one.by, "evil.service"),
                exe=programs.get(one.by, "/usr/lib/dovecot/log"),
                identifier=one.by if one.by in units else "dovecot",
                pid=one.pid,
                uid=one.uid,
            )
            for one in told
        ]
        make_journal(entries, self.where.files[0])

    def open(self) -> Source:
        return JournalSource(self.where, matches(REGISTRY), ledger.matches(Path("/srv/popip.db")))

    def gone(self) -> str:
        return f"s={1:032x};i=1;b={2:032x};m=1;t=1;x=1"

    def missing(self) -> Source:
        return JournalSource(Where(files=(self.place / "none.journal",)), [], [])


@dataclass
class InFile:
    place: Path
    daemons: tuple[Daemon, ...] = unvouched(REGISTRY)

    @property
    def path(self) -> Path:
        return self.place / "mail.log"

    def write(self, *told: Told) -> None:
        with self.path.open("ab") as file:
            for one in told:
                pid = one.pid if one.by == "popa3d" else None
                file.write(mailfile.line(one.message, one.at_us, identifier=one.by, pid=pid))

    def open(self) -> Source:
        return self._source(self.path)

    def gone(self) -> str:
        other = InFile(self.place / "other")
        other.place.mkdir()
        other.write(login(99, 0))
        source = other.open()
        source.seek_time(0)
        (cursor,) = [record.cursor() for record in source.read(9)]
        source.close()
        name = cursor.split(";")[2].split("=")[0]
        mine = str(self.open().place() or self._first_cursor()).split(";")[2].split("=")[0]
        return cursor.replace(name, mine)

    def _first_cursor(self) -> str:
        source = self.open()
        source.seek_time(0)
        return next(iter([record.cursor() for record in source.read(1)]))

    def missing(self) -> Source:
        return self._source(self.place / "none.log")

    def _source(self, path: Path) -> Source:
        files = Logfiles((str(path),), (mailfile.HOST,))
        return LogfileSource(files, identifiers(self.daemons))


@pytest.fixture(params=[InJournal, InFile], ids=["journal", "file"])
def log(request: pytest.FixtureRequest, place: Path) -> Log:
    made: Log = request.param(place)
    return made


def addresses(source: Source, limit: int = 1000) -> list[int]:
    return [last_byte(record.message) for record in source.read(limit)]


def last_byte(message: bytes) -> int:
    return int(message.split(b"rip=")[1].split(b",")[0].rpartition(b".")[2])


def five(log: Log) -> Source:
    """Return a source with five logins, a second apart, and a stranger's line behind each."""
    for number in range(5):
        stranger = Told(login_line("203.0.113.66"), BASE_US + number * SECOND + 1, by="evil")
        log.write(login(number, number), stranger)
    return log.open()


def test_a_record_shows_what_was_logged(log: Log) -> None:
    log.write(login(7, 0))
    source = log.open()
    source.seek_time(0)
    for record in source.read(1):
        assert record.message == login_line("192.0.2.7").encode()
        assert record.field("SYSLOG_IDENTIFIER") == b"dovecot"
        assert record.field("NO_SUCH_FIELD") is None
        assert (record.field("_SYSTEMD_UNIT") is not None) == source.vouched
        assert record.logged_at_us() == BASE_US
        assert record.clock_ahead_us() == 0
        assert record.cursor().isprintable()
    assert source.last_time_us() == BASE_US
    assert source.trouble() is None
    assert source.remarks() == []


def test_only_what_is_asked_for_is_read(log: Log) -> None:
    source = five(log)
    source.seek_time(0)
    assert addresses(source) == [0, 1, 2, 3, 4]


def test_reading_goes_on_where_a_batch_ended(log: Log) -> None:
    source = five(log)
    source.seek_time(BASE_US + SECOND)
    assert addresses(source, 2) == [1, 2]
    assert addresses(source) == [3, 4]
    assert addresses(source) == []


def test_a_time_leads_to_the_first_record_at_or_after_it(log: Log) -> None:
    source = five(log)
    for time_us, first in ((0, 0), (2 * SECOND, 2), (2 * SECOND + 1, 3), (9 * SECOND, 5)):
        source.seek_time(BASE_US + time_us if time_us else 0)
        assert addresses(source) == list(range(first, 5))


def test_a_place_is_that_of_the_last_record(log: Log) -> None:
    source = five(log)
    source.seek_time(0)
    assert source.place() is None
    assert addresses(source, 3) == [0, 1, 2]
    place = source.place()
    assert place is not None
    assert 2 * SECOND <= place[1] - BASE_US < 3 * SECOND
    assert source.seek_cursor(place[0], inclusive=False)
    assert source.place() == place
    assert addresses(source) == [3, 4]
    assert source.seek_cursor(place[0], inclusive=True)
    assert addresses(source, 1) == [2]


def test_a_cursor_leads_to_its_record_or_behind_it(log: Log) -> None:
    source = five(log)
    source.seek_time(0)
    for number, cursor in enumerate([record.cursor() for record in source.read(9)]):
        assert source.seek_cursor(cursor, inclusive=True)
        assert addresses(source, 1) == [number]
        assert source.seek_cursor(cursor, inclusive=False)
        assert addresses(source) == list(range(number + 1, 5))


def test_a_cursor_holds_in_another_process(log: Log) -> None:
    source = five(log)
    source.seek_time(0)
    assert addresses(source, 2) == [0, 1]
    place = source.place()
    source.close()
    log.write(login(5, 5))
    later = log.open()
    assert later.name == source.name
    assert place and later.seek_cursor(place[0], inclusive=False)
    assert addresses(later) == [2, 3, 4, 5]


def test_a_gone_cursor_is_told_and_nothing_behind_it_is_skipped(log: Log) -> None:
    source = five(log)
    assert not source.seek_cursor(log.gone(), inclusive=False)
    assert addresses(source) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cursor", ["", "garbage", "s=1", "\n", "s=zz;i=1", "log1;", "log1;0;x=y"])
def test_what_is_no_cursor_is_refused(log: Log, cursor: str) -> None:
    with pytest.raises(ValueError):
        five(log).seek_cursor(cursor, inclusive=False)


def test_what_is_not_there_is_said(log: Log) -> None:
    with pytest.raises(NoInputError, match="none"):
        log.missing()


def test_what_comes_later_is_followed(log: Log) -> None:
    source = five(log)
    source.seek_time(BASE_US + 3 * SECOND)
    assert addresses(source) == [3, 4]
    for number in range(5, 10):
        log.write(login(number, number))
        found = wait_for(lambda: follow(source), f"login {number}")
        assert found == [number]


def follow(source: Source) -> list[int]:
    source.refresh()
    return addresses(source)


def test_what_lies_before_the_next_record_is_read_apart(log: Log) -> None:
    source = five(log)

    def earlier(span_s: int) -> list[int]:
        return [last_byte(record.message) for record in source.earlier(span_s * SECOND)]

    source.seek_time(BASE_US + 2 * SECOND)
    assert earlier(1) == [1]
    assert earlier(60) == [0, 1]
    moves = source.moves
    assert addresses(source, 1) == [2]
    place = source.place()
    assert earlier(1)[-2:] == [1, 2]
    assert (source.place(), source.moves) == (place, moves)
    assert addresses(source) == [3, 4]
    assert place
    assert source.seek_cursor(place[0], inclusive=True)
    assert earlier(60) == [0, 1]
    assert source.seek_cursor(place[0], inclusive=False)
    assert earlier(60) == [0, 1, 2]
    assert source.moves == moves + 2
    source.seek_time(0)
    assert earlier(60) == []


def test_nothing_was_done_by_hand(log: Log) -> None:
    assert list(five(log).by_hand(0)) == []


def logins(source: Source, daemons: Sequence[Daemon]) -> Iterator[Login]:
    known = Logins(daemons, vouched=source.vouched)
    for record in source.read(1000):
        found = known.read(record)
        if isinstance(found, Login):
            yield found


def test_logins_in_one_line_and_in_two_come_of_it(log: Log) -> None:
    def popa3d(text: str, at_s: int, pid: int, uid: int) -> Told:
        return Told(text, BASE_US + at_s * SECOND, by="popa3d", pid=pid, uid=uid)

    log.write(
        login(1, 0),
        popa3d("Session from 192.0.2.2", 1, 17, 0),
        popa3d("Session from 192.0.2.3", 2, 18, 0),
        popa3d("Authentication passed for anna", 3, 18, 1000),
        popa3d("Authentication passed for bert", 4, 17, 1000),
        popa3d("Authentication passed for carl", 5, 19, 1000),
    )
    source = log.open()
    source.seek_time(0)
    found = [(str(one.address), one.user) for one in logins(source, log.daemons)]
    assert found == [
        ("192.0.2.1", b"u-192.0.2.1"),
        ("192.0.2.3", b"anna"),
        ("192.0.2.2", b"bert"),
    ]
