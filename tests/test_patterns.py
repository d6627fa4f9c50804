"""Each daemon's patterns take its real logins and nothing else: samples, traps, the corpus."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.grant import parse_address
from journalrelay.patterns import REGISTRY, TRUSTED_FIELDS, Daemon, Dispatch, Pattern, Told
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.identity import Like, example
from journalrelay.patterns.pattern import LONGEST, SERVICES, Line
from journalrelay.patterns.pattern import read as pattern_read
from lab.journalfile import make_journal
from lab.poprelayd import journalrelay
from tests.support import FakeRecord

CORPUS = Path(__file__).parent / "corpus"
LIE = "203.0.113.66"


PATTERNS = [(daemon, pattern) for daemon in REGISTRY for pattern in daemon.patterns]
SAMPLES = [(*pair, line) for pair in PATTERNS for line in pair[1].samples]


def of(daemon: Daemon, message: str | bytes, pattern: Pattern | None = None) -> FakeRecord:
    """Return a record of the daemon's own with this text, logged as the pattern's lines are."""
    text = message.encode() if isinstance(message, str) else message
    return FakeRecord(text, example(daemon.identity_of(pattern or daemon.patterns[0])))


def line_of(daemon: Daemon, pattern: Pattern) -> Line:
    return next(line for line in daemon.lines if line.pattern is pattern)


def read(daemon: Daemon, record: FakeRecord) -> Told | None:
    """Return what the daemon's patterns of all kinds say of a record."""
    told = (pattern_read(record, line) for line in daemon.lines)
    return next((found for found in told if found), None)


def called(value: object) -> str:
    return value.name if isinstance(value, Daemon) else ""


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
def test_a_daemon_is_whole(daemon: Daemon) -> None:
    assert daemon.traps and daemon.programs
    assert all(program.startswith("/") for program in daemon.programs)
    assert not daemon.forgeable.endswith("."), "it is put into a sentence"
    assert any(pattern.tells == "login" for pattern in daemon.patterns)
    connects = any(pattern.tells == "connect" for pattern in daemon.patterns)
    for pattern in daemon.patterns:
        groups = set(pattern.regex.groupindex)
        assert pattern.samples
        assert pattern.regex.flags == 0, "several patterns are compiled into one"
        assert groups <= {"user", "address", "server", "service", "session"}
        identity = daemon.identity_of(pattern)
        assert set(identity) == set(TRUSTED_FIELDS)
        assert isinstance(identity["SYSLOG_IDENTIFIER"], tuple), "by which it is found"
        assert isinstance(identity["_EXE"], tuple) and isinstance(identity["_TRANSPORT"], tuple)
        told = any(
            isinstance(values, Like) and "address" in values.regex.groupindex
            for values in identity.values()
        )
        if pattern.tells == "login":
            assert "user" in groups and ("address" in groups or told or connects)
        if pattern.tells == "connect":
            assert "address" in groups or told
            assert identity["_UID"] == ("0",), "who is not root yet cannot be a client's process"


@pytest.mark.parametrize(("daemon", "pattern"), PATTERNS, ids=called)
def test_no_users_own_unit_is_a_daemons(daemon: Daemon, pattern: Pattern) -> None:
    units = daemon.identity_of(pattern)["_SYSTEMD_UNIT"]
    for unit in ("user@1002.service", "session-3.scope", "user@1002.service/x.service", ""):
        if isinstance(units, Like):
            assert units.regex.fullmatch(unit.encode()) is None
            assert units.regex.fullmatch(f"{unit}{units.example}".encode()) is None or not unit
        else:
            assert unit not in units


@pytest.mark.parametrize(("daemon", "pattern", "line"), SAMPLES, ids=called)
def test_each_sample_is_read(daemon: Daemon, pattern: Pattern, line: str) -> None:
    told = pattern_read(of(daemon, line, pattern), line_of(daemon, pattern))
    assert told and told.tells == pattern.tells
    assert (str(told.address) if told.address else "") == pattern.samples[line]
    assert told.tells != "login" or told.user
    assert told.tells != "login" or told.service in SERVICES
    if pattern.tells != "logout":
        assert Dispatch([daemon]).read(of(daemon, line, pattern)) == told
        assert Dispatch(REGISTRY).read(of(daemon, line, pattern)) == told


@pytest.mark.parametrize(("daemon", "pattern", "line"), SAMPLES, ids=called)
def test_no_daemon_takes_anothers_sample(daemon: Daemon, pattern: Pattern, line: str) -> None:
    record = of(daemon, line, pattern)
    assert [other.name for other in REGISTRY if read(other, record)] == [daemon.name]


@pytest.mark.parametrize(("daemon", "pattern"), PATTERNS, ids=called)
def test_no_trap_and_no_part_of_a_sample_is_read(daemon: Daemon, pattern: Pattern) -> None:
    altered = [
        x
        for line in pattern.samples
        for x in (
            f" {line}",
            f"{line}\n",
            f"{line} ",
            f"x\n{line}",
            f"{line}\0",
            f"\r{line}",
            f"{line}{'x' * LONGEST}",
        )
    ]
    for line in altered:
        assert pattern_read(of(daemon, line, pattern), line_of(daemon, pattern)) is None, line
    for line in daemon.traps:
        assert read(daemon, of(daemon, line, pattern)) is None, line


@pytest.mark.parametrize(("daemon", "pattern"), PATTERNS, ids=called)
def test_every_trusted_field_must_be_right(daemon: Daemon, pattern: Pattern) -> None:
    line = next(iter(pattern.samples))
    for name in TRUSTED_FIELDS:
        forged = of(daemon, line, pattern)
        forged.fields[name] = "evil"
        assert read(daemon, forged) is None, name
        del forged.fields[name]
        assert read(daemon, forged) is None, name


def dovecots_line(user: str, address: str) -> str:
    """Return what Dovecot writes: control characters replaced, cut at 80, nothing escaped."""
    clean = "".join("?" if ord(c) < 32 or ord(c) == 127 else c for c in user)
    shown = clean if len(clean) <= 80 else clean[:77] + "..."
    return (
        f"imap-login: Login: user=<{shown}>, method=PLAIN, rip={address}, lip=192.0.2.1, "
        "mpid=42, TLS, session=<MB3jXeRgTefAAAJI>"
    )


pieces = st.sampled_from(
    [
        ">",
        "<",
        ", ",
        "rip=",
        LIE,
        "lip=192.0.2.1",
        "method=PLAIN",
        "mpid=1",
        "session=<x>",
        "user=<",
    ]
)
hostile = st.lists(pieces | st.text(max_size=8), max_size=14).map("".join)


@given(user=hostile, number=st.integers(2, 254))
def test_a_users_name_never_says_where_he_is(user: str, number: int) -> None:
    message = dovecots_line(user, f"192.0.2.{number}").encode("utf-8", "surrogatepass")
    login = read(DOVECOT, of(DOVECOT, message))
    assert login and login.address == parse_address(b"192.0.2.%d" % number)


@given(message=st.binary(max_size=300))
def test_any_bytes_are_read_or_not_but_never_an_error(message: bytes) -> None:
    for daemon, pattern in PATTERNS:
        told = pattern_read(of(daemon, message, pattern), line_of(daemon, pattern))
        assert told is None or told.tells == pattern.tells


SCENARIOS = sorted(CORPUS.glob("*/*.export"))


def expected(scenario: Path) -> Counter[str]:
    """Return the addresses that the scenario's real logins must grant; see the corpus's notes.

    A login from the server's own address is one that must be found and refused.
    """
    with (scenario.parent / "expect.tsv").open(newline="") as table:
        rows = [row for row in csv.reader(table, delimiter="\t") if row[0] == scenario.name]
    return Counter(row[2] for row in rows if row[2] != "-")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_corpus_grants_exactly_what_it_must(scenario: Path, place: Path) -> None:
    """A line that only looks like a login is not found, or is refused with its reason."""
    file = make_journal(scenario.read_bytes(), place / "x.journal")
    config = place / "poprelay.conf"
    config.write_text('[daemons]\nenable = "all"\n')
    files = ["--file", str(file), "--map", str(place / "popip.db"), "--state", str(place)]
    done = journalrelay("-c", str(config), "replay", "--all", "--json", "--dry-run", *files)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    doubted = [row for row in rows if "client's" in row["reason"] or "gap" in row["reason"]]
    behind = [row for row in rows if row["address"] == "127.0.0.1"]  # whose client is a proxy
    told = [row["address"] for row in rows if row not in doubted and row not in behind]
    assert Counter(told) == expected(scenario)
    for row in rows:
        own = row["address"] in ("192.0.2.1", "2001:db8::1", "127.0.0.1")
        assert row["verdict"] == ("refused" if own or row in doubted else "expired")
        assert row["address"] != LIE or row in doubted


def test_corpus_is_there() -> None:
    assert len(SCENARIOS) == 166
