"""How far one relay host goes: what a login costs it by the number of POP hosts, and how late a
login comes while others stream in.

    python3 -m lab.room -- python3 -m lab.scale [--hosts N...] [--logins N] [--rates N...]

Prints rows for docs/scale.md. Processor time is the daemon's own, so that other work on the machine
matters little; the delay is what a clock shows.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from lab.modelhosts import PopHost, now_us
from lab.simulation import RelayHost
from lab.wait import wait_for

STREAM_S = 10.0
MARKED_S = 0.1
PATIENCE_S = 300.0
TICKS_S = 100  # processor time is told in hundredths of a second, proc(5)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a row for each number of hosts and each rate."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.scale")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 100, 500])
    parser.add_argument("--logins", type=int, default=100_000)
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1000])
    asked = parser.parse_args(arguments)
    for hosts in asked.hosts:
        print(catch_up(hosts, asked.logins), flush=True)
        for rate in asked.rates:
            print(follow(hosts, rate), flush=True)
    return 0


def catch_up(hosts: int, logins: int) -> str:
    """Start the daemon where all logins wait already; return the row."""
    with ExitStack() as held:
        relay, pops = _relay_host(hosts, held)
        client = _addresses()
        for number in range(logins):
            pops[number % hosts].log(next(client), now_us())
        _send(relay)
        for link in relay.links:
            link.close()
        began_s = time.monotonic()
        relay.daemon.launch()
        relay.daemon.await_ready(PATIENCE_S)
        took_s, cost_s = time.monotonic() - began_s, _cpu_s(relay)
        granted = len(relay.content())
    return (
        f"| {hosts} hosts, {granted} of {logins} logins waiting | ready in {took_s:.1f} s | "
        f"{cost_s / logins * 1e6:.0f} us of processor a login | {logins / cost_s:,.0f}/s a core |"
    )


def follow(hosts: int, rate: int) -> str:
    """Have logins stream in from all hosts; return the row."""
    with ExitStack() as held:
        relay, pops = _relay_host(hosts, held)
        relay.daemon.start()
        stream = Stream(relay, pops, rate)
        stream.run(STREAM_S / 5)  # every file made and opened
        stream.delays_s.clear()
        before_s, began_s, logged = _cpu_s(relay), time.monotonic(), stream.logged
        stream.run(STREAM_S)
        cost_s, took_s = _cpu_s(relay) - before_s, time.monotonic() - began_s
        logged = stream.logged - logged
    delays_ms = sorted(1000 * delay_s for delay_s in stream.delays_s)
    return (
        f"| {hosts} hosts, {logged / took_s:,.0f} logins/s | received to map: "
        f"p50 {delays_ms[len(delays_ms) // 2]:.0f} ms, "
        f"p99 {delays_ms[-1 - len(delays_ms) // 100]:.0f} ms | "
        f"{cost_s / took_s * 100:.0f} % of a core | {cost_s / logged * 1e6:.0f} us a login |"
    )


class Stream:
    """Logins at a rate, at hosts chosen at random; of some it is seen when the map has them."""

    def __init__(self, relay: RelayHost, pops: Sequence[PopHost], rate: int) -> None:
        self._relay, self._pops, self._rate = relay, pops, rate
        self._map = relay.daemon.popmap()
        self._client = _addresses()
        self._random = random.Random(rate)
        self._marked: dict[bytes, float] = {}
        self._mark_s = 0.0
        self.logged = 0
        self.delays_s: list[float] = []

    def run(self, seconds: float) -> None:
        """Have it flow for some seconds, and wait for what was marked."""
        began_s, before = time.monotonic(), self.logged
        while time.monotonic() < began_s + seconds:
            due = int((time.monotonic() - began_s) * self._rate) - (self.logged - before)
            if due > 0:
                self._log(due)
            self._see()
            time.sleep(0.001)
        wait_for(self._see, "the last marked login", PATIENCE_S, 0.001)

    def _log(self, due: int) -> None:
        touched = set()
        for _ in range(due):
            address, chosen = next(self._client), self._random.randrange(len(self._pops))
            self._pops[chosen].log(address, now_us())
            touched.add(chosen)
            self.logged += 1
        for chosen in touched:
            self._relay.links[chosen].send(now_us())
        if time.monotonic() >= self._mark_s:
            self._mark_s = time.monotonic() + MARKED_S
            self._marked[address.encode()] = time.monotonic()

    def _see(self) -> bool:
        """Note which marked logins the map has; tell whether it has all."""
        found = self._map.look_up(list(self._marked)) if self._marked else {}
        for key in found:
            self.delays_s.append(time.monotonic() - self._marked.pop(key))
        return not self._marked


def _relay_host(hosts: int, held: ExitStack) -> tuple[RelayHost, list[PopHost]]:
    pops = [PopHost(f"pop{number}.example") for number in range(hosts)]
    return RelayHost(pops, held), pops


def _send(relay: RelayHost) -> None:
    for link in relay.links:
        link.send(now_us())


def _cpu_s(relay: RelayHost) -> float:
    """Return the processor time that the daemon has taken, in seconds."""
    told = Path(f"/proc/{relay.daemon.process.pid}/stat").read_text()
    fields = told.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def _addresses() -> Iterator[str]:
    """Yield one client's address after the other."""
    for number in count():
        yield f"100.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
