"""Lines with a host name in the address's place: resolved by a real name server, and beside it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journalrelay.cursor import CursorFile
from journalrelay.grant import parse_address
from journalrelay.recognition.names import KEPT_US, MOST, Answer, Names, Place
from journalrelay.recognition.resolve import THREADS
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.nameserver import Nameserver, by_name_server, pointer
from lab.poprelayd import Poprelayd, journalrelay
from lab.wait import wait_for
from tests.support import now_us
from tests.test_daemon import await_granted

NAME, CLIENT = "client.example.org", "192.0.2.7"
OTHER, MARK = "other.example.net", "192.0.2.9"
VICTIM = "203.0.113.66"
PATIENT = '[daemons]\nresolve = "1min"\n'
BRIEF = '[daemons]\nresolve = "300ms"\n'
UW: dict[str, Any] = {
    "unit": "inetd.service",
    "exe": "/usr/sbin/ipop3d",
    "identifier": "ipop3d",
    "uid": 1000,
}
LATE = "its host name could not be confirmed in time"


def by_name(name: str, user: str = "bob") -> str:
    """Return the line of an ipop3d of the nineties."""
    return f"Login user={user} host={name} nmsgs=3/12"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nameserver]:
    """A name server that the room asks, and waits for, with an honest client."""
    monkeypatch.setenv("RES_OPTIONS", "timeout:30 attempts:2")
    with by_name_server(), Nameserver() as running:
        running.host(NAME, CLIENT)
        running.host(OTHER, MARK)
        yield running


@pytest.fixture
def uw(journald: Journald) -> Iterator[Sender]:
    with Sender(**UW) as running:
        yield running


@pytest.fixture
def daemon(journald: Journald, names: Nameserver, place: Path) -> Iterator[Poprelayd]:
    """A daemon that has a minute for each name."""
    with Poprelayd(place, config=PATIENT) as running:
        yield running


def said(daemon: Poprelayd, words: str) -> str:
    """Return the line of the daemon's log with these words, once it is there."""

    def line() -> str:
        lines = [line for line in daemon.log.read_text().splitlines() if words in line]
        return lines[0] if lines else ""

    return wait_for(line, words)


def kept(daemon: Poprelayd) -> str:
    """Return the cursor at the daemon's kept place."""
    saved = CursorFile(daemon.place, "journal").load()
    return saved.cursor if saved else ""


def cursor_of(journald: Journald, identifier: str) -> str:
    """Return the cursor of the last entry that a server has logged."""
    journald.sync()
    return str(journald.entries(f"SYSLOG_IDENTIFIER={identifier}")[-1]["__CURSOR"])


def status(daemon: Poprelayd) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(daemon.run("status", "--json").stdout)
    return told


# The road


def test_a_confirmed_name_is_granted_from_the_logins_time_on(
    journald: Journald, daemon: Poprelayd, uw: Sender
) -> None:
    uw.send(by_name("Client.Example.ORG"))
    await_granted(daemon, CLIENT)
    (line,) = journald.entries("SYSLOG_IDENTIFIER=ipop3d")
    assert daemon.granted() == {CLIENT: int(line["__REALTIME_TIMESTAMP"]) // 1_000_000 + 900}
    assert said(daemon, "granted 192.0.2.7: pop3 login of 'bob' at uw by the name " + NAME)


def test_no_name_is_asked_for_unless_the_operator_says_so(
    journald: Journald, names: Nameserver, uw: Sender, place: Path
) -> None:
    with Poprelayd(place) as daemon:
        uw.send(by_name(NAME))
        uw.send(f"Login user=bob host={OTHER} [{MARK}] nmsgs=3/12")
        await_granted(daemon, MARK)
        assert set(daemon.granted()) == {MARK}
        assert len(os.listdir(f"/proc/{daemon.process.pid}/task")) == 1
    assert names.asked == []


def test_a_line_with_an_address_needs_no_name(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    uw.send(f"Login user=bob host={NAME} [{MARK}] nmsgs=3/12")
    await_granted(daemon, MARK)
    assert not names.was_asked(NAME)


def test_tcpds_connect_line_may_have_a_name(daemon: Poprelayd, names: Nameserver) -> None:
    with Sender(**UW | {"exe": "/usr/sbin/pop3d", "identifier": "pop3d", "uid": 0}) as mailutils:
        mailutils.send(f"connect from bob@{NAME}")
        mailutils.send("POP3 login: user `alice', source system")
        await_granted(daemon, CLIENT)


def test_an_ipv6_client_and_an_alias_are_confirmed(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    names.host("six.example.org", "2001:db8::7")
    names.alias("alias.example.org", "real.example.org")
    names.forward("real.example.org", "192.0.2.20")
    names.reverse("192.0.2.20", "alias.example.org")
    uw.send_many(map(by_name, ("six.example.org", "alias.example.org")))
    await_granted(daemon, "2001:db8::7", "192.0.2.20")


REFUSED = {
    "its host name has no address": "unknown.example.org",
    "its host name's address has another name": "lie.example.org",
    "its host name has several addresses": "many.example.org",
    "its host name could not be looked up": "broken.example.org",
    "never granted": "loopback.example.org",
}


def lying_zones(names: Nameserver) -> None:
    """Let the names of REFUSED be what they are refused for."""
    names.host("victim.example.net", VICTIM)
    names.forward("lie.example.org", VICTIM)
    names.host("many.example.org", *(f"198.51.100.{number}" for number in range(1, 13)))
    names.fail("broken.example.org")
    names.host("loopback.example.org", "127.0.0.1")


@pytest.mark.parametrize(("reason", "name"), REFUSED.items())
def test_what_is_not_confirmed_is_refused_and_said(
    daemon: Poprelayd, names: Nameserver, uw: Sender, reason: str, name: str
) -> None:
    lying_zones(names)
    uw.send_many([by_name(name), by_name(name, user="anna")])
    line = said(daemon, reason)
    assert name in line and "at uw" in line
    uw.send(by_name(OTHER))
    await_granted(daemon, MARK)
    assert set(daemon.granted()) == {MARK}
    assert daemon.log.read_text().count(reason) == 1
    wait_for(lambda: status(daemon)["refused"] == {reason: 2}, "the report")


@pytest.mark.parametrize("where", [pointer(VICTIM), "dual.example.org", "nopointer.example.org"])
def test_half_an_answer_confirms_nothing(
    daemon: Poprelayd, names: Nameserver, uw: Sender, where: str
) -> None:
    names.forward("victim.example.net", VICTIM)  # its reverse zone fails
    names.fail(pointer(VICTIM))
    names.host("dual.example.org", "192.0.2.21", "2001:db8::21")
    names.forward("nopointer.example.org", "192.0.2.22")
    uw.send(by_name("victim.example.net" if where == pointer(VICTIM) else where))
    said(daemon, "refused")
    assert daemon.granted() == {}


def test_the_owner_of_a_forward_zone_gains_nothing(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    """The manual says so: his name has another's address, whose own name is another."""
    names.host("victim.example.net", VICTIM)
    names.forward("mine.example.com", VICTIM)
    uw.send(by_name("mine.example.com"))
    said(daemon, "its host name's address has another name: mine.example.com")
    assert daemon.granted() == {}


def test_the_owner_of_a_reverse_zone_opens_the_relay_for_another_host(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    """What the manual warns of: he logs in, and his reverse zone names the other host."""
    names.host("victim.example.net", VICTIM)
    names.reverse("192.0.2.66", "victim.example.net")  # his own address
    uw.send(by_name("victim.example.net"))
    await_granted(daemon, VICTIM)
    assert set(daemon.granted()) == {VICTIM}


# Slow and silent servers


def test_a_slow_name_delays_nobody_else(daemon: Poprelayd, names: Nameserver, uw: Sender) -> None:
    names.hold(NAME)
    uw.send(by_name(NAME))
    wait_for(lambda: names.was_asked(NAME), "the question")
    uw.send(by_name(OTHER))
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.30"))
        await_granted(daemon, MARK, "192.0.2.30")
    assert CLIENT not in daemon.granted()
    names.release()
    await_granted(daemon, CLIENT)


def test_a_name_without_answer_is_refused_in_time(
    journald: Journald, names: Nameserver, uw: Sender, place: Path
) -> None:
    names.hold(NAME)
    with Poprelayd(place, config=BRIEF) as daemon:
        uw.send(by_name(NAME))
        assert f"refused {NAME}: {LATE}: {NAME} (pop3 login of 'bob' at uw)" in said(daemon, LATE)
        last = cursor_of(journald, "ipop3d")
        wait_for(lambda: kept(daemon) == last, "the place behind it")
        names.release()

        def again() -> bool:
            uw.send(by_name(NAME))
            return CLIENT in daemon.granted()

        wait_for(again, "a login in time")


def test_libc_gives_up_soon_so_that_threads_are_free(
    daemon: Poprelayd,
    names: Nameserver,
    uw: Sender,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RES_OPTIONS")
    daemon.stop()
    daemon.start()
    names.hold(NAME)
    uw.send(by_name(NAME))
    assert "Temporary failure in name resolution" in said(daemon, f"could not be looked up: {NAME}")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_waits_for_its_name_is_not_lost(
    journald: Journald, daemon: Poprelayd, names: Nameserver, uw: Sender, end: str
) -> None:
    uw.send(by_name(OTHER))
    await_granted(daemon, MARK)
    wait_for(lambda: kept(daemon), "the place of the first")
    names.hold(NAME)
    uw.send(by_name(NAME))
    wait_for(lambda: names.was_asked(NAME), "the question")
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.30"))
        await_granted(daemon, "192.0.2.30")
        journald.sync()
    waiting, last = cursor_of(journald, "ipop3d"), cursor_of(journald, "dovecot")
    wait_for(lambda: status(daemon)["cursor"] == last, "the place to be looked after")
    assert kept(daemon) not in ("", waiting, last)
    if end == "kill":
        daemon.kill()
    else:
        assert daemon.stop() == 0, "whatever its threads do"
    names.release()
    daemon.start()
    await_granted(daemon, CLIENT)
    wait_for(lambda: kept(daemon) == last, "the place behind all")


def test_a_reload_goes_on_waiting(daemon: Poprelayd, names: Nameserver, uw: Sender) -> None:
    names.hold(NAME)
    uw.send(by_name(NAME))
    wait_for(lambda: names.was_asked(NAME), "the question")
    daemon.reload()
    names.release()
    await_granted(daemon, CLIENT)


def test_a_map_made_anew_meanwhile_gets_it(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    names.hold(NAME)
    uw.send(by_name(NAME))
    wait_for(lambda: names.was_asked(NAME), "the question")
    daemon.map.unlink()
    said(daemon, "was removed or replaced")
    names.release()
    await_granted(daemon, CLIENT)


def test_what_is_revoked_while_it_waits_is_not_granted(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    names.hold(NAME)
    uw.send(by_name(NAME))
    wait_for(lambda: names.was_asked(NAME), "the question")
    assert daemon.run("revoke", CLIENT).returncode == 0
    with Sender() as dovecot:  # the revocation has been read
        dovecot.send(login_line("192.0.2.30"))
        await_granted(daemon, "192.0.2.30")
    names.release()
    said(daemon, f"refused {CLIENT}: revoked")
    assert set(daemon.granted()) == {"192.0.2.30"}


def test_many_names_are_confirmed_by_few_threads(
    daemon: Poprelayd, names: Nameserver, uw: Sender
) -> None:
    clients = {f"host-{n}.example.org": f"198.51.100.{n}" for n in range(1, 201)}
    for name, address in clients.items():
        names.host(name, address)
        names.hold(name)
    uw.send_many(by_name(name, user=name) for name in clients for _ in range(3))
    wait_for(lambda: len({n for n in names.asked if n in clients}) >= THREADS, "questions")
    tasks = f"/proc/{daemon.process.pid}/task"
    assert len(os.listdir(tasks)) == THREADS + 1
    names.release()
    await_granted(daemon, *clients.values())
    assert sum(name == "host-1.example.org" for name in names.asked) <= 4  # A, AAAA; asked again
    wait_for(lambda: len(os.listdir(tasks)) == 1, "the threads' end")


def test_without_a_network_it_says_so_once(
    journald: Journald, names: Nameserver, uw: Sender, place: Path
) -> None:
    """As with PrivateNetwork= of the unit."""
    with Poprelayd(place, config=PATIENT, wrapper=("unshare", "--net")) as daemon:
        line = said(daemon, "host names cannot be looked up")
        assert "daemons.resolve; see poprelayd(8)" in line
        uw.send_many([by_name(NAME), by_name(OTHER)])
        with Sender() as dovecot:
            dovecot.send(login_line("192.0.2.30"))
            await_granted(daemon, "192.0.2.30")
        said(daemon, f"refused {OTHER}: its host name could not be looked up")
        assert daemon.log.read_text().count("host names cannot be looked up") == 1
        assert set(daemon.granted()) == {"192.0.2.30"}
    assert names.asked == []


def test_with_a_network_nothing_is_said(daemon: Poprelayd, names: Nameserver, uw: Sender) -> None:
    wait_for(lambda: names.was_asked("invalid"), "the trial")
    uw.send(by_name(NAME))
    await_granted(daemon, CLIENT)
    assert "cannot be looked up" not in daemon.log.read_text()


# Replay


def uws_entry(name: str, at_us: int) -> bytes:
    return entry(by_name(name), at_us, **UW)


def replayed(place: Path, *options: str, config: str = PATIENT) -> list[dict[str, object]]:
    """Return what a replay of ``x.journal`` prints."""
    file = place / "poprelay.conf"
    file.write_text(config)
    files = ["--file", str(place / "x.journal"), "--map", str(place / "popip.db")]
    state = ["--state", str(place)]
    done = journalrelay("-c", str(file), "replay", "--json", *options, *files, *state)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("options", [("--all",), ("--all", "--dry-run"), ()])
def test_replay_waits_for_its_names(
    names: Nameserver, place: Path, options: tuple[str, ...]
) -> None:
    at_us = now_us() - 60_000_000
    lying_zones(names)
    entries = [uws_entry(NAME, at_us), uws_entry("lie.example.org", at_us + 1)]
    make_journal(entries, place / "x.journal")
    rows = {str(row["reason"]): row for row in replayed(place, *options)}
    good, bad = rows[""], rows["its host name's address has another name: lie.example.org"]
    assert (good["verdict"], good["address"], good["daemon"]) == ("granted", CLIENT, "uw")
    assert good["time"] == at_us / 1_000_000 and "s=" in str(good["cursor"])
    assert (bad["verdict"], bad["address"], bad["expiry"]) == ("refused", None, None)
    listed = journalrelay("list", "--bare", "--map", str(place / "popip.db")).stdout
    assert (CLIENT in listed) == ("--dry-run" not in options)
    if not options:
        assert replayed(place) == []  # the place was saved behind both


def test_what_is_over_is_not_asked_for(names: Nameserver, place: Path) -> None:
    make_journal([uws_entry(NAME, now_us() - 3_600_000_000)], place / "x.journal")
    (row,) = replayed(place, "--all")
    assert (row["verdict"], row["address"]) == ("expired", None)
    assert names.asked == []


def test_a_replay_ends_when_no_server_answers(names: Nameserver, place: Path) -> None:
    names.hold(NAME)
    make_journal([uws_entry(NAME, now_us())], place / "x.journal")
    (row,) = replayed(place, "--all", config=BRIEF)
    assert row["reason"] == f"{LATE}: {NAME}"


# The waiting room


class Fake:
    """A resolver that answers what a test says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.found: list[tuple[str, Answer]] = []

    def ask(self, name: str, until_us: int) -> None:
        self.asked.append(name)

    def answers(self) -> list[tuple[str, Answer]]:
        found, self.found = self.found, []
        return found

    def wait(self, span_s: float) -> None:
        pass


ANSWER = Answer(parse_address(b"192.0.2.7"))


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def room(fake: Fake) -> Names[str]:
    return Names(fake, within_us=100)


def put(room: Names[str], name: str, item: str, now_us: int = 0, before: Place = None) -> None:
    assert room.put(name, item, before, now_us) is None


def test_a_name_is_asked_for_once_for_all_that_wait(fake: Fake, room: Names[str]) -> None:
    put(room, "a", "first")
    put(room, "a", "second")
    assert fake.asked == ["a"]
    assert room.settled(1) == [] and room.linger()
    fake.found = [("a", ANSWER)]
    assert room.settled(2) == [("first", ANSWER), ("second", ANSWER)]
    assert not room.linger()


def test_an_answer_is_used_again_for_a_while_and_a_failure_is_not(
    fake: Fake, room: Names[str]
) -> None:
    put(room, "a", "x")
    put(room, "b", "y")
    fake.found = [("a", ANSWER), ("b", Answer(None, "why", "no network"))]
    room.settled(5)
    assert room.put("a", "x", None, 4 + KEPT_US) == ANSWER
    put(room, "a", "x", 5 + KEPT_US)
    put(room, "b", "y", 6)
    assert fake.asked == ["a", "b", "a", "b"]


def test_who_waits_too_long_leaves_and_a_late_answer_is_for_the_next(
    fake: Fake, room: Names[str]
) -> None:
    put(room, "a", "x", 0)
    put(room, "b", "y", 50)
    assert [(item, answer.reason) for item, answer in room.settled(100)] == [("x", LATE)]
    fake.found = [("a", ANSWER)]
    assert room.settled(101) == []
    assert room.put("a", "x", None, 102) == ANSWER


def test_the_place_stays_before_what_waits(fake: Fake, room: Names[str]) -> None:
    first, second, third = ("1", 1), ("2", 2), ("3", 3)
    assert room.place(first) == first
    put(room, "a", "x", before=first)
    put(room, "b", "y", before=second)
    assert room.place(third) == first
    fake.found = [("a", ANSWER)]
    room.settled(1)
    assert room.place(third) == second
    room.forget()
    assert room.place(third) == third and not room.linger()


def test_the_room_is_full_one_day(fake: Fake, room: Names[str]) -> None:
    for number in range(MOST):
        put(room, f"{number}", "x")
    assert room.put("another", "x", None, 0) == Answer(None, "too many host names at once")
    room.forget()
    put(room, "another", "x")


def test_what_is_remembered_is_bounded(fake: Fake, room: Names[str]) -> None:
    fake.found = [(f"{number}", ANSWER) for number in range(MOST + 1)]
    room.settled(0)
    put(room, "0", "x", 1)
    assert room.put("1", "x", None, 1) == ANSWER


def test_the_trial_is_no_login(fake: Fake, room: Names[str]) -> None:
    room.probe(0)
    assert len(fake.asked) == 1 and not room.linger()
    fake.found = [(fake.asked[0], Answer(None, "why", "no network"))]
    assert room.settled(1) == []
    fault = room.fault()
    assert fault and "no network" in fault
    assert room.fault() is None
    Names(fake, within_us=0).probe(0)
    assert len(fake.asked) == 1
