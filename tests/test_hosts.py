"""Other hosts' journals, as systemd-journal-remote leaves them, up to the map."""

import ipaddress
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.errors import ConfigError
from journalrelay.event import Login, Record
from journalrelay.relay import Relay
from journalrelay.remote.hosts import Hosts
from journalrelay.rules.policy import Verdict
from journalrelay.rules.trust import Trust
from journalrelay.site import Site
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab.journalfile import entry, make_journal
from lab.poprelayd import TOP, Poprelayd
from lab.received import Receiver, login, receive
from lab.wait import wait_for
from tests.support import address, config_of, drain, now_us

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

    @property
    def hosts(self) -> Hosts:
        assert self.parts.hosts
        return self.parts.hosts

    def said(self) -> list[str]:
        """Return what an operator is told, and was not told before."""
        return [remark.text for remark in self.hosts.remarks()]

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
    assert sorted(text.split(": ")[1] for text in relayed.said()) == [
        "evil.example is no host of [remote]",
        "pop1.example@x is no host of [remote]",
    ]
    receive(relayed.remote, "evil.example", login("anna", "198.51.100.7", now_us()))
    relayed.granted()
    assert relayed.said() == []
    assert sorted(relayed.hosts.unknown) == ["evil.example", "pop1.example@x"]


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


def test_a_clock_that_is_ahead_is_said_once(relayed: Relayed) -> None:
    relayed.start()
    at = now_us()
    for number in range(3):
        wrong = login("anna", f"198.51.100.{number}", at + (300 + number) * SECOND)
        receive(relayed.remote, "pop2.example", wrong)
        wait_for(lambda: relayed.granted() or len(relayed.verdicts) > number, "it")  # noqa: B023
    assert {reason for _, _, reason in relayed.verdicts} == {"from the future"}
    (said,) = relayed.said()
    assert said.startswith("pop2.example: its clock is ")
    assert said.endswith(" ahead of ours: its logins are refused until it is right")
    assert relayed.hosts.facts()["pop2.example"]["clock"] == "ahead"


def test_a_host_has_so_many_places_and_no_more(tmp_path: Path) -> None:
    relayed = Relayed(tmp_path, TABLES + "max_addresses = 3\n")
    relayed.start()
    at = now_us()
    receive(relayed.remote, "pop2.example", *(login(f"u{n}", address(n), at + n) for n in range(5)))
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at))
    make_journal([login("carl", "203.0.113.1", at)], tmp_path / "local" / "system.journal")
    wait_for(lambda: relayed.granted() and len(relayed.verdicts) == 7, "the logins")
    assert relayed.granted() == {"198.51.100.1", "203.0.113.1", *(address(n) for n in range(3))}
    refused = [reason for _, word, reason in relayed.verdicts if word == "refused"]
    assert refused == ['remote."pop2.example".max_addresses: 3'] * 2


def test_a_relay_that_reads_nothing_of_its_own_believes_its_map(relayed: Relayed) -> None:
    """Its kept places are those of other hosts alone."""
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.1", now_us()))
    relayed.start()
    relayed.granted()
    relayed.relay.save()
    file = relayed.site.map_path.stat().st_ino
    assert relayed.start() == []
    assert relayed.site.map_path.stat().st_ino == file
    relayed.site.map_path.write_bytes(b"")
    assert relayed.start() != []
    assert relayed.granted() == {"198.51.100.1"}


def test_replay_walks_all_hosts_and_says_whose_login_it_is(tmp_path: Path) -> None:
    relayed = Relayed(tmp_path)
    at = now_us()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at - 7000 * SECOND))
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.2", at))
    journal = make_journal([login("carl", "203.0.113.1", at)], tmp_path / "local/system.journal")
    daemon = Poprelayd(tmp_path, config=(tmp_path / "poprelay.conf").read_text())

    def replayed(*words: str) -> dict[str, tuple[str | None, str]]:
        done = daemon.run("replay", "--json", *words)
        assert done.returncode == 0, done.stderr
        rows = map(json.loads, done.stdout.splitlines())
        return {row["user"]: (row.get("remote"), row["verdict"]) for row in rows}

    pop1, pop2 = ("pop1.example", "expired"), ("pop2.example", "granted")
    assert replayed("--all", "--dry-run") == {
        "anna": pop1,
        "bert": pop2,
        "carl": (None, "granted"),
    }
    assert replayed("--since", "-10min") == {"bert": pop2, "carl": (None, "granted")}
    assert replayed("--all", "--file", str(journal)) == {"carl": (None, "granted")}
    assert daemon.granted().keys() == {"198.51.100.2", "203.0.113.1"}
    assert replayed().keys() >= {"bert", "carl"}  # from the saved places, of which there are none


def test_who_reads_in_another_order_and_twice_comes_to_the_same(tmp_path: Path) -> None:
    """Two relays, fed with the same logins in another order, with duplicates and restarts."""
    at, chance = now_us() - 600 * SECOND, random.Random(9)
    logins = {
        host: [
            login(f"u{n}", address(chance.randrange(200)), at + n * SECOND, pid=str(n))
            for n in range(300)
        ]
        for host in ("pop1.example", "pop2.example")
    }
    maps = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        relayed = Relayed(tmp_path / name, TABLES.replace("198.51.100.0/24", "0.0.0.0/0"))
        relayed.start()
        left = {host: list(entries) for host, entries in logins.items()}
        while any(left.values()):
            host = chance.choice([host for host, entries in left.items() if entries])
            count = chance.randrange(1, 80)
            sent, left[host] = left[host][:count], left[host][count:]
            again = chance.choice([[], sent[-20:]])  # a sender that did not hear of its arrival
            receive(relayed.remote, host, *sent, *again)
            relayed.granted()
            if chance.random() < 0.3:
                relayed.relay.save()
                relayed.start()
        assert len(wait_for(relayed.granted, "them")) <= 200
        wait_for(lambda: relayed.granted() and not relayed.hosts._lively, "rest")  # noqa: B023
        maps.append(relayed.site.popmap().read())
    assert maps[0] == maps[1]
    assert len(maps[0]) > 150


def test_a_kill_at_any_instant_loses_no_login(tmp_path: Path) -> None:
    relayed = Relayed(tmp_path)
    daemon = Poprelayd(tmp_path, config=(tmp_path / "poprelay.conf").read_text())
    at, sent, chance = now_us(), 0, random.Random(4)
    with (
        Receiver(relayed.remote, "pop1.example") as pop1,
        Receiver(relayed.remote, "pop2.example") as pop2,
    ):
        for _ in range(8):
            daemon.start()
            last = chance.randrange(40)  # what it lives to see, if it reads so fast
            for number, pop in enumerate((pop1, pop2) * 20):
                pop.send([login(f"u{sent}", f"198.51.100.{sent % 256}", at + sent)])
                sent += 1
                if number == last:
                    daemon.kill()
    with daemon:
        wait_for(lambda: len(daemon.granted()) == 256, "every login")
        facts = json.loads(daemon.run("status", "--json").stdout)
        assert facts["hosts"]["pop1.example"]["clock"] == "right"


def test_a_host_that_sends_very_much_keeps_back_no_other(relayed: Relayed) -> None:
    relayed.start()
    at = now_us()
    flood = [login("evil", "203.0.113.66", at + n) for n in range(2000)]
    receive(relayed.remote, "pop2.example", *flood)
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", at))
    seen: list[str] = []
    relayed.relay = Relay(relayed.parts, lambda _, login, __: seen.append(login.remote))
    relayed.relay.begin(at - 60 * SECOND)
    wait_for(lambda: relayed.relay.step(now_us(), limit=100) and "pop1.example" in seen, "pop1")
    assert seen.count("pop2.example") < len(flood)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "[remote.pop1]\n",
            'remote."pop1".daemons: it is missing (those for which the host may speak, as '
            "['dovecot'])",
        ),
        (
            '[remote."pop1"]\ndaemons = ["dovecott"]\nnetworks = []\n',
            "remote.\"pop1\".daemons: 'dovecott' is no known daemon (did you mean 'dovecot'?)",
        ),
        (
            '[remote."pop1"]\ndaemons = ["dovecot"]\nnetworks = ["anywhere"]\n',
            "remote.\"pop1\".networks: 'anywhere' is not a network (try '192.0.2.0/24')",
        ),
        (
            '[remote."pop1"]\ndaemons = ["dovecot"]\nnetworks = []\nnetwork = []\n',
            "remote.\"pop1\".network: there is no such setting (did you mean 'networks'?)",
        ),
        (
            '[remote."../pop1"]\ndaemons = ["dovecot"]\nnetworks = []\n',
            "remote.\"../pop1\": '../pop1' is no name (it is the common name of the host's "
            "certificate)",
        ),
        ("[remote]\npop1 = 3\n", 'remote."pop1": 3 is not a table (write [remote."pop1"])'),
        (
            '[remote."pop1"]\ndaemons = ["dovecot"]\nnetworks = []\nmax_addresses = -1\n',
            'remote."pop1".max_addresses: -1 is not a number from 1 to 10000000 (0 is no limit)',
        ),
    ],
)
def test_a_wrong_table_is_one_clear_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    assert fault in [line.partition(": ")[2] for line in str(caught.value).splitlines()]


def test_a_whole_64_must_lie_in_a_hosts_networks() -> None:
    trust = Trust("pop1", ("dovecot",), (ipaddress.ip_network("2001:db8:1:2::/96"),))
    inside = Login(ipaddress.ip_address("2001:db8:1:2::7"), b"anna", "pop3", "dovecot", 0)
    assert trust.doubt(inside, 128) == ""
    assert trust.doubt(inside, 64) == 'remote."pop1".networks: not in them'


def test_a_site_without_remote_hosts_looks_for_none(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from journalrelay.config import load;"
        "from journalrelay.site import Site; place = Path(sys.argv[1]);"
        "Site(load(place / 'poprelay.conf'), place).parts();"
        "print(*sorted(name for name in sys.modules if name.startswith('journalrelay.')))"
    )
    Relayed(tmp_path, "")
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TOP)
    loaded = set(done.stdout.split())
    assert "journalrelay.relay" in loaded
    assert (
        not {f"journalrelay.{name}" for name in ("host", "hosts", "trust", "sources.received")}
        & loaded
    )
