"""What a line of a log file says: its message, and who claims to have logged it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.event import Login, claimed_process_of
from journalrelay.patterns import REGISTRY, Daemon
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.unvouched import SENDMAIL, identifiers, unread, unvouched
from journalrelay.recognition.logins import Logins
from journalrelay.sources.logline import Hosts, LogRecord, take_apart
from journalrelay.sources.sieve import Sieve
from lab.journald import login_line

CORPUS = Path(__file__).parent / "corpus" / "rsyslog-8.2504"
READ = unvouched(REGISTRY)
ISO = "2026-11-22T21:22:25.628874+00:00 mail "
OLD = "Nov 22 21:22:25 mail "
LOGIN = login_line("192.0.2.7")
LIE = login_line("203.0.113.66")


def login(text: str | bytes, daemons: tuple[Daemon, ...] = READ) -> Login | None:
    """Return the login that a line proves, read as the source reads it."""
    raw = text.encode() if isinstance(text, str) else text
    line = take_apart(raw)
    if line is None or not list(Sieve(identifiers(daemons)).found(raw + b"\n")):
        return None
    record = LogRecord(line.message, line.fields, lambda: 0, lambda: "")
    found = Logins(daemons, vouched=False).read(record)
    return found if isinstance(found, Login) else None


@pytest.mark.parametrize(
    "text",
    [
        ISO + "dovecot: " + LOGIN,
        ISO + "dovecot[17]: " + LOGIN,
        "2026-11-22T21:22:25Z mail dovecot: " + LOGIN,
        OLD + "dovecot: " + LOGIN,
        "Nov  2 21:22:25 mail dovecot[1754]: " + LOGIN,
        "Nov 22 2026 21:22:25 mail dovecot[1754]: " + LOGIN,
        OLD + "dovecot[17]: [ID 702911 mail.info] " + LOGIN,
        OLD + f"dovecot: message repeated 3 times: [ {LOGIN}]",
        OLD + f"dovecot: message repeated 3 times: [{LOGIN}]",
        "@400000006741f0e52a1b3c4d dovecot: " + LOGIN,
        "@400000006741f0e52a1b3c4d mail.info: Nov 22 21:22:25 dovecot[17]: " + LOGIN,
        "Nov 22 21:22:25 pop3-login: Info: " + LOGIN.removeprefix("pop3-login: "),
        "2026-11-22 21:22:25 pop3-login: Info: " + LOGIN.removeprefix("pop3-login: "),
        "dovecot: Nov 22 21:22:25 Info: " + LOGIN,
        "dovecot: 2026-11-22 21:22:25 Info: " + LOGIN,
    ],
)
def test_a_login_is_found_in_every_form_of_line(text: str) -> None:
    found = login(text)
    assert found and str(found.address) == "192.0.2.7"


@pytest.mark.parametrize(
    "text",
    [
        LIE,
        "dovecot: " + LIE,
        ISO + LIE,
        ISO + "evil dovecot: " + LIE,
        ISO + "otherhost dovecot[1]: " + LIE,
        ISO + "dovecot : " + LIE,
        ISO + "dovecot[]: " + LIE,
        ISO + "dovecot[1x]: " + LIE,
        ISO + "notdovecot: " + LIE,
        ISO + "dovecot2: " + LIE,
        ISO + "Dovecot: " + LIE,
        ISO + "dovecot:" + LIE,
        ISO + "dovecot: dovecot: " + LIE,
        ISO + "dovecot: x " + LIE,
        ISO + f"dovecot: {LIE}#012<22>Nov 22 21:00:00 dovecot: {LIE}",
        ISO + f"dovecot: harmless#012<22>Nov 22 21:00:00 dovecot: {LIE}",
        ISO + f"dovecot: {LIE}#000",
        ISO + f"dovecot: {LIE}\r",
        ISO + f"dovecot: message repeated 3 times: [ {LIE}",
        ISO + f"dovecot: message repeated many times: [ {LIE}]",
        ISO + f"dovecot: message repeated 3 times: [ message repeated 2 times: [ {LIE}]]",
        OLD + "last message repeated 3 times",
        "Nov 22 21:22:25 mail 1 2026-11-22T21:00:00Z h dovecot 1 - - " + LIE,
        "Nov 22 21:22:25 mail pop3-login: Info: " + LIE.removeprefix("pop3-login: "),
        "Nov 22 21:22:25 pop3-login: Error: " + LIE.removeprefix("pop3-login: "),
        "22 Nov 21:22:25 mail dovecot: " + LIE,
        "\0" + ISO + "dovecot: " + LIE,
    ],
)
def test_what_only_looks_like_a_login_is_none(text: str) -> None:
    assert login(text) is None


CVE_2001_1075 = (
    "sm-mta[679]: 6AMLfJHo002220: from=<x>, arg1=dovecot: " + LIE,
    'sendmail[679]: AAA: POP login by user "admin" at (203.0.113.66) 203.0.113.66',
    "sm-mta[679]: ruleset=check_rcpt, arg1=<" + LIE + ">, relay=[203.0.113.66], reject=550",
    "sm-mta[679]: " + LIE,
)


@pytest.mark.parametrize("text", CVE_2001_1075)
def test_what_sendmail_logs_is_nobody_elses(text: str) -> None:
    for form in (ISO, OLD):
        assert login(form + text) is None


def test_no_daemon_can_be_called_like_sendmail() -> None:
    claimed = {**DOVECOT.identity, "SYSLOG_IDENTIFIER": ("sm-mta", "dovecot")}
    (left,) = unvouched([DOVECOT._replace(identity=claimed)])
    assert identifiers([left]) == {"dovecot"}
    assert not identifiers(READ) & SENDMAIL


def test_who_can_be_forged_in_the_journal_is_not_read_from_a_file() -> None:
    assert {daemon.name for daemon in REGISTRY if daemon.forgeable} <= set(unread(REGISTRY))
    assert not any(daemon.forgeable for daemon in READ)


@pytest.mark.parametrize("daemon", READ, ids=lambda daemon: daemon.name)
def test_a_daemons_samples_are_found_in_a_file(daemon: Daemon) -> None:
    """Each line by itself tells what it tells without a trusted field, and a trap tells nothing."""
    for pattern in daemon.patterns:
        for name in identifiers([daemon]):
            for sample, address in pattern.samples.items():
                found = login(f"{ISO}{name}[17]: {sample}")
                if found:
                    assert str(found.address) == address
                if name in daemon.identity_of(pattern)["SYSLOG_IDENTIFIER"]:
                    told = pattern.tells == "login" and bool(address) and not pattern.by_name
                    assert bool(found) == told, sample
    for trap in daemon.traps:
        for name in identifiers([daemon]):
            assert login(f"{ISO}{name}[17]: {trap}") is None, trap


def test_a_process_is_known_by_host_name_and_number() -> None:
    def process(text: str) -> object:
        line = take_apart(text.encode())
        assert line
        record = LogRecord(line.message, line.fields, lambda: 0, lambda: "")
        return claimed_process_of(record)

    first = process(ISO + "popa3d[17]: Session from 192.0.2.7")
    assert first and first == process(OLD + "popa3d[17]: Authentication passed for anna")
    others = ("mail popa3d[18]: x", "mail popa3e[17]: x", "mx popa3d[17]: x", "mail popa3d: x")
    assert all(process(f"Nov 22 21:22:25 {other}") != first for other in others)
    assert process(ISO + "popa3d: x") is None


@pytest.mark.parametrize(
    ("names", "host", "counts"),
    [
        (("mail",), "mail", True),
        (("mail.example.org",), "mail", True),
        (("mail",), "mail.example.org", True),
        (("mail.example.org",), "MAIL.example.ORG", True),
        (("mail.example.org",), "mail.example.net", False),
        (("mail",), "mx", False),
        (("mail", "mx"), "mx", True),
        (("192.0.2.1",), "192.0.2.7", False),
    ],
)
def test_lines_of_other_hosts_do_not_count(names: tuple[str, ...], host: str, counts: bool) -> None:
    assert Hosts(names).have(host.encode()) is counts
    assert Hosts(names).have(None)


def recorded(name: str) -> list[bytes]:
    return (CORPUS / name).read_bytes().splitlines()


@pytest.mark.parametrize("name", ["mail.log.iso", "mail.log.rfc3164"])
def test_a_recorded_log_gives_its_logins(name: str) -> None:
    """What local users have forged byte for byte cannot be told apart: the manual says so."""
    found = {str(one.address) for text in recorded(name) if (one := login(text))}
    clients = {a for a in found if a.startswith(("192.0.2.", "2001:db8::"))}
    assert len(clients) >= 4
    assert found - clients <= {"203.0.113.66"}
    for text in recorded(name):
        if b"#012" in text or b"sm-mta" in text or b"sendmail" in text:
            assert login(text) is None


def test_what_recorded_sendmail_logs_is_no_login() -> None:
    assert len(recorded("sendmail.mail.log.iso")) == 6
    assert all(login(text) is None for text in recorded("sendmail.mail.log.iso"))


@given(st.binary(max_size=200))
def test_no_line_can_do_harm(text: bytes) -> None:
    line = take_apart(text.replace(b"\n", b""))
    assert line is None or line.fields["SYSLOG_IDENTIFIER"]
