"""What is remembered between entries survives a start anywhere, and grants nothing twice."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.event import Login, Record
from journalrelay.map.popmap import PopMap
from journalrelay.recognition.correlate import LONGEST_US
from journalrelay.relay import Relay
from journalrelay.rules.policy import Verdict
from journalrelay.sources.journal import JournalSource
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import Poprelayd, journalrelay
from lab.wait import wait_for
from tests.support import address, drain, relay_on
from tests.test_forgery import CUT, HELLO, LOGIN

SECOND, MINUTE = 1_000_000, 60_000_000
NOW_US = 1_795_400_000_000_000
BOTH = '[daemons]\nenable = ["dovecot", "popa3d"]\n'
UNLIMITED = "[relay]\nmax_addresses = 0\nmax_addresses_per_user = 0\n"
FORGEABLE = '[daemons]\nenable = ["courier"]\n'


def connect(number: int, ago_us: int, pid: int = 7) -> bytes:
    return popa3d(f"Session from {address(number)}", ago_us, pid, uid=0)


def passed(ago_us: int, pid: int = 7) -> bytes:
    return popa3d("Authentication passed for anna", ago_us, pid, uid=1000)


def popa3d(message: str, ago_us: int, pid: int, uid: int) -> bytes:
    return entry(
        message,
        NOW_US - ago_us,
        unit="popa3d.service",
        exe="/usr/sbin/popa3d",
        identifier="popa3d",
        uid=uid,
        pid=pid,
    )


def courier(message: str, ago_us: int) -> bytes:
    return entry(
        message,
        NOW_US - ago_us,
        unit="courier-pop.service",
        exe="/usr/sbin/courierlogger",
        identifier="pop3d",
    )


def dovecot(number: int, ago_us: int) -> bytes:
    return entry(login_line(address(number)), NOW_US - ago_us)


class Run:
    """A daemon's life on a journal file: from its start to the place that it keeps."""

    def __init__(self, place: Path, *entries: bytes, text: str = BOTH) -> None:
        self.seen: list[tuple[str, str]] = []
        self.file = make_journal(entries, place / "x.journal")
        self.relay: Relay = relay_on(place, self.file, text=text, witness=self._witness)

    def go(self, *, save: bool = True) -> "Run":
        assert all("made anew" in note for note in self.relay.start(NOW_US))
        drain(self.relay, NOW_US)
        if save:
            self.relay.save()
        return self

    def _witness(self, _record: Record, login: Login, verdict: Verdict) -> None:
        self.seen.append((str(login.address), verdict.word))


def granted(place: Path) -> set[bytes]:
    return set(PopMap(place / "popip.db", "hash").read())


def key(number: int) -> bytes:
    return address(number).encode()


def kept(place: Path) -> dict[str, object]:
    """Return the kept place, but for the clock, which is steered by microseconds all the time."""
    (file,) = place.glob("*.cursor")
    return {**json.loads(file.read_text()), "clock_us": None}


def test_a_stop_between_the_two_lines_loses_no_login(place: Path) -> None:
    Run(place, connect(1, 60 * SECOND), dovecot(2, 59 * SECOND)).go()
    assert granted(place) == {key(2)}
    assert Run(place, passed(30 * SECOND)).go().seen == [(address(1), "granted")]
    assert granted(place) == {key(1), key(2)}


def test_what_was_granted_before_the_place_is_not_granted_anew(place: Path) -> None:
    Run(place, connect(1, 60 * SECOND), passed(50 * SECOND), dovecot(2, 40 * SECOND)).go()
    before = kept(place)
    again = Run(place).go()
    assert (again.seen, kept(place)) == ([], before)
    assert Run(place, passed(30 * SECOND)).go().seen == []  # its connection has been used


def test_a_kill_between_any_two_entries_grants_the_same(place: Path) -> None:
    """Whatever was read and not kept is read again, with what came before it."""
    story = [connect(1, 90 * SECOND, 1), connect(2, 80 * SECOND, 2), passed(70 * SECOND, 1)]
    story += [connect(3, 60 * SECOND, 1), passed(50 * SECOND, 2), passed(40 * SECOND, 1)]
    for number, told in enumerate(story):
        Run(place, told).go(save=number % 2 == 0)
    assert granted(place) == {key(1), key(2), key(3)}


def test_no_further_back_than_a_connection_lives(place: Path) -> None:
    old, at = LONGEST_US + MINUTE, 30 * SECOND
    text = BOTH + UNLIMITED
    lines = connect(1, old + at, 1), connect(2, LONGEST_US, 2), dovecot(3, at)
    Run(place, *lines, text=text).go()
    read: list[bytes] = []
    later = Run(place, text=text)
    later.relay._logins.read = lambda record: read.append(record.message)  # type: ignore
    later.go()
    assert read == [f"Session from {address(2)}".encode(), login_line(address(3)).encode()]


def test_nothing_is_read_back_where_nothing_must_be_remembered(place: Path) -> None:
    text = '[daemons]\nenable = ["dovecot"]\n' + UNLIMITED
    Run(place, dovecot(1, 60 * SECOND), text=text).go()
    later = Run(place, text=text)
    read: list[bytes] = []
    later.relay._logins.read = lambda record: read.append(record.message)  # type: ignore
    later.go()
    assert read == []


def test_a_vacuumed_place_reads_the_window_with_what_came_before_it(place: Path) -> None:
    window = 15 * MINUTE + MINUTE  # and relay.skew: the first entry that the start reads
    story = [connect(1, window + SECOND), passed(window - SECOND), dovecot(2, MINUTE)]
    Run(place, *story).go()
    (file,) = place.glob("*.cursor")
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"cursor": f"s={1:032x};i=1;b={2:032x};m=1;t=1;x=1"}))
    made = Run(place)
    assert "gone from the journal" in made.relay.start(NOW_US)[0]
    drain(made.relay, NOW_US)
    assert made.seen == [(address(1), "expired"), (address(2), "granted")]


def test_a_map_made_anew_has_what_was_told_before_the_window(place: Path) -> None:
    text = BOTH + '[relay]\nwindow = "1min"\nskew = "1s"\n'
    entries = connect(1, 62 * SECOND), passed(40 * SECOND)
    assert Run(place, *entries, text=text).go().seen == []  # a rebuild has no witness
    assert granted(place) == {key(1)}


def test_replay_begins_with_the_second_line(place: Path) -> None:
    file = make_journal([connect(1, 60 * SECOND), passed(30 * SECOND)], place / "x.journal")
    config = place / "poprelay.conf"
    config.write_text(BOTH)

    def replayed(*start: str) -> list[dict[str, object]]:
        files = ["--file", str(file), "--map", str(place / "m.db"), "--state", str(place)]
        command = ["-c", str(config), "replay", "--dry-run", "--json", *start, *files]
        done = journalrelay(*command)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (row,) = replayed("--all")
    assert row["address"] == address(1)
    assert replayed("--cursor", str(row["cursor"])) == [row]
    assert replayed("--since", f"@{(NOW_US - 40 * SECOND) // SECOND}") == [row]
    assert replayed("--since", f"@{(NOW_US - 20 * SECOND) // SECOND}") == []


class Failing:
    """A reader that fails once where libsystemd would on a file damaged under it."""

    def __init__(self, reader: object, after: int) -> None:
        self._reader, self._left = reader, after

    def _next(self) -> bool:
        self._left -= 1
        if self._left == -1:
            raise OSError(errno.EBADMSG, "Bad message")
        return bool(self._reader._next())  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)


def follow(run: Run, until: Callable[[], bool]) -> None:
    """Step as the daemon does, until what is waited for has come."""

    def turn() -> bool:
        run.relay._source.refresh()
        run.relay.step(NOW_US)
        return until()

    wait_for(turn, "the entries behind the error")


@pytest.mark.parametrize("after", range(1, 5))
def test_a_reader_opened_anew_remembers_what_came_before(place: Path, after: int) -> None:
    """Entries that are read twice after an error find what preceded them, not what followed."""
    Run(place, dovecot(9, 100 * SECOND)).go()
    story = [connect(1, 90 * SECOND), connect(2, 80 * SECOND, 2), passed(70 * SECOND)]
    story += [passed(60 * SECOND, 2)]
    run = Run(place, *story)
    run.relay.start(NOW_US)
    source = run.relay._source
    assert isinstance(source, JournalSource)
    source._reader = Failing(source._reader, after)  # type: ignore[assignment]
    follow(run, lambda: {key(1), key(2)} <= granted(place))
    assert granted(place) == {key(1), key(2), key(9)}


@pytest.mark.parametrize("after", range(3))
def test_a_forged_line_is_refused_whatever_was_read_before_it(place: Path, after: int) -> None:
    """An error right behind a forged line has it read twice: after itself, it would be believed."""
    Run(place, courier(HELLO, 90 * SECOND), courier(CUT, 80 * SECOND), text=FORGEABLE).go()
    run = Run(place, courier(LOGIN, 70 * SECOND), courier(HELLO, 60 * SECOND), text=FORGEABLE)
    run.relay.start(NOW_US)
    source = run.relay._source
    assert isinstance(source, JournalSource)
    source._reader = Failing(source._reader, after)  # type: ignore[assignment]
    follow(run, lambda: source.trouble() is None and bool(run.seen))
    assert {word for _, word in run.seen} == {"refused"}
    assert granted(place) == set()


def test_what_cannot_be_read_back_grants_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(place, connect(1, 60 * SECOND)).go()
    run = Run(place, passed(30 * SECOND), dovecot(2, 20 * SECOND))

    def damaged(*_: object) -> int:
        raise OSError(errno.EBADMSG, "Bad message")

    monkeypatch.setattr(JournalSource, "_go_back", damaged)
    assert run.go().seen == [(address(2), "granted")]


def await_granted(daemon: Poprelayd, *addresses: str) -> None:
    wait_for(lambda: set(addresses) <= set(daemon.granted()), f"{addresses} in the map")


@pytest.mark.parametrize("disturb", ["kill", "stop", "reload", "rotate"])
def test_a_live_login_in_two_lines_survives(journald: Journald, place: Path, disturb: str) -> None:
    fields = {"unit": "popa3d.service", "exe": "/usr/sbin/popa3d", "identifier": "popa3d"}
    with Sender(**fields) as popa3d, Sender() as dovecot, Poprelayd(place) as daemon:  # type: ignore
        popa3d.send("Session from 192.0.2.7")
        dovecot.send(login_line("192.0.2.8"))
        await_granted(daemon, "192.0.2.8")
        wait_for(lambda: list(place.glob("*.cursor")), "a kept place")
        if disturb in ("kill", "stop"):
            getattr(daemon, disturb)()
            daemon.start()
        elif disturb == "reload":
            daemon.reload()
        else:
            journald.rotate()
        popa3d.become(1000)
        popa3d.send("Authentication passed for anna")
        await_granted(daemon, "192.0.2.7")
        popa3d.send("Authentication passed for anna")
        dovecot.send(login_line("192.0.2.9"))
        await_granted(daemon, "192.0.2.9")
        status = json.loads(daemon.run("status", "--json").stdout)
        assert set(daemon.granted()) == {"192.0.2.7", "192.0.2.8", "192.0.2.9"}
        assert status["logins"].get("popa3d", 0) <= 1
