"""Other hosts' journals, as systemd-journal-remote leaves them, up to the map."""

from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.event import Login, Record
from journalrelay.message import HAND_GRANT, HAND_REVOCATION
from journalrelay.policy import Verdict
from journalrelay.relay import Relay
from journalrelay.site import Site
from lab.journalfile import entry, make_journal
from lab.poprelayd import Poprelayd
from lab.received import Receiver, login, receive
from lab.wait import wait_for
from tests.support import config_of, drain, now_us

SECOND = 1_000_000
TABLES = """
[remote."pop1.example"]
daemons = ["dovecot"]
networks = ["198.51.100.0/24", "2001:db8::/32"]
[remote."pop2.example"]
daemons = ["dovecot"]
networks = ["0.0.0.0/0", "::/0"]
"""


class Relayed:
    """A relay on the local journal and the remote hosts of `place`."""

    def __init__(self, place: Path, text: str = TABLES) -> None:
        self.place = place
        self.remote = place / "remote"
        self.remote.mkdir(exist_ok=True)
        journal = place / "local"
        if not journal.exists():
            journal.mkdir()
            make_journal(
                [entry("nothing", now_us(), unit="ssh.service")], journal / "system.journal"
            )
        source = f'[source]\nkind = "journal"\ndirectory = "{journal}"\nremote = "{self.remote}"\n'
        self.site = Site(config_of(place, source + text), place)
        self.verdicts: list[tuple[str, str, str]] = []
        self.relay: Relay

    def start(self) -> list[str]:
        parts = self.site.parts()
        self.parts = parts
        self.relay = Relay(parts, self.witness)
        return self.relay.start(now_us())

    def witness(self, record: Record, login: Login, verdict: Verdict) -> None:
        self.verdicts.append((str(login.address), verdict.word, verdict.reason))

    def granted(self) -> set[str]:
        drain(self.relay, now_us())
        return {key.decode() for key in self.site.popmap().read()}


def test_logins_of_remote_hosts_are_granted(tmp_path: Path) -> None:
    relayed = Relayed(tmp_path)
    at = now_us()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.7", at - 5 * SECOND))
    receive(relayed.remote, "pop2.example", login("bert", "203.0.113.9", at - 9 * SECOND))
    relayed.start()
    assert relayed.granted() == {"198.51.100.7", "203.0.113.9"}
    receive(relayed.remote, "pop2.example", login("carl", "203.0.113.10", at))
    wait_for(lambda: "203.0.113.10" in relayed.granted(), "carl")


@pytest.fixture
def relayed(tmp_path: Path) -> Relayed:
    return Relayed(tmp_path)


LIES: dict[str, tuple[Callable[[int], bytes], str]] = {
    "another network": (
        lambda at: login("anna", "192.0.2.77", at),
        'remote."pop1.example".networks: not in them',
    ),
    "another host's name": (
        lambda at: login("anna", "192.0.2.77", at, hostname="pop2.example", machine_id="f" * 32),
        'remote."pop1.example".networks: not in them',
    ),
    "another daemon": (
        lambda at: entry(
            "login: [198.51.100.7] anna plaintext User logged in SESSIONID=<cyrus-1-2-3-4>",
            at,
            unit="cyrus-imapd.service",
            uid=102,
            exe="/usr/lib/cyrus/bin/pop3d",
            identifier="cyrus/pop3",
        ),
        'remote."pop1.example".daemons: cyrus',
    ),
    "the future": (
        lambda at: login("anna", "198.51.100.7", at + 120 * SECOND),
        "from the future",
    ),
    "loopback": (
        lambda at: login("anna", "127.0.0.1", at),
        'remote."pop1.example".networks: not in them',
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_host_cannot_say_more_than_is_stated_for_it(relayed: Relayed, lie: str) -> None:
    make, reason = LIES[lie]
    relayed.start()
    receive(relayed.remote, "pop1.example", make(now_us()))
    wait_for(lambda: relayed.granted() or relayed.verdicts, "the lie")
    assert relayed.granted() == set()
    assert [said for _, word, said in relayed.verdicts if word == "refused"] == [reason]


@pytest.mark.parametrize("host", ["pop1.example", "pop2.example"])
def test_what_is_done_by_hand_is_this_machines_alone(relayed: Relayed, host: str) -> None:
    at = now_us()
    by_hand = [
        entry(
            f"relay by hand: {what}",
            at - SECOND + number,
            unit="session-1.scope",
            exe="/usr/bin/python3",
            transport="journal",
            identifier="poprelayd",
            extra=[
                ("MESSAGE_ID", kind.id),
                ("RELAY_ADDRESS", address),
                ("RELAY_MAP", str(relayed.site.map_path)),
                ("RELAY_EXPIRY", str(at // SECOND + 3600)),
            ],
        )
        for number, (what, kind, address) in enumerate(
            [
                ("203.0.113.5 granted", HAND_GRANT, "203.0.113.5"),
                ("198.51.100.7 revoked", HAND_REVOCATION, "198.51.100.7"),
                ("all revoked", HAND_REVOCATION, "all"),
            ]
        )
    ]
    receive(relayed.remote, host, login("anna", "198.51.100.7", at - 2 * SECOND), *by_hand)
    relayed.start()
    assert relayed.granted() == {"198.51.100.7"}
    # the same entries count where they are this machine's own
    make_journal(by_hand[:1], relayed.place / "local" / "system.journal")
    wait_for(lambda: "203.0.113.5" in relayed.granted(), "the operator's own grant")


def test_an_unknown_host_is_refused_and_said_once(relayed: Relayed) -> None:
    receive(relayed.remote, "evil.example", login("anna", "198.51.100.7", now_us()))
    receive(relayed.remote, "pop1.example@x", login("anna", "198.51.100.8", now_us()))
    relayed.start()
    assert relayed.granted() == set()
    hosts = relayed.parts.hosts
    assert hosts is not None
    told = [remark.text for remark in hosts.remarks()]
    assert sorted(text.split(": ")[1] for text in told) == [
        "evil.example is no host of [remote]",
        "pop1.example@x is no host of [remote]",
    ]
    receive(relayed.remote, "evil.example", login("anna", "198.51.100.7", now_us()))
    relayed.granted()
    assert hosts.remarks() == []


def test_who_was_cut_off_comes_late_and_is_read(relayed: Relayed) -> None:
    at = now_us()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at - 300 * SECOND))
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.2", at - 2 * SECOND))
    relayed.start()
    assert relayed.granted() == {"198.51.100.1", "198.51.100.2"}
    late = [login("anna", f"198.51.100.{n}", at - (290 - n) * SECOND) for n in range(10, 20)]
    receive(relayed.remote, "pop1.example", *late)
    wait_for(lambda: len(relayed.granted()) == 12, "what came late")
    assert relayed.site.popmap().read()[b"198.51.100.10"] == (at - 280 * SECOND) // SECOND + 900


def test_a_place_is_kept_for_each_host(relayed: Relayed) -> None:
    at = now_us()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at - 3 * SECOND))
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.2", at - 2 * SECOND))
    relayed.start()
    relayed.granted()
    relayed.relay.save()
    assert {file.name for file in relayed.place.glob("*.cursor")} == {
        "remote-pop1.example.cursor",
        "remote-pop2.example.cursor",
    }
    receive(relayed.remote, "pop1.example", login("carl", "198.51.100.3", at - 4 * SECOND))
    relayed.verdicts.clear()
    assert relayed.start() == []
    assert relayed.granted() == {"198.51.100.1", "198.51.100.2", "198.51.100.3"}
    assert [address for address, _, _ in relayed.verdicts] == ["198.51.100.3"]


def test_a_place_is_not_kept_before_the_map_has_it(relayed: Relayed) -> None:
    relayed.start()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", now_us()))
    wait_for(lambda: relayed.relay.step(now_us(), hold=True).records, "the login")
    relayed.relay.save()
    assert not list(relayed.place.glob("remote-*.cursor"))
    relayed.relay.step(now_us())
    relayed.relay.save()
    assert list(relayed.place.glob("remote-*.cursor"))


def test_a_map_that_is_lost_is_made_anew_from_all_hosts(relayed: Relayed) -> None:
    at = now_us()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at - 3 * SECOND))
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.2", at - 2 * SECOND))
    relayed.start()
    relayed.granted()
    relayed.relay.save()
    before = relayed.site.popmap().read()
    relayed.site.map_path.unlink()
    assert relayed.relay.mend(now_us())
    assert relayed.site.popmap().read() == before
    relayed.site.map_path.unlink()
    relayed.start()
    assert relayed.site.popmap().read() == before


def test_the_daemon_reads_a_host_that_is_new_and_says_who_is_not_known(tmp_path: Path) -> None:
    text = (Relayed(tmp_path).place / "poprelay.conf").read_text()
    with Poprelayd(tmp_path, config=text) as daemon:
        with Receiver(tmp_path / "remote", "pop1.example") as pop1:
            pop1.send([login("anna", "198.51.100.7", now_us())])
            wait_for(lambda: "198.51.100.7" in daemon.granted(), "a new host's login")
            pop1.send([login("anna", "198.51.100.8", now_us())])
            wait_for(lambda: "198.51.100.8" in daemon.granted(), "its next login")
        receive(tmp_path / "remote", "evil.example", login("anna", "198.51.100.9", now_us()))
        wait_for(lambda: "evil.example is no host" in daemon.log.read_text(), "the complaint")
        assert "198.51.100.9" not in daemon.granted()
        before = daemon.granted()
        daemon.kill()
        daemon.map.unlink()
        daemon.start()
        assert daemon.granted() == before
