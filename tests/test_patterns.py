"""Each daemon's patterns take its real logins and nothing else: samples, traps, the corpus."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.grant import parse_address
from journalrelay.patterns import REGISTRY, TRUSTED_FIELDS, Daemon
from lab.journalfile import make_journal
from lab.poprelayd import journalrelay
from tests.support import FakeRecord

CORPUS = Path(__file__).parent / "corpus"
LIE = "203.0.113.66"


def of(daemon: Daemon, message: str | bytes) -> FakeRecord:
    """Return a record of the daemon's own with this text."""
    text = message.encode() if isinstance(message, str) else message
    return FakeRecord(text, {name: values[0] for name, values in daemon.identity.items()})


@pytest.mark.parametrize("daemon", REGISTRY, ids=lambda daemon: daemon.name)
def test_each_sample_is_read(daemon: Daemon) -> None:
    for pattern in daemon.patterns:
        assert pattern.samples
        for line, address in pattern.samples.items():
            login = daemon.read(of(daemon, line))
            assert login and str(login.address) == address, line


@pytest.mark.parametrize("daemon", REGISTRY, ids=lambda daemon: daemon.name)
def test_no_trap_and_no_part_of_a_sample_is_read(daemon: Daemon) -> None:
    lines = [line for pattern in daemon.patterns for line in pattern.samples]
    altered = [x for line in lines for x in (f" {line}", f"{line}\n", f"{line} ", f"x\n{line}")]
    for line in (*daemon.traps, *altered):
        assert daemon.read(of(daemon, line)) is None, line


@pytest.mark.parametrize("daemon", REGISTRY, ids=lambda daemon: daemon.name)
def test_every_trusted_field_must_be_right(daemon: Daemon) -> None:
    assert set(daemon.identity) == set(TRUSTED_FIELDS)
    line = next(iter(daemon.patterns[0].samples))
    for name in daemon.identity:
        forged = of(daemon, line)
        forged.fields[name] = "evil"
        assert daemon.read(forged) is None, name
        del forged.fields[name]
        assert daemon.read(forged) is None, name


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
    daemon = REGISTRY[0]
    message = dovecots_line(user, f"192.0.2.{number}").encode("utf-8", "surrogatepass")
    login = daemon.read(of(daemon, message))
    assert login and login.address == parse_address(b"192.0.2.%d" % number)


@given(message=st.binary(max_size=300))
def test_any_bytes_are_read_or_not_but_never_an_error(message: bytes) -> None:
    assert REGISTRY[0].read(of(REGISTRY[0], message)) is None


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
    file = make_journal(scenario.read_bytes(), place / "x.journal")
    files = ["--file", str(file), "--map", str(place / "popip.db"), "--state", str(place)]
    done = journalrelay("replay", "--all", "--json", "--dry-run", *files)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert Counter(row["address"] for row in rows) == expected(scenario)
    for row in rows:
        own = row["address"] in ("192.0.2.1", "2001:db8::1")
        assert row["verdict"] == ("refused" if own else "expired")
        assert row["address"] != LIE


def test_corpus_is_there() -> None:
    assert len(SCENARIOS) == 49
