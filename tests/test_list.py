"""``list``: what is granted by the map, and by the journal to whom and since when."""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from journalrelay.history import History
from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from journalrelay.openings import openings
from journalrelay.options import a_network
from journalrelay.sources.openjournal import Where
from journalrelay.telling.message import (
    COUNTED,
    EXPIRED,
    GRANTED,
    HAND_GRANT,
    HAND_REVOCATION,
    READY,
    Kind,
)
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, IN_JOURNAL, TOP, Poprelayd
from lab.wait import wait_for
from tests.support import now_us

BEGAN_S = 1_795_000_000
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


# Who opened it, by what was told


def opened(place: Path, *told: tuple[int, Kind, dict[str, str]], of: str) -> str | None:
    """Return the user of whose login it is said that it opened ``of``, None when that is not
    known; ``told`` are entries: their time (s), kind and fields."""
    map_path = place / "popip.db"
    entries = [
        entry(
            "told",
            (BEGAN_S + at_s) * 1_000_000,
            unit="poprelayd.service",
            transport="journal",
            extra=[("MESSAGE_ID", kind.id), ("RELAY_MAP", str(map_path)), *fields.items()],
        )
        for at_s, kind, fields in told
    ]
    where = Where(files=(make_journal(entries, place / "told.journal"),))
    history = History(where, map_path)
    found = openings(history, {of: a_network(of)}).get(of)
    history.close()
    return None if found is None else found.user or found.daemon


def grant(address: str, user: str, until_s: int = 900) -> dict[str, str]:
    return {
        "RELAY_ADDRESS": address,
        "RELAY_USER": user,
        "RELAY_DAEMON": "dovecot",
        "RELAY_EXPIRY": str(BEGAN_S + until_s),
    }


def end(address: str, at_s: int) -> dict[str, str]:
    return {"RELAY_ADDRESS": address, "RELAY_EXPIRY": str(BEGAN_S + at_s)}


def many(event: str) -> dict[str, str]:
    return {"RELAY_EVENT": event, "RELAY_COUNT": "30"}


ADDRESS, OTHER = "192.0.2.7", "192.0.2.8"
ANNA, BERT = grant(ADDRESS, "anna"), grant(ADDRESS, "bert", 3000)
STORIES: dict[str, tuple[list[tuple[int, Kind, dict[str, str]]], str, str | None]] = {
    "told": ([(0, GRANTED, ANNA)], ADDRESS, "anna"),
    "of another": ([(0, GRANTED, ANNA)], OTHER, None),
    "told twice": ([(0, GRANTED, ANNA), (2000, GRANTED, BERT)], ADDRESS, "bert"),
    "by hand": (
        [(0, GRANTED, ANNA), (5, HAND_GRANT, end(ADDRESS, 5000))],
        ADDRESS,
        "by hand",
    ),
    "ended": ([(0, GRANTED, ANNA), (960, EXPIRED, end(ADDRESS, 900))], ADDRESS, None),
    "opened before its end was told": (
        [(0, GRANTED, ANNA), (901, GRANTED, BERT), (960, EXPIRED, end(ADDRESS, 900))],
        ADDRESS,
        "bert",
    ),
    "revoked": ([(0, GRANTED, ANNA), (5, HAND_REVOCATION, end(ADDRESS, 0))], ADDRESS, None),
    "another revoked": ([(0, GRANTED, ANNA), (5, HAND_REVOCATION, end(OTHER, 0))], ADDRESS, "anna"),
    "revoked before": (
        [(0, HAND_REVOCATION, end(ADDRESS, 0)), (5, GRANTED, ANNA)],
        ADDRESS,
        "anna",
    ),
    "all revoked": ([(0, GRANTED, ANNA), (5, HAND_REVOCATION, end("all", 0))], ADDRESS, None),
    "its /64 revoked": (
        [(0, GRANTED, grant("2001:db8::7", "anna")), (5, HAND_REVOCATION, end("2001:db8::/64", 0))],
        "2001:db8::7",
        None,
    ),
    "one of its /64 revoked": (
        [(0, GRANTED, grant("2001:db8::/64", "anna")), (5, HAND_REVOCATION, end("2001:db8::7", 0))],
        "2001:db8::/64",
        None,
    ),
    "a neighbour revoked": (
        [(0, GRANTED, grant("2001:db8::7", "anna")), (5, HAND_REVOCATION, end("2001:db8::8", 0))],
        "2001:db8::7",
        "anna",
    ),
    "a catch-up, its end would have been told": (
        [(0, GRANTED, ANNA), (2000, READY, {})],
        ADDRESS,
        "anna",
    ),
    "a catch-up, its end may be among those not told": (
        [(0, GRANTED, ANNA), (950, COUNTED, many("expired")), (2000, READY, {})],
        ADDRESS,
        None,
    ),
    "openings not told, its end may be among those not told": (
        [
            (0, GRANTED, ANNA),
            (950, COUNTED, many("expired")),
            (990, COUNTED, many("granted")),
        ],
        ADDRESS,
        None,
    ),
    "too many ended before its own end": (
        [(0, GRANTED, ANNA), (800, COUNTED, many("expired")), (850, READY, {})],
        ADDRESS,
        "anna",
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_who_opened_a_grant(place: Path, name: str) -> None:
    told, of, user = STORIES[name]
    assert opened(place, *told, of=of) == user


# The verb, on a daemon that logs to a real journal


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    with Poprelayd(place, wrapper=IN_JOURNAL) as running:
        yield running


def log_in(daemon: Poprelayd, journald: Journald, **users: str) -> None:
    """Have users log in, each from an address of 192.0.2.0/24, and the grants told."""
    with Sender() as dovecot:
        for user, address in users.items():
            dovecot.send(login_line(address, user))
            wait_for(partial(entry_of_grant, journald, address), f"the grant of {address}")


def entry_of_grant(journald: Journald, address: str) -> list[dict[str, Any]]:
    return journald.entries(f"MESSAGE_ID={GRANTED.id}", f"RELAY_ADDRESS={address}")


def rows(daemon: Poprelayd, *words: str) -> dict[str, dict[str, Any]]:
    done = daemon.run("list", "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return {row["address"]: row for row in json.loads(done.stdout)}


def test_list_says_who_where_and_since_when(daemon: Poprelayd, journald: Journald) -> None:
    began_us = now_us()
    log_in(daemon, journald, anna="192.0.2.7", bert="192.0.2.8")
    assert daemon.run("grant", "192.0.2.9").returncode == 0
    journald.sync()
    found = rows(daemon)
    assert {address: (row["user"], row["daemon"]) for address, row in found.items()} == {
        "192.0.2.7": ("anna", "dovecot"),
        "192.0.2.8": ("bert", "dovecot"),
        "192.0.2.9": (None, "by hand"),
    }
    assert all(began_us / 1e6 <= row["since"] <= now_us() / 1e6 for row in found.values())


def test_a_renewed_grant_keeps_its_beginning(daemon: Poprelayd, journald: Journald) -> None:
    log_in(daemon, journald, anna="192.0.2.7")
    first = rows(daemon)["192.0.2.7"]
    with Sender() as dovecot:

        def renewed() -> bool:
            dovecot.send(login_line("192.0.2.7", "bert"))
            return bool(daemon.granted()["192.0.2.7"] > first["expiry"])

        wait_for(renewed, "the renewal")
    again = rows(daemon)["192.0.2.7"]
    assert (again["user"], again["since"]) == (first["user"], first["since"])


def test_list_chooses_and_sorts(daemon: Poprelayd, journald: Journald) -> None:
    log_in(daemon, journald, zoe="192.0.2.7", anna="192.0.2.200", bert="198.51.100.7")
    assert daemon.run("grant", "192.0.2.9", "--for", "1min").returncode == 0
    journald.sync()
    for words, wanted in (
        (["--user", "anna"], ["192.0.2.200"]),
        (["--user", "nobody"], []),
        (["--daemon", "by hand"], ["192.0.2.9"]),
        (
            ["--daemon", "dovecot", "--sort", "address"],
            ["192.0.2.7", "192.0.2.200", "198.51.100.7"],
        ),
        (["--sort", "user"], ["192.0.2.200", "198.51.100.7", "192.0.2.7", "192.0.2.9"]),
        (["--sort", "since"], ["192.0.2.7", "192.0.2.200", "198.51.100.7", "192.0.2.9"]),
        (
            ["192.0.2.0/25", "198.51.100.7", "--sort", "address"],
            ["192.0.2.7", "192.0.2.9", "198.51.100.7"],
        ),
        (["203.0.113.0/24"], []),
    ):
        assert list(rows(daemon, *words)) == wanted, words
    assert next(iter(rows(daemon))) == "192.0.2.9"  # the soonest to end
    bare = daemon.run("list", "--bare", "--user", "anna").stdout
    assert bare.split()[0] == "192.0.2.200"


def test_an_address_finds_the_64_that_it_is_granted_by(place: Path) -> None:
    popmap, changes = PopMap(place / "popip.db", "hash"), Changes()
    changes.grant(b"ipv6:2001:db8:1:2", now_us() // 1_000_000 + 900)
    popmap.replace({})
    popmap.commit(changes, 0)
    words = [*COMMAND, "-c", "/dev/null", "list", "--bare", "2001:db8:1:2::7", "--map"]
    said = subprocess.check_output([*words, str(place / "popip.db")], text=True, cwd=TOP)
    assert said.startswith("2001:db8:1:2::/64 ")


def test_list_for_people_is_in_columns(daemon: Poprelayd, journald: Journald) -> None:
    log_in(daemon, journald, anna="192.0.2.7", x="192.0.2.200")
    assert daemon.run("grant", "192.0.2.9").returncode == 0
    journald.sync()
    lines = daemon.run("list", "--sort", "user").stdout.splitlines()
    cells = [line.split("  ") for line in lines]
    assert [[cell.strip() for cell in line if cell][3:] for line in cells] == [
        ["dovecot", "anna"],
        ["dovecot", "x"],
        ["by hand", "-"],
    ]
    assert len({line.index("dovecot") for line in lines[:2]}) == 1


@pytest.mark.parametrize(
    ("hidden", "user", "daemon_name"), [("users", None, "dovecot"), ("addresses", None, None)]
)
def test_what_is_not_logged_is_not_shown(
    journald: Journald, place: Path, hidden: str, user: None, daemon_name: str | None
) -> None:
    config = f"[log]\n{hidden} = false\n"
    with (
        Poprelayd(place, config=config, wrapper=IN_JOURNAL) as daemon,
        Sender() as dovecot,  # stays until journald has looked who it is
    ):
        dovecot.send(login_line("192.0.2.7", "anna"))
        wait_for(lambda: journald.entries(f"MESSAGE_ID={GRANTED.id}"), "the entry of the grant")
        row = rows(daemon)["192.0.2.7"]
    assert (row["user"], row["daemon"]) == (user, daemon_name)
    assert (row["since"] is None) == (daemon_name is None)


def test_who_may_not_read_the_journal_still_has_the_list(
    daemon: Poprelayd, journald: Journald
) -> None:
    log_in(daemon, journald, anna="192.0.2.7")
    words = [*COMMAND, "list", "--map", str(daemon.map)]
    done = subprocess.run([*NOBODY, *words], capture_output=True, text=True, cwd=TOP)
    assert done.returncode == os.EX_OK
    assert done.stdout.split()[0] == "192.0.2.7"
    assert done.stdout.split()[-3:] == ["-", "-", "-"]
    assert "systemd-journal" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_local_user_puts_no_words_into_the_list(daemon: Poprelayd, journald: Journald) -> None:
    log_in(daemon, journald, anna="192.0.2.7")
    with Sender(uid=1000, transport="journal") as local_user:
        lie = {"MESSAGE": "granted", "MESSAGE_ID": GRANTED.id, "RELAY_MAP": str(daemon.map)}
        lie |= {"RELAY_ADDRESS": "192.0.2.7", "RELAY_USER": "forged", "RELAY_DAEMON": "forged"}
        local_user.send_fields(lie.items())
        journald.sync()
    assert rows(daemon)["192.0.2.7"]["user"] == "anna"
