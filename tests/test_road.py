"""The whole road on real parts: a login at Dovecot, journald, the daemon, sendmail's answer."""

import poplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import room
from lab.dovecot import Dovecot
from lab.journald import Journald
from lab.poprelayd import Poprelayd
from lab.sendmail import Sendmail
from lab.wait import wait_for

SENDER, ELSEWHERE = "anna@mail.example.test", "friend@elsewhere.example"
WINDOW_S = 4


class Road(NamedTuple):
    """The parts in play."""

    dovecot: Dovecot
    daemon: Poprelayd
    sendmail: Sendmail

    def code(self, client: str) -> int:
        """Return sendmail's answer to a recipient elsewhere."""
        return self.sendmail.rcpt(client, SENDER, ELSEWHERE).code


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    place: Path = room.scratch("road-")
    with ExitStack() as parts:
        parts.enter_context(Journald())
        dovecot = parts.enter_context(Dovecot())
        config = f'[relay]\nwindow = "{WINDOW_S}s"\n'
        daemon = parts.enter_context(Poprelayd(place, config=config))
        popip = place / "popip"
        sendmail = parts.enter_context(Sendmail(room.scratch("sendmail-"), popip=popip))
        yield Road(dovecot, daemon, sendmail)


LogIn = Callable[[Dovecot, str], float]


@pytest.mark.parametrize(
    ("client", "log_in"),
    [
        ("198.51.100.21", lambda dovecot, client: dovecot.pop3_login(client)),
        ("198.51.100.22", lambda dovecot, client: dovecot.pop3_login(client, tls=True)),
        ("198.51.100.23", lambda dovecot, client: dovecot.imap_login(client)),
        ("2001:db8:1:2::21", lambda dovecot, client: dovecot.imap_login(client, tls=True)),
        ("2001:db8:1:2::22", lambda dovecot, client: dovecot.pop3_login(client)),
    ],
    ids=["pop3", "pop3-tls", "imap", "imap-tls-ipv6", "pop3-ipv6"],
)
def test_a_login_opens_the_relay_and_time_closes_it(road: Road, client: str, log_in: LogIn) -> None:
    assert road.code(client) == 550
    log_in(road.dovecot, client)
    logged_in_s = time.time()
    wait_for(lambda: road.code(client) == 250, "the relay to open", WINDOW_S)
    wait_for(lambda: road.code(client) == 550, "the relay to close", WINDOW_S + 5)
    assert time.time() - logged_in_s > WINDOW_S - 1
    assert client not in road.daemon.granted()
    assert road.daemon.run("expire").returncode == 0
    assert road.daemon.popmap().read() == {}


def test_a_failed_login_opens_nothing(road: Road) -> None:
    wrong = road.dovecot.pop3_session("198.51.100.30", password="wrong")
    with pytest.raises(poplib.error_proto, match="AUTH"), wrong:
        pass
    road.dovecot.pop3_login("198.51.100.31")
    wait_for(lambda: road.code("198.51.100.31") == 250, "a later login's relay", WINDOW_S)
    assert road.code("198.51.100.30") == 550


def test_a_login_from_the_server_itself_opens_nothing(road: Road) -> None:
    road.dovecot.pop3_login(room.SERVER)
    road.dovecot.pop3_login("198.51.100.32")
    wait_for(lambda: road.code("198.51.100.32") == 250, "a later login's relay", WINDOW_S)
    assert room.SERVER not in road.daemon.granted()
