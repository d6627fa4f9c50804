"""What is told, read back from a real journald: its fields, its bounds, and what it leaves out."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from journalrelay.telling import message
from journalrelay.telling.ledger import Journal
from journalrelay.telling.message import (
    COUNTED,
    EXPIRED,
    FAILED,
    FAULT,
    GRANTED,
    HAND_GRANT,
    HAND_REVOCATION,
    READY,
    REFUSED,
    RELOAD_REFUSED,
    REVOKED,
    SOURCE_BACK,
    SOURCE_LOST,
    STOPPED,
    Kind,
    Shown,
)
from journalrelay.telling.report import Report
from journalrelay.telling.teller import LISTED_AT_MOST, Teller
from lab import cgroup, room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import COMMAND, IN_JOURNAL, TOP, Poprelayd, journalrelay
from lab.wait import wait_for
from tests.support import address

KINDS = [kind for kind in vars(message).values() if isinstance(kind, Kind)]


@pytest.fixture
def sender(journald: Journald) -> Iterator[Sender]:
    with Sender() as running:
        yield running


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    """Run a daemon as systemd does: standard error is the journal's stream."""
    with Poprelayd(place, wrapper=IN_JOURNAL) as running:
        yield running


def told(journald: Journald, *kinds: Kind) -> list[dict[str, Any]]:
    return journald.entries(*(f"MESSAGE_ID={kind.id}" for kind in kinds))


def await_told(journald: Journald, kind: Kind, count: int = 1) -> list[dict[str, Any]]:
    def all_there() -> list[dict[str, Any]] | None:
        found = told(journald, kind)
        return found if len(found) >= count else None

    return wait_for(all_there, f"{count} entries of {kind.word}")


def fields(entry: dict[str, Any]) -> dict[str, str]:
    """Return the fields of ours that an entry has."""
    return {name: value for name, value in entry.items() if name.startswith("RELAY_")}


def ours(journald: Journald) -> list[dict[str, Any]]:
    return journald.entries("SYSLOG_IDENTIFIER=poprelayd")


def test_no_two_kinds_have_an_id_or_a_word_in_common() -> None:
    assert len({kind.id for kind in KINDS}) == len({kind.word for kind in KINDS}) == len(KINDS)
    assert all(
        re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", kind.id) for kind in KINDS
    )


def test_ids_stand_in_one_place() -> None:
    package = Path(__file__).parent.parent / "journalrelay"
    ids = re.compile("|".join(kind.id for kind in KINDS))
    named = {file.name for file in package.rglob("*.py") if ids.search(file.read_text("utf-8"))}
    assert named == {"message.py"}


def test_a_grant_has_its_fields(daemon: Poprelayd, sender: Sender, journald: Journald) -> None:
    sender.send(login_line("192.0.2.7", user="x\u202e'evil"))
    (entry,) = await_told(journald, GRANTED)
    assert fields(entry) == {
        "RELAY_ADDRESS": "192.0.2.7",
        "RELAY_USER": r"x\u202e'evil",
        "RELAY_DAEMON": "dovecot",
        "RELAY_EXPIRY": str(daemon.granted()["192.0.2.7"]),
        "RELAY_MAP": str(daemon.map),
    }
    assert entry["MESSAGE"] == r"""granted 192.0.2.7: pop3 login of "x\u202e'evil" at dovecot"""
    assert (entry["PRIORITY"], entry["_TRANSPORT"]) == ("6", "journal")


def test_a_refusal_has_its_fields_and_is_told_once(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    for _ in range(3):
        sender.send(login_line("127.0.0.1"))
    sender.send(login_line("192.0.2.7"))
    await_told(journald, GRANTED)
    (entry,) = told(journald, REFUSED)
    assert fields(entry) == {
        "RELAY_ADDRESS": "127.0.0.1",
        "RELAY_USER": "u-127.0.0.1",
        "RELAY_DAEMON": "dovecot",
        "RELAY_REASON": "never granted: 127.0.0.0/8",
        "RELAY_MAP": str(daemon.map),
    }
    assert entry["MESSAGE"].startswith("refused 127.0.0.1: never granted: 127.0.0.0/8 (pop3 login")


def test_what_is_done_by_hand_is_in_the_ledger_alone(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    assert daemon.run("grant", "192.0.2.50").returncode == 0
    assert daemon.run("revoke", "192.0.2.50").returncode == 0
    (grant,) = told(journald, HAND_GRANT)
    assert fields(grant).keys() == {"RELAY_ADDRESS", "RELAY_EXPIRY", "RELAY_MAP"}
    (revocation,) = told(journald, HAND_REVOCATION)
    assert fields(revocation) == {"RELAY_ADDRESS": "192.0.2.50", "RELAY_MAP": str(daemon.map)}
    sender.send(login_line("192.0.2.7"))
    await_told(journald, GRANTED)
    assert [entry["RELAY_ADDRESS"] for entry in told(journald, GRANTED)] == ["192.0.2.7"]


def test_a_revocation_that_the_daemon_does_is_told(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    """Its entry is written and the map is not changed: the command was killed in between."""
    sender.send(login_line("192.0.2.7"))
    await_told(journald, GRANTED)
    journald.sync()
    Journal().send_surely(
        HAND_REVOCATION,
        "relay by hand: 192.0.2.7 revoked",
        RELAY_ADDRESS="192.0.2.7",
        RELAY_MAP=str(daemon.map),
    )
    (entry,) = await_told(journald, REVOKED)
    assert fields(entry) == {"RELAY_ADDRESS": "192.0.2.7", "RELAY_MAP": str(daemon.map)}


def test_start_reload_and_stop_are_told(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line("192.0.2.7"))
    sender.send(login_line("127.0.0.1"))
    await_told(journald, GRANTED)
    daemon.config.write_text('[relay]\nwindow = "soon"\n')
    daemon.reload()
    (refused,) = await_told(journald, RELOAD_REFUSED)
    assert "'soon' is not a time span" in refused["RELAY_REASON"]
    assert refused["PRIORITY"] == "4"
    daemon.config.write_text("")
    daemon.reload()
    first, second = await_told(journald, READY, 2)
    assert all(x["MESSAGE"].startswith(f"keeping {daemon.map} by logins") for x in (first, second))
    assert "; 0 addresses may relay; " in first["MESSAGE"]
    assert "; 1 addresses may relay; " in second["MESSAGE"]
    assert daemon.stop() == 0
    (stopped,) = told(journald, STOPPED)
    assert stopped["MESSAGE"].startswith("stopped; 1 addresses may relay")
    assert {entry["RELAY_MAP"] for entry in told(journald, READY, STOPPED)} == {str(daemon.map)}


def test_a_catch_up_is_one_line(daemon: Poprelayd, sender: Sender, journald: Journald) -> None:
    daemon.stop()
    before = len(ours(journald))
    sender.send_many(login_line(address(n)) for n in range(300))
    sender.send(login_line("127.0.0.1"))
    journald.sync()
    daemon.start()
    (line,) = ours(journald)[before:]
    assert line["MESSAGE_ID"] == READY.id
    assert "300 addresses may relay" in line["MESSAGE"]
    assert line["MESSAGE"].endswith("301 logins (300 granted, 1 refused)")


def test_a_fault_is_told(daemon: Poprelayd, journald: Journald) -> None:
    daemon.map.unlink()
    (entry,) = await_told(journald, FAULT)
    assert entry["RELAY_REASON"] == entry["MESSAGE"]
    assert "removed or replaced" in entry["MESSAGE"]


def test_a_source_that_fails_and_comes_back_is_told_once_each() -> None:
    lines: list[tuple[Kind, str, str | None]] = []
    teller = a_teller(
        lambda kind, text, RELAY_REASON=None: lines.append((kind, text, RELAY_REASON))
    )
    for trouble in (None, "EBADMSG", "EBADMSG", None, None):
        teller.trouble(trouble)
    assert lines == [
        (SOURCE_LOST, "EBADMSG", "EBADMSG"),
        (SOURCE_BACK, "what could not be read is read again", None),
    ]
    assert teller.report.last_fault == "EBADMSG"


def a_teller(log: Any) -> Teller:
    return Teller(log, Report(0, "", "", "", []), Shown(), speaking=True)


def test_why_the_daemon_ends_is_told(journald: Journald, place: Path) -> None:
    daemon = Poprelayd(place, wrapper=IN_JOURNAL, config='[relay]\nwindow = "soon"\nx = 1\n')
    daemon.launch()
    assert daemon.process.wait(30) == os.EX_CONFIG
    daemon.close()
    entries = told(journald, FAILED)
    assert ["window" in entries[0]["RELAY_REASON"], "relay.x" in entries[1]["RELAY_REASON"]] == [
        True,
        True,
    ]
    assert [entry["MESSAGE"] for entry in entries] == [
        f"journalrelay: {entry['RELAY_REASON']}" for entry in entries
    ]
    assert ours(journald) == entries  # and nowhere twice


# Volume


def test_a_flood_is_a_bounded_number_of_lines(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    """Of each kind so many a second are listed and the rest is counted; nothing is left out."""
    total, began_s = 3000, time.monotonic()
    for start in range(0, total, 500):
        sender.send_many(login_line(address(n)) for n in range(start, start + 500))
        sender.send_many(login_line(f"127.0.{start // 256}.{n}") for n in range(250))

    def all_told(kind: Kind, count: int) -> bool:
        summed = journald.entries(f"MESSAGE_ID={COUNTED.id}", f"RELAY_EVENT={kind.word}")
        return len(told(journald, kind)) + sum(int(e["RELAY_COUNT"]) for e in summed) == count

    wait_for(lambda: all_told(GRANTED, total), "all grants told")
    wait_for(lambda: all_told(REFUSED, total // 2), "all refusals told")
    seconds = time.monotonic() - began_s + 1
    assert len(ours(journald)) <= 2 * (LISTED_AT_MOST + 1) * seconds + 1
    assert len(told(journald, GRANTED)) >= LISTED_AT_MOST


def test_renewals_are_no_event_and_own_lines_are_not_read(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send_many(login_line("192.0.2.7") for _ in range(200))
    sender.send(login_line("127.0.0.1"))
    sender.send(login_line("192.0.2.8"))
    await_told(journald, GRANTED, 2)
    assert len(ours(journald)) == 4  # ready, granted, refused, granted
    sender.send(login_line("192.0.2.9"))

    def records() -> int:
        return int(json.loads((daemon.place / "status.json").read_text())["records"])

    wait_for(lambda: records() >= 203, "the report")
    assert records() == 203
    daemon.stop()
    assert "203 logins (202 granted, 1 refused)" in told(journald, STOPPED)[0]["MESSAGE"]


def test_only_the_ledger_is_read_back(journald: Journald, place: Path) -> None:
    """Root's daemon writes from this machine for this map: its kinds alone keep it apart."""
    for kind in KINDS:
        Journal().send_surely(
            kind,
            f"relay by hand: 192.0.2.{KINDS.index(kind) + 1} granted until 1",
            RELAY_ADDRESS=f"192.0.2.{KINDS.index(kind) + 1}",
            RELAY_EXPIRY=str(int(time.time()) + 900),
            RELAY_MAP=str(place / "popip.db"),
        )
    journald.sync()
    with Poprelayd(place) as daemon:
        assert set(daemon.granted()) == {f"192.0.2.{KINDS.index(HAND_GRANT) + 1}"}


def test_a_full_socket_neither_stops_the_relay_nor_goes_unsaid(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    """What journald had no room for is counted, and the number told when there is room again."""
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        for _ in range(1100):  # more than waits in the socket (net.unix.max_dgram_qlen)
            if not Journal().send(READY, "to fill the socket"):
                break
        else:
            pytest.fail("the socket takes it all")
        daemon.config.write_text('[relay]\nwindow = "soon"\n')
        for _ in range(2):
            daemon.reload()
    finally:
        os.kill(journald.pid, signal.SIGCONT)
    journald.sync()
    sender.send(login_line("192.0.2.7"))
    (entry,) = await_told(journald, FAULT)
    assert entry["MESSAGE"] == "journald did not take 2 of our lines"
    assert len(told(journald, GRANTED)) == 1


# Expiring


def expire_in_its_unit(place: Path, config: str = "") -> None:
    """Run `expire` as its unit does: its control group, its level, its standard error."""
    unit = "poprelayd-expire.service"
    level = Path("/run/systemd/units", f"log-level-max:{unit}")  # what systemd tells journald
    level.parent.mkdir(exist_ok=True)
    if not level.is_symlink():
        level.symlink_to("5")
    file = place / "expire.conf"
    file.write_text(config)
    words = ["-c", str(file), "expire", "--map", str(place / "popip.db")]
    joined = cgroup.join(room.slice_name(), f"system.slice/{unit}")
    subprocess.run([*IN_JOURNAL, *COMMAND, *words], preexec_fn=joined, check=True, cwd=TOP)


def expired_map(place: Path, count: int) -> int:
    changes, now_s = Changes(), int(time.time())
    for n in range(count):
        changes.grant(address(n).encode(), now_s - 1)
    popmap = PopMap(place / "popip.db", "hash")
    popmap.create()
    popmap.commit(changes, now_s - 900)
    return now_s - 1


def test_each_expiry_is_told_past_the_units_level(journald: Journald, place: Path) -> None:
    end_s = expired_map(place, LISTED_AT_MOST)
    expire_in_its_unit(place)
    entries = told(journald, EXPIRED)
    assert {entry["RELAY_ADDRESS"] for entry in entries} == {
        address(n) for n in range(LISTED_AT_MOST)
    }
    assert {entry["RELAY_EXPIRY"] for entry in entries} == {str(end_s)}
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {"poprelayd-expire.service"}
    assert len(ours(journald)) == LISTED_AT_MOST
    expire_in_its_unit(place)  # nothing left: nothing is said
    assert len(ours(journald)) == LISTED_AT_MOST


def test_many_expiries_are_one_line(journald: Journald, place: Path) -> None:
    expired_map(place, LISTED_AT_MOST + 1)
    expire_in_its_unit(place)
    (entry,) = ours(journald)
    assert entry["MESSAGE"] == "expired 21 addresses"
    assert fields(entry) == {
        "RELAY_EVENT": "expired",
        "RELAY_COUNT": "21",
        "RELAY_MAP": str(place / "popip.db"),
    }


def test_on_a_terminal_expire_says_how_many(journald: Journald, place: Path) -> None:
    expired_map(place, 3)
    done = journalrelay("expire", "--map", str(place / "popip.db"))
    assert (done.stdout, done.stderr) == ("3 expired, removed\n", "")
    assert ours(journald) == []


# Privacy

NEVER = '[relay]\nnever = ["192.0.2.66/32"]\n'


def private_day(journald: Journald, sender: Sender, place: Path, settings: str) -> str:
    """Let all happen that names a user or an address; return all that was logged, as text."""
    with Poprelayd(place, wrapper=IN_JOURNAL, config=NEVER + settings) as daemon:
        sender.send(login_line("192.0.2.66", user="carl"))
        sender.send(login_line("127.0.0.1", user="bert"))
        sender.send(login_line("192.0.2.7", user="anna"))
        await_told(journald, GRANTED)
        Journal().send_surely(
            HAND_REVOCATION,
            "relay by hand: 192.0.2.7 revoked",
            RELAY_ADDRESS="192.0.2.7",
            RELAY_MAP=str(daemon.map),
        )
        await_told(journald, REVOKED)
        PopMap(daemon.map, "hash").commit(far_ahead(), int(time.time()))
        daemon.reload()
        await_told(journald, FAULT)
        expired_map(place, 2)
        expire_in_its_unit(place, settings)
    entries = [entry for entry in ours(journald) if entry["MESSAGE_ID"] != HAND_REVOCATION.id]
    assert {entry["MESSAGE_ID"] for entry in entries} >= {
        kind.id for kind in (READY, GRANTED, REFUSED, REVOKED, FAULT, STOPPED)
    }
    kept = [{k: v for k, v in e.items() if not k.startswith("_")} for e in entries]
    return "\n".join(map(repr, kept)) + (place / "status.json").read_text()


def far_ahead() -> Changes:
    changes = Changes()
    changes.grant(b"192.0.2.99", int(time.time()) + 10**9)
    return changes


USERS = r"\b(anna|bert|carl)\b"
ADDRESSES = r"\b(192\.0\.2\.\d+|127\.0\.0\.\d+|198\.18\.\d+\.\d+)\b"


def test_users_can_be_left_out(journald: Journald, sender: Sender, place: Path) -> None:
    text = private_day(journald, sender, place, "[log]\nusers = false\n")
    assert not re.search(USERS, text)
    assert "RELAY_USER" not in text
    assert "granted 192.0.2.7: pop3 login at dovecot" in text


def test_addresses_can_be_left_out(journald: Journald, sender: Sender, place: Path) -> None:
    text = private_day(journald, sender, place, "[log]\naddresses = false\n")
    assert not re.search(ADDRESSES, text)
    assert "RELAY_ADDRESS" not in text
    assert "granted an address: pop3 login of 'anna' at dovecot" in text
    assert "refused an address: relay.never (pop3 login of 'carl' at dovecot)" in text
    assert "expired 2 addresses" in text


def test_both_are_there_unless_they_are_left_out(
    journald: Journald, sender: Sender, place: Path
) -> None:
    text = private_day(journald, sender, place, "")
    assert re.search(USERS, text)
    assert re.search(ADDRESSES, text)


def test_the_ledger_names_its_address_all_the_same(journald: Journald, place: Path) -> None:
    config = "[log]\nusers = false\naddresses = false\n"
    with Poprelayd(place, wrapper=IN_JOURNAL, config=config) as daemon:
        assert daemon.run("grant", "192.0.2.50").returncode == 0
        daemon.map.unlink()
        wait_for(lambda: set(daemon.granted()) == {"192.0.2.50"}, "the map made anew")
    assert told(journald, HAND_GRANT)[0]["RELAY_ADDRESS"] == "192.0.2.50"
