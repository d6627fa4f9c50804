"""The journal as a source: what systemd-python's private calls must do, places, errors."""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from journalrelay.errors import DataError, NoInputError, UnavailableError
from journalrelay.event import Login
from journalrelay.patterns import REGISTRY
from journalrelay.recognition.logins import Logins, matches
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.openjournal import Where
from journalrelay.telling import ledger
from lab.journald import Journald, Sender, login_line
from lab.journalfile import Field, entry, make_journal
from lab.wait import wait_for
from tests.support import now_us

BASE_US = 1_795_400_000_000_000
GONE = "s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000002;m=1;t=1;x=1"


def source(where: Where) -> JournalSource:
    return JournalSource(where, matches(REGISTRY), ledger.matches(Path("/srv/popip.db")))


def recorded(place: Path, count: int = 5) -> Where:
    """Return a journal file with ``count`` logins, a second apart, and a stranger's line in
    between."""
    entries = []
    for number in range(count):
        at = BASE_US + number * 1_000_000
        entries.append(entry(login_line(f"192.0.2.{number}"), at))
        entries.append(entry(login_line("203.0.113.66"), at + 1, unit="evil.service"))
    return Where(files=(make_journal(entries, place / "x.journal"),))


def messages(made: JournalSource, limit: int = 1000) -> list[bytes]:
    return [record.message.split(b"rip=")[1].split(b",")[0] for record in made.read(limit)]


def test_the_private_calls_do_what_is_needed_of_them(place: Path) -> None:
    made = source(recorded(place, 1))
    made.seek_time(0)
    for record in made.read(1):
        assert record.message == login_line("192.0.2.0").encode()
        assert record.field("_SYSTEMD_UNIT") == b"dovecot.service"
        assert record.field("NO_SUCH_FIELD") is None
        assert record.logged_at_us() == BASE_US
        assert record.clock_ahead_us() == 0
        assert record.cursor().startswith("s=")
    assert made.fileno() is not None
    assert made.last_time_us() == BASE_US


def test_a_systemd_python_without_them_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        """What another version may bring."""

        _next = _previous = _get = _get_cursor = _get_realtime = _get_monotonic = None

    monkeypatch.setattr("journalrelay.sources.openjournal.Reader", Other)
    with pytest.raises(UnavailableError, match="has no _get_all .install python3-systemd"):
        source(Where(files=(place / "x.journal",)))


def test_fields_are_the_same_however_many_are_asked_for(place: Path) -> None:
    """Of entries that are asked for many, all fields are taken at once."""
    names = ("_EXE", "_UID", "TWICE", "NOT_UTF8", "LONG", "NONE", "MESSAGE")
    extra: list[Field] = [("TWICE", "one"), ("TWICE", "two")]
    extra += [("NOT_UTF8", b"\xff\n"), ("LONG", "x" * 100_000)]
    entries = [entry(f"line {n}", BASE_US + n, pid=100 + n, extra=extra) for n in range(40)]
    where = Where(files=(make_journal(entries, place / "x.journal"),))
    seen = []
    for one_by_one in (True, False):
        made = source(where)
        made.seek_time(0)
        for record in made.read(40):
            asked = [record.field("_PID"), *(map(record.field, names) if not one_by_one else ())]
            seen.append((record.message, asked))
    assert [message for message, _ in seen[:40]] == [message for message, _ in seen[40:]]
    assert [asked[0] for _, asked in seen] == [b"%d" % (100 + n) for n in range(40)] * 2
    first, last = seen[40], seen[-1]
    assert first[1][1:-1] == last[1][1:-1]
    assert last[1][1:4] == [b"/usr/lib/dovecot/log", b"0", first[1][3]]
    assert last[1][3] in (b"one", b"two") and last[1][4] == b"\xff\n"
    assert last[1][5] and last[1][5].startswith(b"x" * 65_000)
    assert last[1][6:] == [None, b"line 39"]


def test_only_what_the_matches_name_is_read(place: Path) -> None:
    made = source(recorded(place, 3))
    made.seek_time(0)
    assert messages(made) == [b"192.0.2.0", b"192.0.2.1", b"192.0.2.2"]


def test_reading_goes_on_where_a_batch_ended(place: Path) -> None:
    made = source(recorded(place))
    made.seek_time(BASE_US + 1_000_000)
    assert messages(made, 2) == [b"192.0.2.1", b"192.0.2.2"]
    assert made.place() and made.place()[1] == BASE_US + 2_000_000  # type: ignore[index]
    assert messages(made) == [b"192.0.2.3", b"192.0.2.4"]
    assert messages(made) == []


def test_a_cursor_leads_to_its_entry_or_behind_it(place: Path) -> None:
    made = source(recorded(place))
    made.seek_time(0)
    cursor = [record.cursor() for record in made.read(3)][-1]
    assert made.seek_cursor(cursor, inclusive=True)
    assert messages(made, 1) == [b"192.0.2.2"]
    assert made.seek_cursor(cursor, inclusive=False)
    assert messages(made, 1) == [b"192.0.2.3"]


def test_a_gone_cursor_is_told_and_nothing_behind_it_is_skipped(place: Path) -> None:
    made = source(recorded(place))
    assert not made.seek_cursor(GONE, inclusive=False)
    assert messages(made) == [b"192.0.2.%d" % n for n in range(5)]


@pytest.mark.parametrize("cursor", ["", "garbage", "s=1", "\n", "s=zz;i=1"])
def test_what_is_no_cursor_is_refused(place: Path, cursor: str) -> None:
    with pytest.raises(ValueError):
        source(recorded(place)).seek_cursor(cursor, inclusive=False)


def test_each_set_of_files_has_its_own_name(place: Path) -> None:
    names = {
        Where().name,
        Where(namespace="mail").name,
        Where(directory=Path("/a")).name,
        Where(files=(Path("/a"),)).name,
        Where(files=(Path("/a"), Path("/b"))).name,
    }
    assert len(names) == 5
    assert all("/" not in name for name in names)


def test_what_cannot_be_read_is_said(place: Path) -> None:
    with pytest.raises(NoInputError, match="none.journal"):
        source(Where(files=(place / "none.journal",)))
    with pytest.raises(NoInputError, match="none"):
        source(Where(directory=place / "none"))
    (place / "bad.journal").write_bytes(b"no journal")
    with pytest.raises(DataError, match="bad.journal"):
        source(Where(files=(place / "bad.journal",)))
    with pytest.raises(UnavailableError, match="journald"):
        source(Where(namespace="nonesuch"))


def test_a_zeroed_tail_reads_up_to_it(place: Path) -> None:
    where = recorded(place, 400)
    made = source(where)
    made.seek_time(0)
    assert len(messages(made)) == 400
    made.close()
    file = where.files[0]
    content = bytearray(file.read_bytes())
    used = len(content.rstrip(b"\0"))
    content[used - 40_000 : used] = bytes(40_000)  # what is before are mostly hash tables
    file.write_bytes(content)
    damaged = source(where)
    damaged.seek_time(0)
    found = messages(damaged)
    assert len(found) < 400
    assert found or "cannot be read" in str(damaged.trouble())
    assert found == [b"192.0.2.%d" % n for n in range(len(found))]


class Failing:
    """A reader that fails a few times where libsystemd would on a file damaged under it."""

    def __init__(self, reader: object, failures: int) -> None:
        self._reader = reader
        self.failures = failures

    def _next(self) -> bool:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EBADMSG, "Bad message")
        return bool(self._reader._next())  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)


def test_after_an_error_the_reader_is_opened_anew_and_nothing_is_skipped(place: Path) -> None:
    made = source(recorded(place))
    made.seek_time(0)
    assert messages(made, 2) == [b"192.0.2.0", b"192.0.2.1"]
    made._reader = Failing(made._reader, 1)  # type: ignore[assignment]
    assert messages(made) == []
    assert "Bad message" in str(made.trouble())
    assert made.fileno() is None
    found = wait_for(lambda: follow(made), "the entries behind the error")
    assert found == [b"192.0.2.2", b"192.0.2.3", b"192.0.2.4"]
    assert made.trouble() is None


def follow(made: JournalSource) -> list[bytes]:
    made.refresh()
    return messages(made)


def test_a_journal_without_a_matching_entry_is_followed(journald: Journald, place: Path) -> None:
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    assert follow(made) == []
    with Sender() as sender:
        sender.send(login_line("192.0.2.7"))
        assert wait_for(lambda: follow(made), "the first login") == [b"192.0.2.7"]


def test_a_reader_sees_what_comes_after_rotation_kill_and_vacuum(journald: Journald) -> None:
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    expected: list[bytes] = []
    seen: list[bytes] = []

    def log(sender: Sender, number: int) -> None:
        sender.send(login_line(f"192.0.2.{number}"))
        expected.append(b"192.0.2.%d" % number)

    def all_seen() -> bool:
        for address in follow(made):  # what was read before its file was vacuumed is read twice
            if address not in seen:
                seen.append(address)
        return len(seen) >= len(expected)

    with Sender() as sender:
        for number, disturb in enumerate(
            (journald.rotate, journald.restart, journald.vacuum, journald.sync) * 3
        ):
            log(sender, 2 * number)
            disturb()
            log(sender, 2 * number + 1)
            wait_for(all_seen, f"login {number} after {disturb.__name__}")
        journald.kill()
        log(sender, 100)
        journald.start()
        wait_for(all_seen, "the login that waited in journald's socket")
    assert seen == expected


def test_a_journal_is_still_until_an_entry_comes(journald: Journald) -> None:
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    with Sender() as sender:
        for number, disturb in enumerate((journald.sync, journald.rotate, journald.restart)):
            disturb()
            wait_for(lambda: not follow(made) and made.at_rest and made.still(), "rest")
            sender.send(login_line(f"192.0.2.{number}"))
            wait_for(lambda: not made.still(), f"growth after {disturb.__name__}")
            assert wait_for(lambda: follow(made), "the login") == [b"192.0.2.%d" % number]


def test_an_entry_that_was_seen_before_a_rotation_is_read_after_it(journald: Journald) -> None:
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    with Sender() as sender:
        for number in range(5):
            wait_for(lambda: not follow(made) and made.at_rest and made.still(), "rest")
            sender.send(login_line(f"192.0.2.{number}"))
            wait_for(lambda: not made.still(), "the entry")
            journald.rotate()
            assert wait_for(lambda: follow(made), "the login") == [b"192.0.2.%d" % number]


def test_files_that_have_gone_are_not_held(journald: Journald) -> None:
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    with Sender() as sender:
        for _ in range(3):
            sender.send(login_line("192.0.2.7"))
            journald.rotate()
    journald.vacuum()
    wait_for(lambda: not follow(made) and made.still(), "rest")
    links = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert not [link for link in links if ".journal" in link and ("@" in link or "del" in link)]


@pytest.mark.parametrize("count", [1, 17])
def test_what_is_there_at_first_is_not_taken_for_stillness(place: Path, count: int) -> None:
    one = recorded(place).files[0]
    files = tuple(Path(shutil.copy(one, place / f"{n}.journal")) for n in range(count))
    made = source(Where(files=files))
    made.seek_time(0)
    assert not made.still()
    assert len(follow(made)) == 5
    wait_for(lambda: not follow(made) and made.still(), "rest")


def test_a_journal_that_becomes_persistent_meanwhile_is_followed() -> None:
    with Journald(Storage="auto") as journald, Sender() as sender:
        persistent = Path("/var/log/journal") / journald.directory.name
        before = persistent.parent.stat()
        shutil.rmtree(persistent.parent)
        journald.restart()
        made = source(Where())
        made.seek_time(now_us() - 900_000_000)
        assert follow(made) == []
        persistent.mkdir(parents=True)
        shutil.chown(persistent.parent, before.st_uid, before.st_gid)
        persistent.parent.chmod(before.st_mode)
        journald.restart()
        journald.flush()
        sender.send(login_line("192.0.2.1"))
        assert wait_for(lambda: follow(made), "a login on disk") == [b"192.0.2.1"]
        assert (persistent / "system.journal").exists()


def test_vacuumed_files_are_let_go(journald: Journald) -> None:
    made = source(Where())
    made.seek_time(0)
    with Sender() as sender:
        for number in range(5):
            sender.send(login_line(f"192.0.2.{number}"))
            journald.rotate()
            wait_for(lambda: follow(made), "the login")
    journald.vacuum()
    wait_for(lambda: not follow(made) and not held_deleted(), "no deleted file held open")


def held_deleted() -> list[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if ".journal" in line and "(deleted)" in line]


def test_who_asks_all_the_time_misses_no_entry(journald: Journald) -> None:
    """Some of these logins are looked for while journald links them. libsystemd then keeps them
    back until the next entry comes, and here none comes before the last one was seen."""
    made = source(Where())
    made.seek_time(now_us() - 900_000_000)
    kept_back = 0
    with Sender() as sender:
        for number in range(20_000):
            sender.send(login_line(f"192.0.2.{number % 256}"))
            sent_s = time.monotonic()
            found = wait_for(lambda: follow(made), f"login {number}", step_s=0)
            assert found == [b"192.0.2.%d" % (number % 256)]
            kept_back += time.monotonic() - sent_s > 0.1
            if kept_back == 3:
                break


def test_what_appears_late_in_another_file_is_read_all_the_same(place: Path) -> None:
    began_us = now_us()
    (place / "journal").mkdir()

    def log(name: str, numbers: Sequence[int]) -> None:
        """Let a file with these logins appear at once; they were logged in the numbers' order."""
        entries = [entry(login_line(f"192.0.2.{n}"), began_us + n * 1000) for n in numbers]
        make_journal(entries, place / name).rename(place / "journal" / name)

    log("a.journal", [0, 2, 4])
    made = source(Where(directory=place / "journal"))
    made.seek_time(0)
    assert messages(made) == [b"192.0.2.%d" % n for n in (0, 2, 4)]
    assert made.place() is None
    assert made.settle()
    settled, moves = made.place(), made.moves
    log("b.journal", [6])
    assert wait_for(lambda: follow(made), "the next login") == [b"192.0.2.6"]
    assert made.place() == settled
    log("c.journal", [5])
    found: list[bytes] = []

    def goes_on() -> bool:
        found.extend(follow(made))
        return made.place() != settled

    wait_for(goes_on, "a new place")
    assert found == [b"192.0.2.5", b"192.0.2.6"]
    assert made.place() == (made.place() or ("",))[:1] + (began_us + 6000,)
    assert made.moves == moves + 1


def test_an_order_that_is_never_the_same_does_not_hold_up_the_place(place: Path) -> None:
    began_us = now_us()
    entries = [entry(login_line(f"192.0.2.{n}"), began_us + n) for n in range(3)]
    made = source(Where(files=(make_journal(entries, place / "x.journal"),)))
    made.seek_time(0)
    comes, made._comes_to_place = made._comes_to_place, lambda: False  # type: ignore[method-assign]
    for _ in range(9):
        assert messages(made) == [b"192.0.2.0", b"192.0.2.1", b"192.0.2.2"]
        assert made.place() is None
        assert not made.settle()
    assert made.place() and made.place()[1] == began_us + 2  # type: ignore[index]
    made._comes_to_place = comes  # type: ignore[method-assign]
    assert messages(made) == []
    assert made.settle()


def test_a_users_file_is_read_too(journald: Journald) -> None:
    """A daemon whose log process runs under a login uid logs to user-UID.journal (trap 8); the
    identity decides, not the file."""
    made, logins, found = source(Where()), Logins(REGISTRY), list[str]()
    made.seek_time(now_us() - 900_000_000)

    def read() -> int:
        made.refresh()
        records = 0
        for record in made.read(1000):
            records += 1
            login = logins.read(record)
            found.extend([str(login.address)] if isinstance(login, Login) else [])
        return records

    with Sender(uid=1234) as user, Sender() as sender:
        user.send(login_line("203.0.113.66"))
        wait_for(read, "the user's line")
        sender.send(login_line("192.0.2.7"))
        wait_for(read, "the login")
    assert found == ["192.0.2.7"]


def test_what_lies_before_the_next_entry_is_read_apart(place: Path) -> None:
    made = source(recorded(place))

    def earlier(span_s: int) -> list[bytes]:
        return [r.message.split(b"rip=")[1].split(b",")[0] for r in made.earlier(span_s * 1000000)]

    made.seek_time(BASE_US + 2_000_000)
    assert earlier(1) == [b"192.0.2.1"]
    assert earlier(60) == [b"192.0.2.0", b"192.0.2.1"]
    moves = made.moves
    assert messages(made, 1) == [b"192.0.2.2"]
    place_ = made.place()
    assert earlier(1) == [b"192.0.2.1", b"192.0.2.2"]
    assert (made.place(), made.moves) == (place_, moves)
    assert messages(made) == [b"192.0.2.3", b"192.0.2.4"]
    assert place_
    assert made.seek_cursor(place_[0], inclusive=True)
    assert earlier(60) == [b"192.0.2.0", b"192.0.2.1"]
    assert made.seek_cursor(place_[0], inclusive=False)
    assert earlier(60) == [b"192.0.2.0", b"192.0.2.1", b"192.0.2.2"]
    assert made.moves == moves + 2
    made.seek_time(0)
    assert earlier(60) == []


def test_a_namespace_is_read_by_its_name(place: Path) -> None:
    with Journald(namespace="mail"), Sender(namespace="mail") as sender:
        sender.send(login_line("192.0.2.9"))
        made = wait_for(lambda: opened(Where(namespace="mail")), "the namespace's journal")
        made.seek_time(0)
        assert wait_for(lambda: follow(made), "the login") == [b"192.0.2.9"]


def opened(where: Where) -> JournalSource | None:
    try:
        return source(where)
    except UnavailableError:
        return None


RARE = "solid-pop3d.service"  # of which no entry is there at first
MANY = 1_500  # entries: of these, reading asks only for what there is


def many(place: Path) -> JournalSource:
    """Return a source of as many old entries, in a directory that others can come into."""
    entries = [entry(login_line(f"192.0.2.{n}"), BASE_US + n * 1_000) for n in range(MANY)]
    make_journal(entries, place / "x.journal")
    made = source(Where(directory=place))
    made.seek_time(0)
    return made


def come(place: Path, address: str, at_us: int, name: str = "y.journal") -> None:
    """Let the first entry of another unit come, in a file of its own."""
    make_journal([entry(login_line(address), at_us, unit=RARE)], place / name)


def test_of_much_that_is_old_only_the_units_that_there_are_are_asked_for(place: Path) -> None:
    made = many(place)
    assert messages(made, MANY - 1) == [b"192.0.2.%d" % n for n in range(MANY - 1)]
    assert made._asked_until_us
    come(place, "198.51.100.9", now_us())
    made.refresh()
    assert messages(made) == [b"192.0.2.%d" % (MANY - 1)]
    assert not made._asked_until_us
    assert messages(made) == [b"198.51.100.9"]
    assert messages(made) == []


def test_a_unit_that_comes_while_much_is_read_is_read_once_more_for(place: Path) -> None:
    """What was logged lately is not passed over, however early among that it was."""
    made = many(place)
    lately = [entry(login_line("203.0.113.1"), now_us() - 30_000_000)]
    make_journal(lately, place / "z.journal")
    made.refresh()
    reading = made.read(2 * MANY)
    for _ in range(MANY - 200):
        next(reading)
    assert made._asked_until_us
    come(place, "198.51.100.9", now_us() - 60_000_000)
    made._reader.process()  # and its file is known
    assert [r.message.split(b"rip=")[1].split(b",")[0] for r in reading][-1] == b"203.0.113.1"
    place_before = made.place()
    assert place_before is None or place_before[1] < now_us() - 60_000_000
    made.refresh()
    assert messages(made, 2 * MANY)[-2:] == [b"198.51.100.9", b"203.0.113.1"]
    assert made.settle() and made.place()[1] > now_us() - 60_000_000  # type: ignore[index]


def test_where_nothing_is_old_all_is_asked_for(place: Path) -> None:
    entries = [entry(login_line(f"192.0.2.{n}"), now_us() + n) for n in range(MANY)]
    made = source(Where(files=(make_journal(entries, place / "x.journal"),)))
    made.seek_time(0)
    assert len(messages(made, MANY - 1)) == MANY - 1
    assert not made._asked_until_us


def test_files_that_another_host_sent_may_be_old_and_still_grow(place: Path) -> None:
    entries = [entry(login_line(f"192.0.2.{n}"), BASE_US + n) for n in range(MANY)]
    file = make_journal(entries, place / "x.journal")
    made = source(Where(files=(file,), watched=False))
    made.seek_time(0)
    assert len(messages(made, MANY - 1)) == MANY - 1
    assert not made._asked_until_us


def test_who_begins_anew_asks_for_all(place: Path) -> None:
    made = many(place)
    assert len(messages(made, MANY - 1)) == MANY - 1
    come(place, "198.51.100.9", BASE_US - 1)
    made.refresh()
    made.seek_time(0)
    assert messages(made, 1) == [b"198.51.100.9"]


def test_what_was_before_is_the_same_however_much_it_is(place: Path) -> None:
    made = many(place)
    made.seek_time(BASE_US + MANY * 1_000)
    earlier = [r.message.split(b"rip=")[1].split(b",")[0] for r in made.earlier(10**9)]
    assert earlier == [b"192.0.2.%d" % n for n in range(MANY)]
