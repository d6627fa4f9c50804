"""``match``: what takes a line or an entry, what it reads, and why another one is not taken."""

import io
import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.cli import main
from journalrelay.errors import DataError
from journalrelay.patterns import REGISTRY
from journalrelay.sources.text import TextLine, read_text
from journalrelay.workshop.finding import Finder
from journalrelay.workshop.likeness import MOST, Kinds
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import journalrelay
from tests.test_forgery import CUT, HELLO, LOGIN
from tests.test_own import HEAD, LINE, SAMPLE, TWO_LINES
from tests.test_patterns import SCENARIOS, expected

NOW_US = 1_795_400_000_000_000


@pytest.fixture
def shown(place: Path, capsys: pytest.CaptureFixture[str]) -> "Shown":
    return Shown(place, capsys)


class Shown:
    """Runs ``match`` on a file, with a configuration, and shows what it prints."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self._capsys = place, capsys
        self.code = -1

    def run(self, *arguments: str, config: str = HEAD + LINE) -> list[str]:
        file = self.place / "c.conf"
        file.write_text(config)
        self._capsys.readouterr()
        self.code = main(["-c", str(file), "match", *arguments])
        said = self._capsys.readouterr()
        self.errors = said.err.splitlines()
        lines = said.out.splitlines()
        assert all(line.isprintable() for line in [*lines, *self.errors])
        return lines

    def of(self, content: str | bytes, *arguments: str, config: str = HEAD + LINE) -> list[str]:
        file = self.place / "input"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.run(str(file), *arguments, config=config)

    def rows(
        self, content: str | bytes, *arguments: str, config: str = HEAD + LINE
    ) -> list[dict[str, Any]]:
        lines = self.of(content, "--json", *arguments, config=config)
        return [json.loads(line) for line in lines]


def nook(message: str | bytes = SAMPLE, **fields: Any) -> bytes:
    """Return an entry as the operator's daemon of tests/test_own.py logs it."""
    usual: dict[str, Any] = {
        "unit": "nook.service",
        "exe": "/usr/sbin/nook",
        "uid": 412,
        "identifier": "nook",
    }
    return entry(message, NOW_US, **{**usual, **fields})


# What is taken


def test_an_entry_that_is_taken_says_what_was_read(shown: Shown) -> None:
    lines = shown.of(nook())
    assert lines == [
        "nook login               192.0.2.10 pop3 'anna'",
        "1 taken (nook login: 1), 0 not",
    ]
    assert shown.code == os.EX_OK


def test_each_road_to_an_entry_shows_the_same(shown: Shown, journald: Journald) -> None:
    """Exported, as JSON, in a journal file, live: with a message that is no text, too."""
    named = SAMPLE.encode().replace(b"anna", b"z\xf6e")
    with Sender(unit="nook.service", uid=412, exe="/usr/sbin/nook", identifier="nook") as sender:
        sender.send_many([SAMPLE, named, b"mail\xff out"])
        found = []
        for form in ("export", "json"):
            journald.sync()
            words = ["journalctl", "-q", "-o", form, "--all", "-u", "nook.service"]
            found.append(shown.rows(subprocess.run(words, capture_output=True).stdout))
        files = [str(file) for file in journald.directory.glob("*.journal")]
        for where in (["--file", *files], ["--directory", str(journald.directory)], []):
            rows = [json.loads(line) for line in shown.run("--json", *where)]
            found.append([row for row in rows if row["message"].startswith(("session", "mail"))])
    assert [row["user"] for row in found[0]] == ["anna", "z\\xf6e", ""]
    assert [row["taken"] for row in found[0]] == [True, True, False]
    assert all(rows == found[0] for rows in found)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_corpus_is_taken_as_it_is_granted(scenario: Path, shown: Shown) -> None:
    rows = shown.rows(scenario.read_bytes(), config='[daemons]\nenable = "all"\n')
    logins = [row["address"] for row in rows if row["taken"] and row["tells"] == "login"]
    taken = [address for address in logins if address != "127.0.0.1"]  # behind a proxy
    assert Counter(taken) == expected(scenario)
    assert shown.code == (0 if any(row["taken"] for row in rows) else 1)
    for row in rows:
        assert row["fits"] + row["rest"] == row["message"] or "\\x" in row["message"]
        assert bool(row["reason"]) != row["taken"]


def test_a_connect_line_and_a_login_are_joined(shown: Shown) -> None:
    login = nook("auth ok for anna", uid=1000)
    hello = nook("connect from 192.0.2.7", uid=0)
    rows = shown.rows(login + hello + login + login, config=TWO_LINES)
    none = "no connect line of its process before it (ten minutes at most)"
    assert [(row["tells"], row["address"], row["reason"]) for row in rows] == [
        ("login", None, none),
        ("connect", "192.0.2.7", ""),
        ("login", "192.0.2.7", ""),
        ("login", None, none),
    ]


def test_a_logout_is_shown_too(shown: Shown) -> None:
    (row,) = shown.rows(nook("bye anna", uid=1000), config=TWO_LINES)
    assert (row["taken"], row["tells"], row["user"]) == (True, "logout", "anna")


# Why not


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"uid": 1000}, "identity: _UID is '1000', must be '412'"),
        ({"uid": None}, "identity: _UID is missing, must be '412'"),
        ({"unit": "evil.service"}, "identity: _SYSTEMD_UNIT is 'evil.service', must be "),
        ({"exe": "/usr/bin/logger"}, "identity: _EXE is '/usr/bin/logger', must be "),
        ({"transport": "journal"}, "identity: _TRANSPORT is 'journal', must be 'syslog'"),
        ({"identifier": "x\x1b[2J"}, "identity: SYSLOG_IDENTIFIER is 'x\\x1b[2J', must be 'nook'"),
    ],
)
def test_a_wrong_sender_is_named(shown: Shown, fields: dict[str, Any], why: str) -> None:
    lines = shown.of(nook(**fields))
    assert any(line.startswith(f"  nearest is nook login: {why}") for line in lines), lines
    assert shown.code == 1


@pytest.mark.parametrize(
    ("message", "why", "rest"),
    [
        (SAMPLE + " ", "then wants the end of the line", " "),
        (SAMPLE.replace("pop3", "smtp"), "then wants 'imap4' or 'pop3'", "smtp"),
        (SAMPLE.replace("192.0.2.10", "unknown"), "then wants one of [.0-:A-Fa-f] (address)", None),
        (SAMPLE.replace("192.0.2.10", "999.0.2.10"), "'999.0.2.10' is no address", ""),
        (SAMPLE[:30], "then wants", ""),
        (SAMPLE + "\nand more", "holds a line break", "\nand more"),
        (SAMPLE + "\r", "holds a line break", "\r"),
        (SAMPLE.replace("anna", "a" * 450), "over 450 bytes (516): it may have been cut", None),
    ],
)
def test_a_near_miss_says_how_far_it_came(
    shown: Shown, message: str, why: str, rest: str | None
) -> None:
    (row,) = shown.rows(nook(message))
    assert (row["taken"], row["daemon"], row["tells"]) == (False, "nook", "login")
    assert why in row["reason"]
    assert rest is None or row["rest"] == rest
    assert message == row["fits"] + row["rest"]
    assert any(why in line for line in shown.of(nook(message)))


def test_a_line_that_a_look_ahead_refuses(shown: Shown) -> None:
    line = login_line("192.0.2.7").replace("PLAIN", "ANONYMOUS")
    (row,) = shown.rows(entry(line, NOW_US))
    assert row["reason"] == "a look-ahead of the pattern, (?…), says no"


def test_a_daemon_that_is_not_enabled_is_named(shown: Shown) -> None:
    (row,) = shown.rows(nook(), config=HEAD + LINE + '[daemons]\nenable = ["dovecot"]\n')
    assert row["reason"] == "the daemon nook is not enabled (see daemons.enable)"
    assert (row["taken"], row["address"]) == (False, "192.0.2.10")
    assert shown.code == 1


def test_what_may_be_forged_says_so(shown: Shown) -> None:
    def courier(message: str | bytes) -> bytes:
        return entry(
            message,
            NOW_US,
            unit="courier-pop.service",
            exe="/usr/sbin/courierlogger",
            identifier="pop3d",
        )

    config = '[daemons]\nenable = "all"\n'
    whole = shown.rows(courier(HELLO) + courier(LOGIN), config=config)
    assert whole[-1]["taken"]
    cut = shown.rows(courier(HELLO) + courier(CUT) + courier(LOGIN), config=config)
    assert not cut[-1]["taken"]
    assert cut[-1]["reason"].startswith("may be forged: after a line that was cut")


def test_a_strangers_lines_are_grouped_with_who_logs_them(shown: Shown) -> None:
    lines = shown.of(
        b"".join(
            entry(
                f"user u{n} came from 192.0.2.{n}",
                NOW_US,
                unit="odd.service",
                exe='/usr/bin/o"dd',
                uid=7,
                identifier="odd",
            )
            for n in range(50)
        )
    )
    assert lines == [
        'no daemon that is known, logged by unit = "odd.service", exe = "/usr/bin/o\\"dd", '
        'uid = 7, transport = "syslog", identifier = "odd":',
        "  50 like  user * came from *",
        "0 taken, 50 not",
    ]


# Text


UNJUDGED = (
    "text alone: who logged it is not judged (journalctl -o json or -o export has all the fields)"
)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "Nov 22 21:52:55 mail nook[17]: ",
        "<22>Nov  2 21:52:55 mail nook: ",
        "2026-11-22T21:52:55.123456+01:00 mail nook[17]: ",
        "2026-11-22T21:52:55Z mail nook[17]: ",
        "2026-11-22 21:52:55 mail nook[17]: ",
    ],
)
def test_the_header_of_a_syslog_line_is_cut_off(shown: Shown, head: str) -> None:
    lines = shown.of(f"{head}{SAMPLE}\n")
    assert lines == [
        "nook login               192.0.2.10 pop3 'anna'",
        UNJUDGED,
        "1 taken (nook login: 1), 0 not",
    ]


def test_text_without_a_last_line_break_and_with_empty_lines(shown: Shown) -> None:
    rows = shown.rows(f"\n\n{SAMPLE}")
    assert [(row["line"], row["taken"]) for row in rows] == [(3, True)]


def test_lines_of_another_name_are_not_the_daemons(shown: Shown) -> None:
    (row,) = shown.rows(f"Nov 22 21:52:55 mail sshd[17]: {SAMPLE}\n")
    assert row["reason"] == "identity: SYSLOG_IDENTIFIER is 'sshd', must be 'nook'"


def test_text_is_joined_by_name_and_number(shown: Shown) -> None:
    text = (
        "Nov 22 21:52:55 mail nook[17]: connect from 192.0.2.7\n"
        "Nov 22 21:52:55 mail nook[18]: auth ok for bert\n"
        "Nov 22 21:52:56 mail nook[17]: auth ok for anna\n"
        "auth ok for carl\n"
    )
    rows = shown.rows(text, config=TWO_LINES)
    assert [row["address"] for row in rows] == ["192.0.2.7", None, "192.0.2.7", None]
    assert [row["taken"] for row in rows] == [True, False, True, False]


def test_an_address_in_a_units_name_is_not_made_up(shown: Shown) -> None:
    text = (HEAD + LINE).replace("nook.service", "nook@.service")
    text = text.replace("client (?P<address>[0-9A-Fa-f:.]{2,45}) port [0-9]{1,5}", "client .*")
    (row,) = shown.rows(SAMPLE, config=text.replace('" = "192.0.2.10"', '" = ""'))
    assert (row["taken"], row["address"]) == (False, None)
    assert "socket's unit" in row["reason"]


def test_what_a_terminal_would_obey_is_escaped(shown: Shown) -> None:
    evil = "\x1b]0;x\x07\x9b2J\u202e\r"
    lines = shown.of(
        nook(f"session 1: {evil}", identifier=evil)
        + nook(SAMPLE.replace("anna", f"{evil[:-1]}"))
        + nook(evil, unit=evil, exe=evil)
    )
    assert "\\x1b" in "".join(lines)
    shown.of(f"{evil}\nNov 22 21:52:55 mail nook[17]: session {evil}\n")
    shown.run(f"/nonesuch/{evil}")
    assert shown.code == os.EX_NOINPUT


# The command


def test_standard_input_is_a_dash(place: Path) -> None:
    (place / "c.conf").write_text(HEAD + LINE)
    done = journalrelay("-c", str(place / "c.conf"), "match", "-", input_=f"{SAMPLE}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nook login")


def test_nothing_at_all_is_a_negative_answer(shown: Shown) -> None:
    assert shown.of("") == ["0 taken, 0 not"]
    assert shown.code == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"MESSAGE": "x"}\n{"MESS\n', "line 2 is no entry of journalctl -o json"),
        (b'{"a": 1}\n[1]\n', "line 2 is no entry"),
        (b"__CURSOR=x\nMESSAGE=y\nno field\n", "'no field' is no field of journalctl -o export"),
        (b"__CURSOR=x\nMESSAGE\n\x05\0\0\0\0\0\0\0ab\n", "a field ends too early"),
        (b"__CURSOR=x\nMESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffab\n", "ends too early"),
    ],
)
def test_a_damaged_export_is_said(shown: Shown, content: bytes, said: str) -> None:
    shown.of(content)
    assert shown.code == os.EX_DATAERR
    assert said in shown.errors[0]


def test_a_file_and_the_journal_are_not_read_together(shown: Shown) -> None:
    for other in (["--since", "-1h"], ["--namespace", "x"], ["--file", "/x"]):
        shown.run("-", *other)
        assert shown.code == os.EX_USAGE
    shown.run(str(shown.place))
    assert shown.code == os.EX_USAGE
    assert "try --directory" in shown.errors[0]


def test_the_journal_is_read_from_an_hour_ago_or_since(shown: Shown, place: Path) -> None:
    now_us = time.time_ns() // 1000
    ages_s = (7200, 1800, 60)
    entries = [nook().replace(b"%d" % NOW_US, b"%d" % (now_us - age * 1_000_000)) for age in ages_s]
    file = make_journal(entries, place / "x.journal")
    for words, count in (([], 3), (["--since", "-1h"], 2), (["--since", "-10min"], 1)):
        rows = shown.run("--json", *words, "--file", str(file))
        assert len(rows) == count


def test_what_preceded_the_first_entry_is_known(shown: Shown, place: Path) -> None:
    hello, login = nook("connect from 192.0.2.7", uid=0), nook("auth ok for anna", uid=1000)
    now_us = time.time_ns() // 1000
    entries = [
        one.replace(b"%d" % NOW_US, b"%d" % (now_us - age * 1_000_000))
        for one, age in ((hello, 100), (login, 10))
    ]
    file = make_journal(entries, place / "x.journal")
    where = ["--since", "-1min", "--file", str(file)]
    (row,) = map(json.loads, shown.run("--json", *where, config=TWO_LINES))
    assert row["address"] == "192.0.2.7"


# Any input


@given(content=st.binary(max_size=300), head=st.sampled_from([b"", b"{", b"__CURSOR=a\n"]))
def test_any_bytes_are_read_or_refused(content: bytes, head: bytes) -> None:
    finder = Finder(REGISTRY, REGISTRY)
    try:
        for record in read_text(io.BytesIO(head + content), "x"):
            if isinstance(record, TextLine):
                found = finder.find_text(record.text, record.name, record.pid)
                assert found.length <= len(record.text)
            else:
                found = finder.find(record)
                assert found.length <= len(record.message)
            assert not found.taken
            assert found.why
    except DataError as error:
        assert str(error).isprintable()


# Kinds of lines


def test_lines_that_are_alike_are_one_kind() -> None:
    kinds: Kinds[str] = Kinds()
    for number in range(1000):
        for line in (b"opened for u%d from 10.0.0.%d" % (number, number), b"started"):
            if kinds.find("x", line) is None:
                kinds.add("x", line, "first")
    assert [(kind.shape, kind.count) for kind in kinds.all()] == [
        (b"opened for * from *", 1000),
        (b"started", 1000),
    ]


def test_kinds_are_bounded() -> None:
    kinds: Kinds[None] = Kinds()
    for number in range(MOST + 10):
        word = bytes(97 + int(digit) for digit in str(number))
        assert kinds.find("x", word) is None
        kinds.add("x", word, None)
    assert (len(kinds.all()), kinds.others) == (MOST, 10)
