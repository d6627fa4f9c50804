"""The steps of the partition test, on a cluster of booted hosts: the journals go to both relay
hosts, strangers' do not, links are cut and programs killed, and in the end both maps are the
truth."""

import json
import random
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lab import room, truth
from lab.certificates import Authority
from lab.cluster import Cluster
from lab.mailhost import RECIPIENT, USER
from lab.sendmail import Session
from lab.stage import CONF, Unexpected, expect
from lab.wait import wait_for

FEATURE = (
    "define(`confREFUSE_LA', `1000')dnl\n"  # this machine is busy, and it is not about that
    "define(`confDELAY_LA', `1000')dnl\n"
    "FEATURE(`poprelay')dnl\n"
)
WINDOW_S = 3600
CLIENTS = ("198.51.100.{}", "203.0.113.{}")
HEALED_S = 90.0
LOGINS = 60
TRUSTED = """
[remote."{}.example"]
daemons = ["dovecot"]
networks = ["198.51.100.0/24", "203.0.113.0/24"]
"""
RELAY = f"""\
[relay]
window = "{WINDOW_S}s"
max_addresses_per_user = 0  # one user comes from everywhere here
"""
UPLOAD = "journal-upload@{}.example.service"
RECEIVER = "journal-receive@{}.example.service"
STATE = "/var/lib/journal-upload/{}.example/state"


class Way(NamedTuple):
    """From a POP host to a relay host."""

    pop: str
    relay: str


class Partition:
    """The steps, in their order; each returns in a few words what it saw.

    What is cut and killed, and when, follows from the SEED but for the timing of the hosts.
    """

    def __init__(self, cluster: Cluster, package: Path, *, rounds: int, seed: int) -> None:
        self._cluster, self._package = cluster, package
        self._rounds, self._random = rounds, random.Random(seed)
        self._clients = (line.format(n) for n in range(2, 250) for line in CLIENTS)
        self._ways = [Way(pop, relay) for pop in cluster.pops for relay in cluster.relays]
        self._older: dict[Way, str] = {}

    def steps(self) -> tuple[Callable[[], str], ...]:
        """Return the steps; a step's name is its function's."""
        return (
            self.installation,
            self.everywhere,
            self.status,
            self.doctor,
            self.strangers,
            self.partitions,
            self.delay,
            self.delay_nudged,
        )

    def installation(self) -> str:
        """Install the package on the relay hosts, and state what the POP hosts may tell."""
        self._cluster.each(self._install, self._cluster.relays)
        return f"relay hosts: {', '.join(self._cluster.relays)}"

    def everywhere(self) -> str:
        """A login at either POP host opens the relay at both relay hosts."""
        slowest_s = 0.0
        for pop in self._cluster.pops:
            address = next(self._clients)
            for relay in self._cluster.relays:
                expect(f"{address} at {relay}", self._cluster.hosts[relay].rcpt(address).code, 550)
            self._cluster.hosts[pop].log_in(address)
            began_s = time.monotonic()
            for relay in self._cluster.relays:
                self._await_relayed(relay, address)
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        return f"{len(self._ways)} of {len(self._ways)} ways, the slowest after {slowest_s:.2f} s"

    def status(self) -> str:
        """`journalrelay status` tells of each POP host, to people and to programs."""
        names = {f"{pop}.example" for pop in self._cluster.pops}
        for relay in self._cluster.relays:
            wait_for(  # the daemon writes its report once a second
                lambda relay=relay: self._heard(relay) == names,  # type: ignore[misc]
                f"{relay}'s status to tell of logins at each host",
            )
        lines = self._cluster.hosts[self._cluster.relays[0]].run("journalrelay status").splitlines()
        return "\n".join(line for line in lines if any(name in line for name in names))

    def doctor(self) -> str:
        """`journalrelay doctor` finds nothing; then what is broken, and its mend mends that."""
        for relay in self._cluster.relays:
            expect(f"faults of {relay}", self._faults(relay), {})
            self._on(relay, "systemctl stop nginx")
            ((what, mend),) = self._faults(relay).items()
            expect("what is said", "nginx" in what, True)
            self._on(relay, mend)
            expect(f"faults of {relay}", self._faults(relay), {})
        return f"{what}: {mend}"

    def strangers(self) -> str:
        """Who has no certificate of ours is not listened to, nor a host that nobody asked for."""
        pop, relay = self._ways[0]
        with tempfile.TemporaryDirectory() as theirs:
            stranger, known = Authority(Path(theirs)), self._cluster.authority
            answers = {
                "no certificate": self._knock(pop, relay, None),
                "another authority's": self._knock(pop, relay, stranger.issue(f"{pop}.example")),
                "a host not asked for": self._knock(pop, relay, known.issue("pop9.example")),
                "a name of two words": self._knock(pop, relay, known.issue("pop1.example_x")),
            }
        expect(
            "answers",
            {who: code in (400, 403, 502) for who, code in answers.items()},
            dict.fromkeys(answers, True),
        )
        return ", ".join(f"{who}: {code}" for who, code in answers.items())

    def partitions(self) -> str:
        """Cut, kill, rotate and repeat at random under two streams of logins; heal, and compare."""
        self._remember_places()
        done: dict[str, int] = {}
        with self._stream() as counted:
            for _ in range(self._rounds):
                word = self._afflict()
                done[word] = done.get(word, 0) + 1
                self._await_more(counted, 4)
            for way in self._ways:
                self._cluster.heal(*way)
        healed_s = time.monotonic()
        wanted = self._truth()
        self._cluster.each(lambda relay: self._await_map(relay, wanted), self._cluster.relays)
        took_s = time.monotonic() - healed_s
        troubles = ", ".join(f"{count} {word}" for word, count in sorted(done.items()))
        twice = {relay: self._twice(relay) for relay in self._cluster.relays}
        return (
            f"{sum(counted.values())} logins, {troubles}; {took_s:.1f} s after the last link was "
            f"mended both maps were the truth, {len(wanted)} addresses\n"
            f"entries received twice: {twice}"
        )

    def delay(self) -> str:
        """From the POP server's +OK to sendmail's 250 at a relay host, nothing else going on."""
        return "\n".join(self._told_delay(way) for way in self._ends())

    def delay_nudged(self) -> str:
        """The same with journal-nudge on the POP hosts."""
        for pop in self._cluster.pops:
            self._on(pop, "systemctl start journal-nudge")
        return "\n".join(self._told_delay(way) for way in self._ends())

    def _ends(self) -> tuple[Way, Way]:
        return self._ways[0], self._ways[-1]

    def _told_delay(self, way: Way) -> str:
        took_ms = sorted(1000 * self._measure(way) for _ in range(LOGINS))
        return (
            f"{way.pop} to {way.relay}: p50 {took_ms[LOGINS // 2]:.0f} ms, "
            f"p99 {took_ms[-1 - LOGINS // 100]:.0f} ms, {LOGINS} logins"
        )

    # What the steps are made of

    def _install(self, relay: str) -> None:
        host = self._cluster.hosts[relay]
        host.copy_in(self._package, f"/var/tmp/{self._package.name}")
        host.run(f"apt-get -qq -y -o Dpkg::Use-Pty=0 install /var/tmp/{self._package.name}")
        trusted = "".join(TRUSTED.format(pop) for pop in self._cluster.pops)
        host.path(CONF).write_text(RELAY + trusted)
        host.run("systemctl restart poprelayd")
        host.await_active()
        host.edit_mc("MAILER_DEFINITIONS\n", f"{FEATURE}MAILER_DEFINITIONS\n")
        host.make_sendmail_cf()

    def _heard(self, relay: str) -> set[str]:
        """Return the hosts of which a relay host's status tells logins."""
        told = json.loads(self._cluster.hosts[relay].run("journalrelay status --json"))
        return {name for name, host in told["hosts"].items() if host["logins"]}

    def _faults(self, relay: str) -> dict[str, str]:
        """Return what is wrong with a relay host, each with what mends it."""
        found = json.loads(self._cluster.hosts[relay].attempt("journalrelay doctor --json").stdout)
        return {one["what"]: one["mend"] for one in found if one["word"] == "wrong"}

    def _await_relayed(self, relay: str, address: str) -> None:
        session = self._session(relay, address)
        try:
            wait_for(lambda: _rcpt(session) == 250, f"{relay} to relay for {address}", 30)
        finally:
            session.close()

    def _session(self, relay: str, address: str) -> Session:
        return Session(self._cluster.hosts[relay].from_address(room.SERVER, 25, address))

    def _knock(self, pop: str, relay: str, pair: tuple[Path, Path] | None) -> int:
        """Return how a relay host answers an upload with a key and certificate."""
        context = ssl.create_default_context(cafile=str(self._cluster.authority.trusted))
        if pair:
            context.load_cert_chain(pair[1], pair[0])
        address = self._cluster.address(relay, pop)
        connect = self._cluster.hosts[pop].from_address(
            address, 19532, self._cluster.address(pop, relay)
        )
        with context.wrap_socket(connect(), server_hostname=f"{relay}.example") as made:
            made.sendall(
                b"POST /upload HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n"
                b"Content-Type: application/vnd.fdo.journal\r\nContent-Length: 0\r\n\r\n"
            )
            return int(made.recv(4096).split()[1])

    def _afflict(self) -> str:
        """Do the next bad thing; return what it was."""
        way = self._random.choice(self._ways)
        kinds: dict[str, Callable[[Way], object]] = {
            "cuts": lambda way: self._cluster.cut(*way),
            "mends": lambda way: self._cluster.heal(*way),
            "uploads killed": lambda way: self._kill(way.pop, UPLOAD.format(way.relay)),
            "uploads begun at an older place": self._begin_at_older_place,
            "receivers killed": lambda way: self._kill(way.relay, RECEIVER.format(way.pop)),
            "POP hosts' journals rotated": lambda way: self._on(way.pop, "journalctl --rotate"),
            "daemons killed": lambda way: self._kill(way.relay, "poprelayd.service"),
            "nginx restarted": lambda way: self._on(way.relay, "systemctl restart nginx"),
        }
        word = self._random.choice(list(kinds))
        kinds[word](way)
        return word

    def _on(self, name: str, command: str) -> None:
        self._cluster.hosts[name].run(command)

    def _kill(self, name: str, unit: str) -> None:
        self._on(name, f"systemctl kill --signal=KILL {unit} || systemctl start {unit}")

    def _remember_places(self) -> None:
        for way in self._ways:
            path = STATE.format(way.relay)
            host = self._cluster.hosts[way.pop]
            self._older[way] = wait_for(
                lambda host=host, path=path: host.attempt(f"cat {path}").stdout,  # type: ignore[misc]
                f"{way.pop} to send to {way.relay}",
            )

    def _begin_at_older_place(self, way: Way) -> None:
        """Put the upload's place back, as a backup does: everything since then comes again."""
        unit = UPLOAD.format(way.relay)
        self._on(way.pop, f"systemctl stop {unit}")
        state = STATE.format(way.relay)
        self._on(way.pop, f"cat >{state} <<'end'\n{self._older[way]}end\nsystemctl start {unit}")

    @contextmanager
    def _stream(self) -> Iterator[dict[str, int]]:
        """Log in at every POP host while the context is held; give how often, host by host.

        The same clients come to both.
        """
        clients = [next(self._clients) for _ in range(60)]
        counted = dict.fromkeys(self._cluster.pops, 0)
        failed: list[Exception] = []
        over = threading.Event()

        def go_on(pop: str) -> None:
            chosen = random.Random(pop)
            while not over.is_set():
                try:
                    self._cluster.hosts[pop].log_in(chosen.choice(clients))
                except Exception as error:
                    failed.append(error)
                    return
                counted[pop] += 1

        threads = [threading.Thread(target=go_on, args=[pop]) for pop in counted]
        for thread in threads:
            thread.start()
        try:
            yield counted
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if failed:
            raise Unexpected(f"a login of the stream failed: {failed[0]!r}")

    def _await_more(self, counted: dict[str, int], more: int) -> None:
        enough = {pop: count + more for pop, count in counted.items()}
        wait_for(
            lambda: all(counted[pop] >= count for pop, count in enough.items()), "more logins", 60
        )

    def _truth(self) -> dict[str, int]:
        """Return address and expiry by the POP hosts' own journals."""
        rows = [row for pop in self._cluster.pops for row in self._cluster.hosts[pop].logged()]
        found = truth.truth(rows, WINDOW_S)
        return {key.decode(): expiry for key, expiry in found.items()}

    def _await_map(self, relay: str, wanted: dict[str, int]) -> None:
        host = self._cluster.hosts[relay]
        seen: dict[str, int] = {}

        def same() -> bool:
            seen.clear()
            seen.update({key: int(value) for key, value in host.in_map().items()})
            return seen == wanted

        with suppress(TimeoutError):
            wait_for(same, f"{relay}'s map to be the truth", HEALED_S, 0.1)
        differing = {
            key: (seen.get(key), wanted.get(key))
            for key in seen.keys() | wanted.keys()
            if seen.get(key) != wanted.get(key)
        }
        expect(f"{relay}'s map apart from the truth (seen, true)", differing, {})

    def _twice(self, relay: str) -> int:
        """Return how many of the POP servers' entries a relay host has had more than once."""
        received = self._cluster.hosts[relay].logged("--directory=/var/log/journal/remote")
        counts = Counter((row["__REALTIME_TIMESTAMP"], row["MESSAGE"]) for row in received)
        return sum(count > 1 for count in counts.values())

    def _measure(self, way: Way) -> float:
        """Return how long after its login a client was relayed for, in seconds."""
        address = next(self._clients)
        pop, session = self._cluster.hosts[way.pop], self._session(way.relay, address)
        try:
            expect(f"{address} before", _rcpt(session), 550)
            logged_in_s = pop.log_in(address)
            wait_for(
                lambda: _rcpt(session) == 250, f"{way.relay} to relay for {address}", 30, 0.001
            )
            return time.monotonic() - logged_in_s
        finally:
            session.close()


def _rcpt(session: Session) -> int:
    return session.rcpt(f"{USER}@mail.example.test", RECIPIENT).code
