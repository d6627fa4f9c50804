"""Postfix reads the same map: its own spelling, no neighbour let in, no grant beyond its time."""

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journalrelay.commands import NO
from journalrelay.config import load
from journalrelay.doctor import mapstate, postfix
from journalrelay.doctor.diagnosis import Diagnosis
from journalrelay.errors import ConfigError
from journalrelay.grant import Address, login_key
from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from journalrelay.map.spelling import SPELLINGS, as_postfix, opens_others
from journalrelay.rules.policy import Revocations, decide
from journalrelay.site import Site
from lab import room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import TOP, Poprelayd, journalrelay
from lab.postfix import COMMANDS, RESTRICTIONS, Postfix
from lab.wait import wait_for
from tests.support import db
from tests.test_policy import RULES, login

ELSEWHERE, SENDER = "ann@elsewhere.example", "bob@mail.example.test"
WRITTEN, READ = SPELLINGS["postfix"]
POSTFIX = '[map]\nspelling = "postfix"\n'
OTHER_PORT = 2527
GROUP = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 0xFFFF))
SIXES = st.lists(GROUP, min_size=7, max_size=7).map(
    lambda groups: IPv6Address(b"".join(n.to_bytes(2) for n in [0x2001, *groups]))
)


def now_s() -> int:
    return int(time.time())


def granting(*addresses: str, for_s: int = 900) -> Changes:
    changes = Changes()
    for address in addresses:
        changes.grant(login_key(ip_address(address), 128), now_s() + for_s)
    return changes


def keys_in(path: Path) -> set[str]:
    """Return the keys of a map as they stand in it."""
    handle: Any = db.DB()
    handle.open(str(path), None, db.DB_HASH, db.DB_RDONLY)
    try:
        return {key.decode() for key, _ in handle.items()}
    finally:
        handle.close()


@pytest.fixture(scope="module")
def popmap() -> PopMap:
    made = PopMap(room.scratch("map-") / "popip.db", "hash", spelling="postfix")
    made.create()
    return made


@pytest.fixture(scope="module")
def mta(popmap: PopMap) -> Iterator[Postfix]:
    with Postfix(room.scratch("postfix-"), popmap.path) as running:
        yield running


@pytest.fixture(autouse=True)
def emptied(popmap: PopMap) -> Iterator[None]:
    yield
    popmap.replace({})


def relays(mta: Postfix, client: str) -> bool:
    """Tell whether a new connection of a client's may send elsewhere."""
    code = mta.rcpt(client, SENDER, ELSEWHERE).code
    assert code in (250, 554)
    return code == 250


def asked(address: Address) -> list[str]:
    """Return what Postfix looks up for a client: its address, and what is left of that."""
    text, cut = as_postfix(address), []
    while text:
        cut.append(text)
        text = text.rpartition(":")[0]
    return cut


# Spelling


@pytest.mark.parametrize(
    ("address", "spelled"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0:1:0:0:7", "2001:db8::1:0:0:7"),
        ("2001:db8:1:0:1:2:3:4", "2001:db8:1:0:1:2:3:4"),
    ],
)
def test_a_key_is_what_postfix_asks_for(
    mta: Postfix, popmap: PopMap, address: str, spelled: str
) -> None:
    changes = granting(address)
    popmap.commit(changes, now_s())
    assert mta.look_up(spelled) == str(*changes.granted.values())
    assert popmap.read() == changes.granted


@given(SIXES)
def test_a_key_is_read_as_it_was_written(address: IPv6Address) -> None:
    key = login_key(address, 128)
    assert READ(WRITTEN(key)) == key


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8:1:2:3:4:5:6"])
def test_who_is_granted_may_relay_and_nobody_else(
    mta: Postfix, popmap: PopMap, client: str
) -> None:
    assert not relays(mta, client)
    popmap.commit(granting(client), now_s())
    assert relays(mta, client)
    assert not relays(mta, str(ip_address(client) + 1))
    changes = Changes()
    changes.remove((login_key(ip_address(client), 128),))
    popmap.commit(changes, now_s())
    assert not relays(mta, client)


def test_every_change_is_seen_by_the_next_connection(mta: Postfix, popmap: PopMap) -> None:
    """Many of them in one second."""
    for number in range(1, 13):
        popmap.commit(granting(f"192.0.2.{number}"), now_s())
        assert relays(mta, f"192.0.2.{number}")


# Neighbours


def test_postfix_lets_in_whose_text_goes_on(mta: Postfix, popmap: PopMap) -> None:
    """What makes a login from such an address worth nothing."""
    popmap.commit(granting("2001:db8:1:2::7"), now_s())
    assert relays(mta, "2001:db8:1:2::7:1")
    assert relays(mta, "2001:db8:1:2::7:1:2") is False  # that is 2001:db8:1:2:0:7:1:2


@pytest.mark.parametrize("client", ["2001:db8::1:2:3:7", "2001:db8:1:2:3:4:5:0", "2001:db8:5::"])
def test_postfix_lets_in_nobody_else_where_it_cannot(
    mta: Postfix, popmap: PopMap, client: str
) -> None:
    popmap.commit(granting(client), now_s())
    assert relays(mta, client)
    for _ in range(20):
        other = IPv6Address(int(IPv6Address(client)) ^ 1 << random.randrange(96))
        assert not relays(mta, str(other)), other


@settings(max_examples=500)
@given(SIXES, SIXES)
def test_no_key_that_is_granted_is_asked_for_by_another(one: Address, other: Address) -> None:
    if one != other and not opens_others(one):
        assert as_postfix(one) not in asked(other)


@settings(max_examples=500)
@given(SIXES)
def test_only_what_others_would_ask_for_is_refused(address: IPv6Address) -> None:
    text = as_postfix(address)
    if opens_others(address):
        assert text in asked(IPv6Address(f"{text}:1"))


def test_a_login_that_would_let_neighbours_in_is_refused() -> None:
    rules = RULES._replace(spelling="postfix")
    for address, word in (("2001:db8::7", "refused"), ("2001:db8:0:1::2:3:4", "granted")):
        told = login(address)
        assert decide(told, Revocations(), told.logged_at_us, rules).word == word, address


def test_a_grant_by_hand_that_would_let_neighbours_in_is_refused(place: Path) -> None:
    config = place / "postfix.conf"
    config.write_text(POSTFIX)
    words = ["-c", str(config), "grant", "2001:db8::7", "--map", str(place / "popip.db")]
    done = journalrelay(*words)
    assert done.returncode == NO
    assert "2001:db8::7 is not granted: map.spelling: Postfix would let" in done.stderr


def test_ipv6_prefix_64_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"relay.ipv6_prefix: not 64 with map.spelling"):
        file = place / "both.conf"
        file.write_text('relay.ipv6_prefix = 64\nmap.spelling = "postfix"\n')
        load(file)


def test_check_asks_the_map_in_postfixs_words(popmap: PopMap, place: Path) -> None:
    config = place / "postfix.conf"
    config.write_text(POSTFIX)
    popmap.commit(granting("2001:db8:1:2:3:4:5:6"), now_s())
    for address, code in (("2001:db8:1:2:3:4:5:6", os.EX_OK), ("2001:db8:1:2:3:4:5:7", NO)):
        done = journalrelay("-c", str(config), "check", address, "--map", str(popmap.path))
        assert done.returncode == code
        assert "postfix  its restrictions are not read" in done.stdout
        assert "sendmail" not in done.stdout


# Time


def test_the_daemon_itself_takes_out_what_is_over(journald: Journald, place: Path) -> None:
    """Without the timer; a second after its end a new connection is refused."""
    clients = ["198.51.100.7", "2001:db8:1:2:3:4:5:6"]
    config = f'{POSTFIX}[relay]\nwindow = "4s"\n'
    with (
        Poprelayd(place, config=config) as daemon,
        Postfix(room.scratch("postfix-"), daemon.map, OTHER_PORT) as mta,
        Sender() as dovecot,
    ):
        for client in clients:
            dovecot.send(login_line(client))
        wait_for(lambda: set(daemon.granted()) == set(clients), "the logins to be granted")
        assert [relays(mta, client) for client in clients] == [True, True]
        wait_for(lambda: keys_in(daemon.map) == set(), "the daemon to take them out")
        assert [relays(mta, client) for client in clients] == [False, False]
        assert "expired 198.51.100.7" in daemon.log.read_text()


def test_with_sendmail_the_timer_does_it(journald: Journald, place: Path) -> None:
    with Poprelayd(place, config='[relay]\nwindow = "1s"\n') as daemon, Sender() as dovecot:
        dovecot.send(login_line("198.51.100.7"))
        wait_for(lambda: keys_in(daemon.map), "the login to be granted")
        wait_for(lambda: daemon.granted() == {}, "its end")
        dovecot.send(login_line("198.51.100.8"))
        wait_for(lambda: len(keys_in(daemon.map)) == 2, "the next one beside it")


def test_a_session_that_stays_open_keeps_what_it_has_read(mta: Postfix, popmap: PopMap) -> None:
    """What poprelay.conf(5) says of Postfix: it looks for changes between two sessions."""
    popmap.commit(granting("192.0.2.7"), now_s())
    with mta.session("192.0.2.7") as session:
        assert session.rcpt(SENDER, ELSEWHERE).code == 250
        popmap.replace({})
        assert session.rcpt(SENDER, ELSEWHERE).code == 250
    assert not relays(mta, "192.0.2.7")


# The file


def test_what_is_over_is_taken_out_by_expire_in_postfixs_words(popmap: PopMap) -> None:
    popmap.commit(granting("192.0.2.7", "2001:db8:1:2:3:4:5:6", for_s=900), now_s())
    popmap.commit(granting("192.0.2.8"), now_s())
    assert len(popmap.expire(now_s() + 2000)) == 3
    assert keys_in(popmap.path) == set()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_map_in_the_others_words_is_made_anew(place: Path, spelling: str) -> None:
    other = next(name for name in SPELLINGS if name != spelling)
    path = place / "popip.db"
    PopMap(path, "hash", spelling=other).replace(granting("2001:db8:1:2:3:4:5:6").granted)
    fault = PopMap(path, "hash", spelling=spelling).fault(now_s() + 10_000)
    assert fault == "it holds something else than addresses and expiries"
    PopMap(path, "hash", spelling=other).replace(granting("192.0.2.7").granted)
    assert PopMap(path, "hash", spelling=spelling).fault(now_s() + 10_000) is None


def test_without_a_map_only_mail_for_elsewhere_waits(mta: Postfix, popmap: PopMap) -> None:
    popmap.path.unlink()
    assert mta.rcpt("192.0.2.7", SENDER, ELSEWHERE).code == 451
    assert mta.rcpt("192.0.2.7", SENDER, SENDER).code == 250


@pytest.mark.parametrize("keep", [0, 5000, 12288])
def test_a_map_that_is_cut_short_lets_nobody_in(mta: Postfix, popmap: PopMap, keep: int) -> None:
    popmap.commit(granting("192.0.2.7"), now_s())
    os.truncate(popmap.path, keep)
    os.utime(popmap.path, (now_s() + 9, now_s() + 9))
    assert mta.rcpt("192.0.2.9", SENDER, ELSEWHERE).code in (451, 554)
    assert mta.rcpt("192.0.2.7", SENDER, SENDER).code == 250
    popmap.path.unlink()


def test_postfix_takes_the_lock_that_our_writers_take(mta: Postfix, popmap: PopMap) -> None:
    traced = subprocess.run(
        ["strace", "-e", "trace=openat,flock,fcntl", *mta.words("postmap", "-q", "x", mta.table)],
        env=mta.environment(),
        capture_output=True,
        text=True,
    )
    fds = re.findall(rf'openat\(.*"{popmap.path}".* = (\d+)$', traced.stderr, re.M)
    locked = re.findall(r"^flock\((\d+), LOCK_SH\) += 0$", traced.stderr, re.M)
    assert set(fds) & set(locked), traced.stderr


def test_readers_beside_a_writer_find_all_that_is_there(mta: Postfix, popmap: PopMap) -> None:
    """They ask for what stays while all around it comes and goes."""
    stays = [f"192.0.2.{number}" for number in range(100)]
    popmap.commit(granting(*stays), now_s())

    def write() -> None:
        for number in range(200):
            comes = [f"198.51.100.{n}" for n in range(number % 2, 200, 2)]
            popmap.commit(granting(*comes, for_s=1 + number), now_s())
            popmap.expire(now_s() + 2 + number)

    with ThreadPoolExecutor(1) as writing:
        written = writing.submit(write)
        while not written.done():
            reader = subprocess.run(
                mta.words("postmap", "-q", "-", mta.table),
                env=mta.environment(),
                input="\n".join(stays) + "\n",
                capture_output=True,
                text=True,
            )
            assert (len(reader.stdout.splitlines()), reader.stderr) == (len(stays), "")
    written.result()


# The doctor


@pytest.fixture
def diagnosed(
    mta: Postfix, popmap: PopMap, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[Diagnosis]]:
    """Return a function that has the doctor look at this Postfix."""
    monkeypatch.setenv("PATH", f"{COMMANDS}:{os.environ['PATH']}")
    for name in ("LD_LIBRARY_PATH", "MAIL_CONFIG"):
        monkeypatch.setenv(name, mta.environment()[name])
    file = mta.base / "poprelay.conf"
    file.write_text(f'[map]\nspelling = "postfix"\npath = "{popmap.path}"\n')
    site = Site(load(file))

    def look() -> list[Diagnosis]:
        return list(postfix.examine(site, mapstate.content(site).sample, by_systemd=False))

    return look


def test_a_postfix_that_asks_the_map_is_well(
    diagnosed: Callable[[], list[Diagnosis]], mta: Postfix, popmap: PopMap
) -> None:
    popmap.commit(granting("2001:db8:1:2:3:4:5:6"), now_s())
    assert diagnosed() == [
        Diagnosis("postfix", "well", f"it asks {mta.table}"),
        Diagnosis("lookup", "well", "Postfix finds 2001:db8:1:2:3:4:5:6"),
    ]


def test_a_postfix_that_does_not_ask_the_map_is_mended_as_is_said(
    diagnosed: Callable[[], list[Diagnosis]], mta: Postfix
) -> None:
    before = mta.command("postconf", "-h", "smtpd_relay_restrictions").stdout.strip()
    for wrong in ("permit_mynetworks, reject", "check_client_access hash:/etc/mail/popip, reject"):
        mta.command("postconf", "-e", f"smtpd_relay_restrictions = {wrong}")
        (found,) = [one for one in diagnosed() if one.word == "wrong"]
        assert f"no check_client_access {mta.table} in main.cf" in found.what
        mend = found.mend.partition(" && ")[0]
        assert found.mend == f"{mend} && systemctl reload postfix"
        subprocess.run(mend, shell=True, check=True)
        assert [one.word for one in diagnosed()] == ["well"]
        told = mta.command("postconf", "-h", "smtpd_relay_restrictions").stdout.strip()
        assert told == before


def test_own_mail_behind_the_map_is_noted(
    diagnosed: Callable[[], list[Diagnosis]], mta: Postfix
) -> None:
    before = mta.command("postconf", "-h", "smtpd_relay_restrictions").stdout.strip()
    unsafe = f"check_client_access {mta.table}, reject_unauth_destination"
    mta.command("postconf", "-e", f"smtpd_relay_restrictions = {unsafe}")
    assert [one.word for one in diagnosed()] == ["note", "well"]
    mta.command("postconf", "-e", f"smtpd_relay_restrictions = {before}")


def test_a_key_that_postfix_does_not_find(
    diagnosed: Callable[[], list[Diagnosis]], popmap: PopMap
) -> None:
    odd = PopMap(popmap.path, "hash", spelling="sendmail")
    odd.commit(granting("2001:db8:1:2:3:4:5:6"), now_s())
    (found,) = [one for one in diagnosed() if one.word == "wrong"]
    assert found.part == "lookup" and "does not find" in found.what


# The drop-in


def test_the_drop_in_takes_the_map_away_only_when_expire_has_failed(place: Path) -> None:
    """Its command, as systemd runs it when expire has ended."""
    line = (TOP / "units/poprelayd-postfix.conf").read_text()
    (script,) = re.findall(r"^ExecStopPost=/bin/sh -c '(.*)'$", line, re.M)
    map_ = place / "popip.db"
    for result, stays in (("success", True), ("exit-code", False), ("timeout", False)):
        map_.touch()
        mine = script.replace("/var/lib/poprelayd/popip.db", str(map_))
        subprocess.run(["sh", "-c", mine], env={"SERVICE_RESULT": result}, check=True)
        assert map_.exists() == stays, result


def test_restrictions_of_the_document_are_those_that_are_tested() -> None:
    told = RESTRICTIONS.format(popip="hash:/var/lib/poprelayd/popip")
    assert f"smtpd_relay_restrictions = {told}" in (TOP / "docs/postfix.md").read_text()
