"""Each daemon's login, logged live as that daemon does it, is granted; from other senders not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.patterns import REGISTRY, Daemon, Pattern
from journalrelay.patterns.identity import Like, example
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import Poprelayd
from tests.support import address
from tests.test_daemon import await_granted

# Stalwart's lines come by standard error, which a Sender cannot be.
BY_SYSLOG = [daemon for daemon in REGISTRY if daemon.identity["_TRANSPORT"] == ("syslog",)]
ALL = '[daemons]\nenable = "all"\n'
MARK = "192.0.2.9"


def called(daemon: Daemon) -> str:
    return daemon.name


def first(daemon: Daemon, tells: str) -> Pattern:
    return next(pattern for pattern in daemon.patterns if pattern.tells == tells)


def sample(pattern: Pattern, client: str) -> str:
    """Return a line of the pattern's about this client."""
    line, told = next(iter(pattern.samples.items()))
    return line.replace(told, client) if told else line


def sender(fields: dict[str, str]) -> Sender:
    return Sender(
        unit=fields["_SYSTEMD_UNIT"],
        uid=int(fields["_UID"]),
        exe=fields["_EXE"],
        identifier=fields["SYSLOG_IDENTIFIER"],
    )


def log_in(journald: Journald, daemon: Daemon, client: str, **otherwise: str) -> None:
    """Have the daemon log a login, in one line or in two; ``otherwise`` are forged fields.

    It lives until journald has looked at it. A line before shows one that can be forged to be
    whole.
    """
    login = first(daemon, "login")
    fields = {**example(daemon.identity_of(login)), **otherwise}
    if "address" in login.regex.groupindex:
        with sender(fields) as speaker:
            speaker.send_many([daemon.traps[0], sample(login, client)])
            journald.sync()
        return
    uid = otherwise.get("_UID", "0")
    with sender({**fields, "_UID": uid}) as speaker:
        speaker.send(sample(first(daemon, "connect"), client))
        if fields["_UID"] != uid:
            journald.sync()
            speaker.become(int(fields["_UID"]))
        speaker.send(sample(login, client))
        journald.sync()


@pytest.fixture
def poprelayd(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    with Poprelayd(place, config=ALL) as running:
        yield running


def test_every_daemons_login_is_granted(journald: Journald, poprelayd: Poprelayd) -> None:
    expected = {address(number): daemon for number, daemon in enumerate(BY_SYSLOG)}
    for client, daemon in expected.items():
        log_in(journald, daemon, client)
    await_granted(poprelayd, *expected)


def forgeries(daemon: Daemon) -> Iterator[dict[str, str]]:
    """Return what is wrong with other senders, one field each."""
    yield {"_SYSTEMD_UNIT": "user@1002.service"}
    yield {"_SYSTEMD_UNIT": "sendmail.service"}
    yield {"_EXE": "/usr/bin/logger"}
    yield {"SYSLOG_IDENTIFIER": "sendmail"}
    uids = daemon.identity_of(first(daemon, "login"))["_UID"]
    for uid in ("0", "1234"):
        held = uids.regex.fullmatch(uid.encode()) if isinstance(uids, Like) else uid in uids
        if not held:
            yield {"_UID": uid}


@pytest.mark.parametrize("daemon", BY_SYSLOG, ids=called)
def test_no_other_sender_is_believed(
    journald: Journald, poprelayd: Poprelayd, daemon: Daemon
) -> None:
    for forged in forgeries(daemon):
        log_in(journald, daemon, "203.0.113.66", **forged)
    with Sender() as dovecot:
        dovecot.send(login_line(MARK))
        await_granted(poprelayd, MARK)
    assert poprelayd.granted() == {MARK: poprelayd.granted()[MARK]}
