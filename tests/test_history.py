"""What was told is read back from a real journal, and only what may be believed of it."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from journalrelay.errors import PermissionRelayError
from journalrelay.history import History, Told
from journalrelay.sources.openjournal import Where
from journalrelay.telling.ledger import Journal
from journalrelay.telling.log import open_log
from journalrelay.telling.message import EXPIRED, GRANTED, REFUSED, Kind
from lab.journald import Journald, Sender
from lab.journalfile import Field, entry, make_journal
from tests.support import now_us

BEGAN_US = 1_795_000_000_000_000
OURS = "poprelayd.service"


def told(map_path: Path, kind: Kind, address: str, *more: Field) -> list[Field]:
    return [
        ("MESSAGE_ID", kind.id),
        ("RELAY_MAP", str(map_path)),
        ("RELAY_ADDRESS", address),
        *more,
    ]


def addresses(entries: Iterable[Told]) -> list[str | None]:
    return [one.text("RELAY_ADDRESS") for one in entries]


def journal_of(place: Path, *entries: bytes) -> Where:
    return Where(files=(make_journal(entries, place / "told.journal"),))


def ours(number: int, fields: list[Field], uid: int = 0, unit: str = OURS) -> bytes:
    time_us = BEGAN_US + number * 1_000_000
    return entry(
        "told", time_us, unit=unit, uid=uid, transport="journal", identifier="", extra=fields
    )


def test_both_ways_through_what_was_told(place: Path) -> None:
    kinds = (GRANTED, REFUSED, GRANTED, EXPIRED)
    where = journal_of(
        place,
        *(
            ours(number, told(place / "popip.db", kind, f"192.0.2.{number}"))
            for number, kind in enumerate(kinds)
        ),
    )
    history = History(where, place / "popip.db")
    assert addresses(history.since(0, [GRANTED])) == ["192.0.2.0", "192.0.2.2"]
    assert addresses(history.since(BEGAN_US + 1, [GRANTED, REFUSED])) == ["192.0.2.1", "192.0.2.2"]
    assert addresses(history.backwards([EXPIRED, GRANTED])) == [
        "192.0.2.3",
        "192.0.2.2",
        "192.0.2.0",
    ]
    only = [b"RELAY_ADDRESS=192.0.2.0", b"RELAY_ADDRESS=192.0.2.3"]
    assert addresses(history.backwards([EXPIRED, GRANTED], only)) == ["192.0.2.3", "192.0.2.0"]
    assert [one.kind for one in history.since(0, kinds)] == list(kinds)
    assert history.first_time_us() == BEGAN_US
    history.close()


def test_what_an_entry_says_is_text_and_numbers(place: Path) -> None:
    fields = told(place / "popip.db", GRANTED, "192.0.2.7", ("RELAY_USER", b"\xff"))
    fields += [("RELAY_EXPIRY", "1795000900"), ("RELAY_COUNT", "many")]
    history = History(journal_of(place, ours(0, fields)), place / "popip.db")
    (one,) = history.since(0, [GRANTED])
    assert (one.text("RELAY_USER"), one.text("RELAY_DAEMON")) == (r"\xff", None)
    assert (one.number("RELAY_EXPIRY"), one.number("RELAY_COUNT")) == (1795000900, 0)
    assert one.record.logged_at_us() == BEGAN_US
    history.close()


def test_others_and_other_maps_are_not_believed(place: Path) -> None:
    os.chown(place, 4711, 4711)  # the daemon's user, by the map's directory
    ours_map, another = place / "popip.db", place / "other.db"
    where = journal_of(
        place,
        ours(0, told(ours_map, GRANTED, "192.0.2.1"), uid=4711),
        ours(1, told(ours_map, GRANTED, "192.0.2.2"), uid=0, unit="session-1.scope"),
        ours(2, told(ours_map, GRANTED, "203.0.113.66"), uid=1000),
        ours(3, told(another, GRANTED, "203.0.113.66"), uid=4711),
    )
    history = History(where, ours_map)
    assert addresses(history.since(0, [GRANTED])) == ["192.0.2.1", "192.0.2.2"]
    history.close()


def test_of_a_map_that_is_elsewhere_the_units_speak(place: Path) -> None:
    away = Path("/nowhere/popip.db")
    where = journal_of(
        place,
        ours(0, told(away, GRANTED, "192.0.2.1"), uid=4711),
        ours(1, told(away, EXPIRED, "192.0.2.2"), uid=4711, unit="poprelayd-expire.service"),
        ours(2, told(away, GRANTED, "203.0.113.66"), uid=0, unit="user@0.service"),
    )
    history = History(where, away)
    assert addresses(history.since(0, [GRANTED, EXPIRED])) == ["192.0.2.1", "192.0.2.2"]
    history.close()


def test_a_running_journal_gives_what_the_log_has_told(
    journald: Journald, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    began_us = now_us()
    log = open_log(Journal(), place / "popip.db")
    log(GRANTED, "granted 192.0.2.7", RELAY_ADDRESS="192.0.2.7", RELAY_USER="anna")
    forged = dict(told(place / "popip.db", GRANTED, "203.0.113.66"))
    with Sender(uid=1000, transport="journal") as local_user:
        local_user.send_fields({"MESSAGE": "granted", **forged}.items())
    journald.sync()
    history = History(Where(), place / "popip.db")
    found = [
        (one.text("RELAY_ADDRESS"), one.text("RELAY_USER"), one.record.logged_at_us() >= began_us)
        for one in history.backwards([GRANTED])
    ]
    assert found == [("192.0.2.7", "anna", True)]
    history.close()


def test_a_journal_that_may_not_be_read_is_said(journald: Journald, place: Path) -> None:
    journald.sync()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(4711, 4711, 4711)
        os.setresuid(4711, 4711, 4711)
        try:
            History(Where(), place / "popip.db")
        except PermissionRelayError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
