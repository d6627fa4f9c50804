"""Logging as fast as journald can: what the reader takes beside it, and whether all arrives."""

import threading
from dataclasses import dataclass

from bench import journals, limit, place
from bench.journals import address
from bench.measures import Figures
from bench.ours import WINDOW_S
from bench.processes import cpu_s
from bench.stage import Stage, stage
from bench.table import Row, number, ratio_row
from journalrelay.relay import BATCH
from lab.journald import Sender, login_line
from lab.wait import wait_for

_CONFIG = "[relay]\nmax_addresses = 0\n"
_CHUNK = 500
_KEPT = 100_000  # lines of the journals that the C program reads
_NOISE = "6AMLfJHo{n:06d}: from=<a@example.org>, size=15, class=0, nrcpts=1, proto=ESMTP"


@dataclass(frozen=True)
class Flood:
    """What came of a flood: processor time a line in seconds, lines a second, logins in the map.

    ``limit_s`` is what the C program takes for a line of the same kind, for the whole job."""

    reader_s: float
    journald_s: float
    limit_s: float
    rate: float
    addresses: int
    arrived: int


@dataclass(frozen=True)
class Kind:
    """A flood in which one line in so many is a login, each address comes so often, and the
    reader may take so much of journald's time; the C program reads a journal of this kind."""

    name: str
    one_in: int
    times: int
    most: float
    journal: str


KINDS = (
    Kind("mixed", 20, 1, 1 / 5, "mixed"),
    Kind("logins", 1, 1, 1 / 2, "logins"),
    Kind("logins, each address 20 times", 1, 20, 1 / 2, "logins"),
)


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    rows = []
    for kind in KINDS:
        flood = _flood(kind, 1_000_000 if full else 150_000)
        ratio = Figures((flood.reader_s / flood.journald_s,))
        limit_ratio = number(flood.limit_s / flood.journald_s)
        figure = f"{number(flood.rate)} lines/s; C, when all is logged, {limit_ratio}"
        goal = f"flood, {kind.name}: reader's time, journald's × {kind.most:g} at most"
        rows.append(ratio_row(goal, figure, ratio, most=kind.most))
        arrived = f"{flood.arrived} of {flood.addresses}"
        met = flood.arrived == flood.addresses
        rows.append(Row(f"flood, {kind.name}: nothing lost", arrived, met=met))
    return rows


def _flood(kind: Kind, lines: int) -> Flood:
    """Log ``lines`` of a kind."""
    logins = lines // kind.one_in
    addresses = logins // kind.times
    with stage(_CONFIG) as host, Sender(unit="sendmail.service", identifier="sm-mta") as mta:
        pids = host.daemon.process.pid, host.journald.pid
        before = [cpu_s(pid) for pid in pids]
        noise = threading.Thread(target=_make_noise, args=(mta, lines - logins))
        began_s = host.log_in("2001:db8:7::1")
        noise.start()
        for start in range(0, logins, _CHUNK):
            count = min(_CHUNK, logins - start)
            clients = (address((start + n) % addresses) for n in range(count))
            host.dovecot.send_many(login_line(client) for client in clients)
        noise.join()
        host.journald.sync()
        took_s = host.log_in("2001:db8:7::2") - began_s
        arrived = wait_for(lambda: _all(host, addresses), "the last logins in the map", 120, 0.5)
        reader_s, journald_s = (
            (cpu_s(pid) - b) / lines for pid, b in zip(pids, before, strict=True)
        )
    return Flood(reader_s, journald_s, _limit_s(kind), lines / took_s, addresses, arrived)


def _limit_s(kind: Kind) -> float:
    """Return the processor time that the C program takes for a line, read from files that were
    written before."""
    addresses = _KEPT // kind.one_in // kind.times
    with place.scratch() as here:
        directory = journals.journal(kind.journal, _KEPT, addresses)
        return limit.relay(directory, here, BATCH, addresses, WINDOW_S)["cpu"] / _KEPT


def _all(host: Stage, logins: int) -> int:
    """Return how many are in the map, once the last one is."""
    last = host.daemon.popmap().look_up((b"ipv6:2001:db8:7:0:0:0:0:2",))
    return host.has(0, logins) if last else 0


def _make_noise(mta: Sender, lines: int) -> None:
    for start in range(0, lines, _CHUNK):
        mta.send_many(_NOISE.format(n=start + n) for n in range(min(_CHUNK, lines - start)))
