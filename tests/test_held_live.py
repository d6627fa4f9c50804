"""Limits and open sessions on a live journald, with a real Dovecot, stops and kills."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.map.popmap import PopMap
from lab.dovecot import USERS, Dovecot
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import Poprelayd
from lab.wait import wait_for
from tests.support import address

ANNA, BERT = USERS
LIMITED = "[relay]\nmax_addresses_per_user = 2\n"
HELD = '[relay]\nwindow = "4s"\nwhile_connected = "1h"\n'


@pytest.fixture
def sender(journald: Journald) -> Iterator[Sender]:
    with Sender() as running:
        yield running


def granted(daemon: Poprelayd) -> dict[str, int]:
    """Return the IPv4 addresses in the map and their expiries, also what is over."""
    content = PopMap(daemon.map, "hash", careful=False).read()
    return {key.decode(): expiry_s for key, expiry_s in content.items()}


def await_granted(daemon: Poprelayd, *addresses: str) -> None:
    wait_for(lambda: set(addresses) <= set(granted(daemon)), f"{addresses} in the map")


def refused(daemon: Poprelayd) -> dict[str, int]:
    return dict(json.loads(daemon.run("status", "--json").stdout).get("refused", {}))


@pytest.mark.parametrize("disturb", ["nothing", "kill", "stop", "reload", "rebuild"])
def test_who_has_a_password_gets_few_addresses_and_harms_no_other_user(
    journald: Journald, sender: Sender, place: Path, disturb: str
) -> None:
    with Poprelayd(place, config=LIMITED) as daemon:
        sender.send(login_line("192.0.2.7", user=ANNA))
        sender.send(login_line("198.51.100.1", user=ANNA))
        await_granted(daemon, "192.0.2.7", "198.51.100.1")
        wait_for(lambda: list(place.glob("*.cursor")), "a kept place")
        if disturb in ("kill", "stop"):
            getattr(daemon, disturb)()
            sender.send(login_line("198.51.100.2", user=ANNA))
            daemon.start()
        elif disturb == "reload":
            daemon.reload()
        elif disturb == "rebuild":
            daemon.map.unlink()
            await_rebuilt(daemon)
        sender.send_many(login_line(address(n), user=ANNA) for n in range(200))
        sender.send_many(login_line(address(n), user=ANNA) for n in range(200))
        sender.send(login_line("192.0.2.7", user=ANNA))
        sender.send(login_line("192.0.2.8", user=BERT))
        await_granted(daemon, "192.0.2.8")
        assert set(granted(daemon)) == {"192.0.2.7", "198.51.100.1", "192.0.2.8"}
        reason = "relay.max_addresses_per_user"
        more = disturb in ("kill", "stop")
        wait_for(lambda: refused(daemon) == {reason: 400 + more}, "the refusals in the report")
        daemon.stop()
        log = daemon.log.read_text()
        listed = sum(reason in line for line in log.splitlines())
        counted = sum(map(int, re.findall(r"^refused ([0-9]+) more", log, re.MULTILINE)))
        assert listed + counted == 200, "each address once"


def await_rebuilt(daemon: Poprelayd) -> None:
    wait_for(lambda: "removed or replaced" in daemon.log.read_text(), "the map made anew")
    await_granted(daemon, "192.0.2.7", "198.51.100.1")


def test_users_and_servers_that_are_not_wanted_are_refused(
    journald: Journald, sender: Sender, place: Path
) -> None:
    config = (
        f'[relay]\nonly_users = ["{ANNA}", "*@example.net"]\nnever_users = ["eve@example.net"]\n'
    )
    config += "[daemons.dovecot]\nmax_addresses = 2\n"
    with Poprelayd(place, config=config) as daemon:
        for number, user in enumerate([BERT, ANNA, "Eve@example.net", "x@example.net", ANNA, ANNA]):
            sender.send(login_line(address(number), user=user))
        sender.send(login_line(address(1), user=ANNA))
        reasons = {"relay.only_users": 1, "relay.never_users": 1}
        reasons["daemons.dovecot.max_addresses"] = 2
        wait_for(lambda: refused(daemon) == reasons, "the refusals in the report")
        assert set(granted(daemon)) == {address(1), address(3)}


def await_time(time_s: float) -> None:
    wait_for(lambda: time.time() > time_s, "the time to pass")


@pytest.mark.parametrize("disturb", ["nothing", "kill", "rebuild"])
def test_a_real_session_keeps_its_address_until_it_ends(
    journald: Journald, place: Path, disturb: str
) -> None:
    client, other = "192.0.2.7", "192.0.2.8"
    with Dovecot() as dovecot, Poprelayd(place, config=HELD) as daemon:
        with dovecot.imap_session(client) as session:
            await_granted(daemon, client)
            first_s = granted(daemon)[client]
            dovecot.imap_login(other)
            await_granted(daemon, other)
            wait_for(lambda: granted(daemon)[client] > first_s, "a longer grant")
            if disturb == "kill":
                daemon.kill()
                daemon.start()
            elif disturb == "rebuild":
                daemon.stop()
                daemon.map.unlink()
                daemon.start()
            await_time(first_s + 1)
            assert daemon.run("check", client).returncode == 0
            wait_for(lambda: granted(daemon).get(other, 0) < time.time(), "the other's end")
            assert session.noop()[0] == "OK"
            await_time(granted(daemon)[client] - 1)
            assert daemon.run("check", client).returncode == 0
            ended_s = time.time()
        wait_for(lambda: granted(daemon)[client] >= int(ended_s) + 4, "the last grant")
        last_s = granted(daemon)[client]
        assert last_s <= time.time() + 4
        wait_for(lambda: daemon.run("check", client).returncode == 1, "the end of the grant")
        assert granted(daemon)[client] == last_s


def test_a_revocation_ends_a_real_session(journald: Journald, place: Path) -> None:
    client = "192.0.2.7"
    with (
        Dovecot() as dovecot,
        Poprelayd(place, config=HELD) as daemon,
        dovecot.imap_session(client),
    ):
        await_granted(daemon, client)
        assert daemon.run("revoke", client).returncode == 0
        wait_for(lambda: client not in granted(daemon), "the revocation")
        dovecot.imap_login("192.0.2.8")
        await_granted(daemon, "192.0.2.8")
        await_time(granted(daemon)["192.0.2.8"])
        assert client not in granted(daemon)
