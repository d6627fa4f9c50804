"""The simulation: hundreds of model POP hosts, several relay hosts with the real daemon, and in the
end all maps must be the truth.

    python3 -m lab.room -- python3 -m lab.simulation [--hosts N] [--relays N] [--rounds N]

The daemons, the journal files and systemd-journal-remote are real; the POP hosts and their links
are models (:mod:`lab.modelhosts`). Exit status 1 when a map is not the truth.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from lab.journalfile import entry, make_journal
from lab.modelhosts import HOUR_US, SKEW_US, Link, PopHost, now_us, truth
from lab.poprelayd import Poprelayd
from lab.wait import wait_for

WINDOW_S = 4 * 3600
TICK_S = 0.02
LOGINS = 20
CLIENTS = 20_000
SETTLED_S = 300.0
CONFIG = """\
[relay]
window = "{window}s"
max_addresses_per_user = 0
[source]
kind = "journal"
directory = "{place}/local"
remote = "{place}/remote"
"""
TABLE = """
[remote."{}"]
daemons = ["dovecot"]
networks = ["0.0.0.0/0"]
max_addresses = 0
"""


class RelayHost:
    """A relay host: a directory of received journals, and the daemon on it."""

    def __init__(self, hosts: Sequence[PopHost], held: ExitStack) -> None:
        # on the disk: every host's file takes 8 MiB from the start
        disk = tempfile.TemporaryDirectory(prefix="journalrelay-", dir="/var/cache")
        self.place = Path(held.enter_context(disk))
        local = self.place / "local/system.journal"
        local.parent.mkdir()
        make_journal([entry("nothing", now_us(), unit="ssh.service")], local)
        tables = "".join(TABLE.format(host.name) for host in hosts)
        config = CONFIG.format(window=WINDOW_S, place=self.place) + tables
        self.links = [Link(host, self.place / "remote", held) for host in hosts]
        self.daemon = Poprelayd(self.place, config=config)
        held.callback(self.daemon.close)

    def content(self) -> dict[bytes, int]:
        """Return what stands in the map."""
        return self.daemon.popmap().read()

    def kill_daemon(self) -> None:
        """Kill the daemon, and start it again; it comes up meanwhile."""
        self.daemon.kill()
        self.daemon.launch()


class Simulation:
    """All hosts and what happens to them; SEED decides what and to whom."""

    def __init__(self, hosts: int, relays: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.hosts = [PopHost(f"pop{n}.example", self._error_us()) for n in range(hosts)]
        self._held = ExitStack()
        self._relays = relays
        self.relays: list[RelayHost] = []
        self.done: Counter[str] = Counter()

    def __enter__(self) -> "Simulation":
        with ExitStack() as held:
            self.relays = [RelayHost(self.hosts, held) for _ in range(self._relays)]
            for relay in self.relays:
                relay.daemon.start()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def run(self, rounds: int) -> None:
        """Have logins and misfortunes happen, then mend all."""
        for _ in range(rounds):
            for _ in range(LOGINS):
                self._log_in()
            for _ in range(max(1, len(self.hosts) // 100)):
                self._befall()
            self._send()
            time.sleep(TICK_S)
        for link in self._links():
            link.up, link.delay_us = True, 0
        self._send()

    def settle(self) -> float:
        """Wait until every map is the truth; return how long that took, in seconds."""
        began_s = time.monotonic()
        wanted = truth(self.hosts, WINDOW_S)
        for relay in self.relays:
            with suppress(TimeoutError):
                wait_for(lambda relay=relay: relay.content() == wanted, "the truth", SETTLED_S, 0.2)  # type: ignore[misc]
            compare(relay.content(), wanted)
        return time.monotonic() - began_s

    def _error_us(self) -> int:
        """Return how far a host's clock is ahead: most a little, some too much."""
        if self._random.random() < 0.03:
            return self._random.choice((2 * HOUR_US, SKEW_US * 30))
        return self._random.randrange(-SKEW_US // 2, SKEW_US // 2)

    def _links(self) -> list[Link]:
        return [link for relay in self.relays for link in relay.links]

    def _log_in(self) -> None:
        number = self._random.randrange(CLIENTS)
        address = f"100.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
        self._random.choice(self.hosts).log(address, now_us())

    def _send(self) -> None:
        for link in self._links():
            link.send(now_us())

    def _befall(self) -> None:
        """Do the next thing to a link or, seldom, to a relay host."""
        link = self._random.choice(self._links())
        kinds: dict[str, tuple[float, Callable[[], object]]] = {
            "cuts": (30, lambda: setattr(link, "up", False)),
            "mends": (30, lambda: setattr(link, "up", True)),
            "delays": (20, lambda: setattr(link, "delay_us", self._random.randrange(3_000_000))),
            "sent again": (20, lambda: link.doubt(self._random)),
            "receivers killed": (5, link.break_off),
            "daemons killed": (1, lambda: self._random.choice(self.relays).kill_daemon()),
            "partitions": (1, self._partition),
        }
        (word,) = self._random.choices(list(kinds), [weight for weight, _ in kinds.values()])
        kinds[word][1]()
        self.done[word] += 1

    def _partition(self) -> None:
        """Cut a relay host off from half of the POP hosts at once."""
        relay = self._random.choice(self.relays)
        for link in self._random.sample(relay.links, len(relay.links) // 2):
            link.up = False


class NotTheTruthError(Exception):
    """A map differs from the truth."""


def compare(seen: dict[bytes, int], wanted: dict[bytes, int]) -> None:
    """Raise NotTheTruthError when a map is not what it should be."""
    keys = [key for key in seen.keys() | wanted.keys() if seen.get(key) != wanted.get(key)]
    if keys:
        some = [(key.decode(), seen.get(key), wanted.get(key)) for key in sorted(keys)[:5]]
        raise NotTheTruthError(f"{len(keys)} of {len(wanted)} differ (address, seen, true): {some}")


def main(arguments: Sequence[str]) -> int:
    """Run the simulation; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.simulation")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--relays", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=400, help=f"each of {LOGINS} logins")
    parser.add_argument("--seed", type=int, default=9)
    asked = parser.parse_args(arguments)
    with Simulation(asked.hosts, asked.relays, asked.seed) as simulation:
        simulation.run(asked.rounds)
        try:
            took_s = simulation.settle()
        except NotTheTruthError as error:
            print(f"FAILED: {error}")
            return 1
        print(told(simulation, took_s))
    return 0


def told(simulation: Simulation, took_s: float) -> str:
    """Return in words what happened."""
    links = [link for relay in simulation.relays for link in relay.links]
    hosts = simulation.hosts
    logins, wrong = sum(len(host.logged) for host in hosts), [h for h in hosts if not h.counts]
    return (
        f"{len(hosts)} POP hosts, {len(simulation.relays)} relay hosts: {logins} logins, of these "
        f"{sum(len(host.logged) for host in wrong)} by {len(wrong)} clocks too far ahead\n"
        f"{', '.join(f'{count} {word}' for word, count in simulation.done.items())}; "
        f"{sum(link.again for link in links)} entries again\n"
        f"all {len(simulation.relays)} maps were the truth {took_s:.1f} s after all was mended, "
        f"{len(truth(hosts, WINDOW_S))} addresses"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
