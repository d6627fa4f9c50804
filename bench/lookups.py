"""What sendmail waits for the map's lock while everything goes on."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from bench import limit, maps, place
from bench.journals import address
from bench.measures import BenchError, Figures
from bench.stage import stage
from bench.table import Row, figure_row, number
from lab.journald import login_line

_PAUSE_US = 500  # between two lookups of a process: it is asked once a recipient
_SOURCE = Path(__file__).with_name("lookups.c")
_ASKED = 200  # keys that are in the map all the time
_CONFIG = "[relay]\nmax_addresses = 0\n"


class Lookups:
    """A process that looks up all the time; ``seen`` has its figures when it has ended."""

    def __init__(self, path: Path) -> None:
        self.seen: dict[str, float] = {}
        words = [key.decode() for key in maps.keys(0, _ASKED)]
        self._process = subprocess.Popen(
            [limit.program(_SOURCE), str(path), str(_PAUSE_US), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def end(self) -> None:
        """Have it end, and take its figures."""
        told, _ = self._process.communicate()
        if self._process.returncode:
            raise BenchError(f"{_SOURCE}: exit {self._process.returncode}")
        self.seen = json.loads(told)


@contextmanager
def lookups(path: Path) -> Iterator[Lookups]:
    """Look up in the map at ``path`` meanwhile."""
    process = Lookups(path)
    try:
        yield process
    finally:
        process.end()


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    rows = [_row("nobody writes", _alone(3))]
    rows.append(_row("logins come, the map grows from nothing", _growing(200_000)))
    count = 1_000_000 if full else 200_000
    rows.append(_row(f"1,000 of {count:,} expire", _expiring(count)))
    return rows


def _row(what: str, seen: dict[str, float]) -> Row:
    goal = f"lookups while {what}: longest wait ≤ 20 ms"
    row = figure_row(goal, Figures((seen["longest"],)), "ms", most=20)
    spread = f"p99.9 {number(seen['p999'])} ms of {number(seen['lookups'])}"
    missed = f"; {seen['missed']:.0f} found nothing" if seen["missed"] else ""
    met = bool(row.met) and not seen["missed"]
    return Row(row.goal, row.figure + missed, "", spread, met)


def _alone(watch_s: float) -> dict[str, float]:
    with place.scratch() as here:
        path = here / "popip.db"
        maps.live(path, 10_000)
        with lookups(path) as process:
            time.sleep(watch_s)
    return process.seen


def _growing(logins: int) -> dict[str, float]:
    """Have so many clients log in, each once, while those who did first are looked up."""
    with stage(_CONFIG) as host:
        host.dovecot.send_many(login_line(address(n)) for n in range(_ASKED))
        while host.has(0, _ASKED) < _ASKED:
            time.sleep(0.02)
        with lookups(host.daemon.map) as process:
            for start in range(_ASKED, logins, 500):
                host.dovecot.send_many(login_line(address(start + n)) for n in range(500))
            host.journald.sync()
            host.latency_ms()
    return process.seen


def _expiring(count: int) -> dict[str, float]:
    with place.scratch() as here:
        path = here / "popip.db"
        popmap = maps.live(path, count)
        maps.expire(path)
        maps.add_expired(popmap, count, 1000)
        with lookups(path) as process:
            expiring = Thread(target=maps.expire, args=(path,))
            expiring.start()
            expiring.join()
    return process.seen
